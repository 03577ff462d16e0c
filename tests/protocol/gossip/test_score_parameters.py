"""Signs and orders of the parameters that gossipsub-v1.1.md demands."""

import pytest

from p2p.protocol.gossip import (
    GossipParameters,
    ScoreParameters,
    TopicScore,
)
from tests.protocol.gossip.scoring import (
    A,
    B,
)


@pytest.mark.parametrize(
    "bad",
    [
        {"gossip_threshold": 0.0},
        {"publish_threshold": -5.0},
        {"graylist_threshold": -50.0},
        {"px_threshold": -1.0},
        {"opportunistic_threshold": -1.0},
        {"application_weight": -1.0},
        {"colocation_weight": 1.0},
        {"colocation_threshold": 0},
        {"behaviour_weight": 1.0},
        {"behaviour_decay": 1.0},
        {"decay_ms": 0},
    ],
)
def test_v11_overview_of_new_parameters_bad_ones_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ScoreParameters(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"first_deliveries_weight": -1.0},
        {"invalid_weight": 1.0},
        {"mesh_deliveries_decay": 0.0},
        {"mesh_deliveries_cap": 1.0},
        {"time_in_mesh_quantum_ms": 0},
    ],
)
def test_v11_overview_of_new_parameters_bad_topics_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TopicScore(**bad)  # type: ignore[arg-type]


def test_explicit_peers_must_fit_among_the_peers() -> None:
    with pytest.raises(ValueError, match="direct_peers"):
        GossipParameters(direct_peers=(A, B), peers_max=1)

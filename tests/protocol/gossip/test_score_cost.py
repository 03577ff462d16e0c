"""When a score is computed: seldom for good neighbours, at once after a misdeed."""

from collections.abc import Callable
from functools import partial

import pytest

from p2p.primitives.units import PeerId
from p2p.protocol.gossip import GossipParameters
from p2p.protocol.gossip.scores import GOOD_TICKS, Scores
from p2p.protocol.gossip.standing import Standing

T = "topic"
BEAT_MS = 1_000


def good_peer() -> tuple[Scores, Standing]:
    """A peer that has delivered something, whose score was just asked for."""
    scores = Scores(GossipParameters())
    standing = scores.connected(PeerId(b"peer"), "")
    scores.beat(0)
    scores.delivered_first(standing, T)
    assert scores.of(standing) == scores.fresh(standing) > 0
    return scores, standing


def test_a_good_score_stands_for_some_ticks_and_is_right_then() -> None:
    scores, standing = good_peer()
    before = scores.of(standing)
    for beat in range(1, GOOD_TICKS + 1):
        scores.beat(beat * BEAT_MS)
        assert scores.fresh(standing) < scores.of(standing) == before
    scores.beat((GOOD_TICKS + 1) * BEAT_MS)
    assert scores.of(standing) == scores.fresh(standing) < before


@pytest.mark.parametrize(
    "misdeed",
    [
        partial(Scores.delivered_invalid, topic=T),
        partial(Scores.misbehaved, misdeeds=20.0),
        partial(Scores.rated, points=-30.0),
    ],
)
def test_what_speaks_against_a_peer_counts_at_once(
    misdeed: Callable[[Scores, Standing], None],
) -> None:
    scores, standing = good_peer()
    misdeed(scores, standing)
    assert scores.of(standing) == scores.fresh(standing) < 0


def test_a_score_below_zero_is_computed_at_every_tick() -> None:
    scores, standing = good_peer()
    scores.misbehaved(standing, 20.0)
    before = scores.of(standing)
    scores.beat(BEAT_MS)
    assert before < scores.of(standing) == scores.fresh(standing) < 0


def test_to_look_at_a_score_changes_nothing() -> None:
    scores, standing = good_peer()
    scores.beat(BEAT_MS)
    known = standing.score, standing.score_tick
    scores.report(standing)
    scores.fresh(standing)
    assert (standing.score, standing.score_tick) == known

"""Machines whose rules are switched off but for what a test of scores is about."""

import msgspec

from p2p.model.rpc import Message
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import (
    GossipParameters,
    ScoreParameters,
    ScoreReport,
    TopicReport,
    TopicScore,
)
from tests.protocol.gossip.kit import (
    Bench,
    T,
    names,
)

A, B, C = names(3)


def rules(**changes: float) -> TopicScore:
    """Everything switched off but what a test is about."""
    off = TopicScore(
        time_in_mesh_weight=0.0,
        first_deliveries_weight=0.0,
        mesh_deliveries_weight=0.0,
        mesh_failure_weight=0.0,
        invalid_weight=0.0,
    )
    return msgspec.structs.replace(off, **changes)


def scored(topic: TopicScore | None = None, **changes: object) -> Bench:
    """A machine with these rules, in a topic."""
    scores = ScoreParameters(topic=topic or rules(), **changes)  # type: ignore[arg-type]
    return Bench(GossipParameters(scores=scores), topics=(T,))


def report(bench: Bench, peer: PeerId = A) -> ScoreReport:
    found = bench.gossip.score_report(peer)
    assert found is not None
    return found


def in_topic(bench: Bench, peer: PeerId = A) -> TopicReport:
    return report(bench, peer).topics[T]


def message(number: int) -> Message:
    return Message(T, b"message %d" % number)


def linked(bench: Bench, *peers: PeerId) -> Bench:
    """Peers in the mesh."""
    bench.connect(*peers)
    bench.graft(*peers)
    return bench

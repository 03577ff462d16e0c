"""Explicit peering agreements of gossipsub-v1.1.md."""

from p2p.model.rpc import Message
from p2p.protocol.gossip import (
    GossipParameters,
)
from tests.protocol.gossip.kit import (
    Bench,
    T,
    offered,
    pruned,
    receivers,
)
from tests.protocol.gossip.scoring import (
    A,
    B,
    C,
    linked,
    message,
)

DIRECT = GossipParameters(direct_peers=(C,))


def test_v11_explicit_peering_every_valid_message_goes_to_explicit_peers_outside_the_mesh() -> None:
    bench = linked(Bench(DIRECT, topics=(T,)), A)
    bench.connect(B, C)
    bench.heartbeat()
    assert C not in bench.gossip.mesh(T)
    assert C in receivers(bench.accept(A, message(1)), message(1))
    large = Message(T, bytes(20_000))
    assert C in receivers(bench.publish(large), large)
    assert C not in offered(bench.heartbeat(), message(1))


def test_v11_explicit_peering_rpcs_are_always_accepted_and_never_judged() -> None:
    bench = Bench(DIRECT, topics=(T,), scores={C: -1_000})
    bench.connect(C)
    assert bench.message(C, message(1))
    assert bench.gossip.score(C) == 0.0


def test_v11_explicit_peering_a_graft_of_an_explicit_peer_is_answered_with_prune() -> None:
    bench = Bench(DIRECT, topics=(T,))
    bench.connect(C)
    assert pruned(bench.graft(C)) == {C}
    assert bench.gossip.mesh(T) == ()

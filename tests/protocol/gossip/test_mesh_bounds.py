"""Bounds of our own on topics and peers, and parameters that contradict one another."""

import pytest

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import Prune, Rpc
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import Gossip, GossipParameters, SendRpc
from tests.protocol.gossip.kit import (
    OTHER,
    Bench,
    T,
    names,
    pruned,
)

A, B, C = names(3)


def test_a_peer_with_too_many_topics_is_penalised_and_the_rest_ignored() -> None:
    bench = Bench(GossipParameters(topics_per_peer_max=2), topics=(T,))
    effects = bench.connect(A, topics=("a", "b", "c", "d"))
    assert effects[1:] == [Penalize(A, Reason.TOO_MANY, "topics")]
    assert bench.gossip.sizes()["topics_per_peer"] == 2
    assert bench.graft(A) == [SendRpc(A, Rpc(prune=(Prune(T, 60),)))]


def test_peers_beyond_the_bound_are_counted_and_not_heard() -> None:
    bench = Bench(GossipParameters(peers_max=1), topics=(T,))
    bench.connect(A, B)
    bench.connect(A)
    assert bench.gossip.peers(T) == (A,)
    assert bench.gossip.counters.peers_refused == 1
    assert bench.disconnect(B) == []


def test_our_own_topics_are_bounded_and_named() -> None:
    bench = Bench(GossipParameters(topics_max=1), topics=(T,))
    with pytest.raises(ValueError, match="more than 1 topics"):
        bench.subscribe(OTHER)
    for bad in ("", "t" * 257):
        with pytest.raises(ValueError, match="1 to 256 bytes"):
            Bench().subscribe(bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"degree_low": 7},
        {"degree_low": -1},
        {"degree_high": 5},
        {"degree_out": 4},
        {"degree": 4, "degree_out": 3},
        {"history_gossip": 6},
        {"history_gossip": 0},
        {"heartbeat_ms": 0},
        {"flush_ms": -1},
        {"rpc_bytes_max": 1000},
        {"px_peers": 65},
        {"queue_bytes_max": 1000},
        {"topics_max": 1000},
    ],
)
def test_parameters_that_contradict_the_specification_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        GossipParameters(**bad)  # type: ignore[arg-type]


def test_a_bootstrapper_has_no_mesh() -> None:
    zero = GossipParameters(degree=0, degree_low=0, degree_high=0, degree_out=0)
    bench = Bench(zero, topics=(T,))
    bench.connect(*names(5))
    bench.heartbeat()
    assert pruned(bench.graft(A)) == {A}
    assert bench.gossip.mesh(T) == ()


def test_the_score_is_zero_until_scoring_is_in_use() -> None:
    assert Gossip(PeerId(b"me"), GossipParameters(), b"seed").score(A) == 0

"""The mesh by gossipsub v1.1: backoff, peer exchange, outbound quotas. Names say the section."""

import pytest

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import PeerInfo, Prune, Rpc
from p2p.protocol.gossip import GossipParameters, SendRpc, SuggestPeers
from tests.protocol.gossip.kit import (
    Bench,
    T,
    grafted,
    name,
    names,
    sent,
)

A, B, C = names(3)


def test_v11_backoff_a_graft_before_its_end_is_pruned_extended_and_penalised() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, backoff_s=30),)))
    bench.now_ms += 29_999
    assert bench.graft(A) == [
        Penalize(A, Reason.BACKOFF, T),
        SendRpc(A, Rpc(prune=(Prune(T, 60),))),
    ]
    bench.now_ms += 59_999
    assert Penalize(A, Reason.BACKOFF, T) in bench.graft(A)
    bench.now_ms += 60_000
    assert bench.graft(A) == []
    assert bench.gossip.mesh(T) == (A,)


def test_v11_backoff_outlives_the_connection_but_a_peer_that_forgot_it_is_not_blamed() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, backoff_s=30),)))
    bench.disconnect(A)
    bench.connect(A)
    assert bench.graft(A) == [SendRpc(A, Rpc(prune=(Prune(T, 60),)))]
    assert Penalize(A, Reason.BACKOFF, T) in bench.graft(A)


def test_v11_backoff_we_wait_for_its_end_and_some_slack() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, backoff_s=30),)))
    assert [grafted(bench.heartbeat()) for _ in range(31)] == [set()] * 31
    assert grafted(bench.heartbeat()) == {A}


@pytest.mark.parametrize(("said_s", "kept_s"), [(0, 60), (5, 5), (10**9, 3600)])
def test_v11_backoff_is_the_one_said_or_the_default_and_bounded(said_s: int, kept_s: int) -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, said_s),)))
    assert bench.gossip._mesh.backoffs.until_ms(T, A) == bench.now_ms + kept_s * 1000


def test_v11_backoff_is_not_made_shorter_by_another_prune() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T, 60),)))
    bench.receive(A, Rpc(prune=(Prune(T, 1),)))
    bench.now_ms += 59_999
    assert Penalize(A, Reason.BACKOFF, T) in bench.graft(A)


def test_v11_backoff_is_respected_when_we_subscribe_again() -> None:
    bench = Bench()
    bench.connect(A)
    bench.subscribe(T)
    bench.unsubscribe(T)
    bench.subscribe(T)
    assert bench.gossip.mesh(T) == ()
    bench.heartbeat(11)
    assert grafted(bench.heartbeat()) == {A}


def test_v11_backoff_of_topics_that_are_not_ours_is_not_kept() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=tuple(Prune(f"topic {number}") for number in range(100))))
    assert bench.gossip.sizes()["backoffs"] == 0


def test_backoffs_are_bounded_and_forgotten_when_they_end() -> None:
    bench = Bench(GossipParameters(backoffs_per_topic_max=2), topics=(T,))
    bench.connect(A, B, C)
    for peer in (A, B, C):
        bench.receive(peer, Rpc(prune=(Prune(T),)))
    assert bench.gossip.sizes()["backoffs"] == 2
    assert bench.gossip._mesh.backoffs.until_ms(T, A) == 0
    bench.disconnect(B)
    bench.disconnect(C)
    bench.heartbeat(62)
    assert bench.gossip.sizes()["backoffs"] == 0


def test_v11_peer_exchange_a_prune_of_a_full_mesh_suggests_other_peers() -> None:
    bench = Bench(GossipParameters(px_peers=3), topics=(T,))
    bench.connect(*names(13), outbound=True)
    bench.graft(*names(13))
    rpcs = sent(bench.heartbeat())
    for peer, rpc in rpcs.items():
        (prune,) = rpc.prune
        suggested = {info.peer for info in prune.peers}
        assert len(suggested) == 3
        assert suggested < set(names(13)) - {peer}
        assert prune.backoff_s == 10  # full: nobody's fault, and soon over


def test_v11_peer_exchange_suggested_peers_are_passed_on_up_to_a_bound() -> None:
    bench = Bench(GossipParameters(px_peers=2), topics=(T,), scores={A: 5})
    bench.connect(A)
    infos = tuple(PeerInfo(peer) for peer in names(5, start=10))
    assert bench.receive(A, Rpc(prune=(Prune(T, 60, infos),))) == [
        SuggestPeers(A, T, tuple(names(2, start=10)))
    ]


def test_v11_peer_exchange_is_ignored_from_peers_below_the_threshold() -> None:
    bench = Bench(topics=(T,), scores={A: -1})
    bench.connect(A)
    assert bench.receive(A, Rpc(prune=(Prune(T, 60, (PeerInfo(B),)),))) == []


def test_v11_outbound_mesh_quotas_a_full_mesh_takes_only_outbound_peers() -> None:
    bench = Bench(topics=(T,))
    bench.connect(*names(13))
    bench.connect(name(50), outbound=True)
    bench.graft(*names(12))
    (refused,) = sent(bench.graft(name(12)))[name(12)].prune
    assert refused.backoff_s == 10
    assert bench.graft(name(50)) == []
    assert set(bench.gossip.mesh(T)) == {*names(12), name(50)}


def test_v11_outbound_mesh_quotas_the_heartbeat_grafts_outbound_peers() -> None:
    bench = Bench(topics=(T,))
    bench.connect(*names(8))
    bench.connect(*names(5, start=20), outbound=True)
    bench.graft(*names(8))
    new = grafted(bench.heartbeat())
    assert len(new) == 2
    assert new < set(names(5, start=20))


def test_v11_outbound_mesh_quotas_pruning_keeps_outbound_peers() -> None:
    outbound = {name(20), name(21)}
    for seed in range(20):
        bench = Bench(topics=(T,), seed=bytes([seed]))
        bench.connect(*names(12))
        bench.connect(*outbound, outbound=True)
        bench.graft(*names(12), *sorted(outbound))
        bench.heartbeat()
        assert len(bench.gossip.mesh(T)) == 6
        assert outbound < set(bench.gossip.mesh(T))


def test_v11_heartbeat_maintenance_pruning_keeps_the_best_by_score() -> None:
    best = dict.fromkeys(names(4), 10)
    for seed in range(20):
        bench = Bench(topics=(T,), seed=bytes([seed]), scores=best)
        bench.connect(*names(13), outbound=True)
        bench.graft(*names(13))
        bench.heartbeat()
        assert set(best) < set(bench.gossip.mesh(T))


def test_v11_heartbeat_maintenance_a_peer_below_zero_leaves_the_mesh() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A, B)
    bench.graft(A, B)
    bench.scores[A] = -1
    assert sent(bench.heartbeat()) == {A: Rpc(prune=(Prune(T, 60),))}
    assert bench.gossip.mesh(T) == (B,)


def test_v11_score_thresholds_a_peer_below_zero_is_neither_grafted_nor_taken_in() -> None:
    bench = Bench(topics=(T,), scores={A: -1})
    bench.connect(A)
    assert bench.heartbeat() == []
    assert bench.graft(A) == [SendRpc(A, Rpc(prune=(Prune(T, 60),)))]


def test_v11_score_thresholds_a_graylisted_peer_is_not_heard() -> None:
    bench = Bench(topics=(T,), scores={A: -81})
    bench.connect(A)
    assert bench.graft(A) == []
    assert bench.gossip.peers(T) == ()


def test_v11_spam_protection_graft_for_an_unknown_topic_is_ignored() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    before = bench.gossip.sizes()
    assert bench.receive(A, Rpc(graft=tuple(f"topic {number}" for number in range(500)))) == []
    assert bench.gossip.sizes() == before


def test_v11_spam_protection_one_rpc_of_many_grafts_is_answered_once() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.receive(A, Rpc(prune=(Prune(T),)))
    effects = bench.receive(A, Rpc(graft=(T,) * 1000))
    assert effects == [
        Penalize(A, Reason.BACKOFF, T),
        SendRpc(A, Rpc(prune=(Prune(T, 60),))),
    ]

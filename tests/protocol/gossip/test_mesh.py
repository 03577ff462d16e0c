"""The mesh. A test's name begins with the section of the specification that it checks."""

import pytest

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import Message, PeerInfo, Prune, Rpc
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import Gossip, GossipParameters, SendRpc, SuggestPeers
from tests.protocol.gossip.kit import (
    OTHER,
    Bench,
    T,
    announce,
    grafted,
    name,
    names,
    pruned,
    receivers,
    sent,
)

A, B, C = names(3)
BIG = Message(T, bytes(20 * 1024))
"""Too large to be flooded: it goes to the mesh or the fanout."""


# ---- gossipsub v1.0


def test_v10_ambient_peer_discovery_the_hello_announces_our_topics() -> None:
    bench = Bench(topics=(T, OTHER))
    assert bench.connect(A, topics=()) == [SendRpc(A, announce(T, OTHER))]


def test_v10_topic_membership_changes_are_announced_to_every_peer() -> None:
    bench = Bench()
    bench.connect(A, B, topics=())
    assert bench.subscribe(T) == [SendRpc(A, announce(T)), SendRpc(B, announce(T))]
    gone = announce(T, subscribe=False)
    assert bench.unsubscribe(T) == [SendRpc(A, gone), SendRpc(B, gone)]


def test_v10_topic_membership_saying_it_twice_changes_nothing() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    assert bench.subscribe(T) == []
    assert bench.unsubscribe(OTHER) == []
    assert bench.gossip.topics == (T,)


def test_v10_topic_membership_join_grafts_d_peers_of_the_topic() -> None:
    bench = Bench()
    bench.connect(*names(10))
    bench.connect(*names(10, start=10), topics=(OTHER,))
    members = grafted(bench.subscribe(T))
    assert len(members) == 6
    assert members <= set(names(10))
    assert set(bench.gossip.mesh(T)) == members


def test_v10_topic_membership_join_takes_the_fanout_first() -> None:
    bench = Bench(GossipParameters(degree=3, degree_low=2, degree_out=1, degree_high=6))
    bench.connect(*names(30))
    fanout = receivers(bench.publish(BIG), BIG)
    assert len(fanout) == 3
    assert grafted(bench.subscribe(T)) == fanout
    assert bench.gossip.sizes()["fanout_topics"] == 0


def test_v10_topic_membership_join_fills_up_a_fanout_that_is_too_small() -> None:
    bench = Bench()
    bench.connect(A, B)
    fanout = receivers(bench.publish(BIG), BIG)
    bench.connect(C)
    assert grafted(bench.subscribe(T)) == fanout | {C} == {A, B, C}


def test_v10_topic_membership_leave_prunes_the_mesh_with_the_short_backoff() -> None:
    bench = Bench()
    bench.connect(A, B)
    bench.subscribe(T)
    effects = bench.unsubscribe(T)
    goodbye = Rpc(announce(T, subscribe=False).subscriptions, prune=(Prune(T, backoff_s=10),))
    assert sent(effects) == {A: goodbye, B: goodbye}
    assert bench.gossip.mesh(T) == ()


def test_v10_message_processing_graft_adds_the_sender_and_says_nothing() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    assert bench.graft(A) == []
    assert bench.gossip.mesh(T) == (A,)
    assert bench.graft(A) == []


def test_v10_message_processing_graft_implies_a_subscription() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A, topics=())
    bench.graft(A)
    assert bench.gossip.mesh(T) == bench.gossip.peers(T) == (A,)


def test_v10_message_processing_prune_removes_the_sender() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A)
    bench.graft(A)
    assert bench.receive(A, Rpc(prune=(Prune(T),))) == []
    assert bench.gossip.mesh(T) == ()


def test_v10_mesh_maintenance_below_d_low_grafts_up_to_d() -> None:
    bench = Bench(topics=(T,))
    bench.connect(*names(20))
    bench.graft(*names(3))
    new = grafted(bench.heartbeat())
    assert len(new) == 3
    assert len(bench.gossip.mesh(T)) == 6


def test_v10_mesh_maintenance_between_the_bounds_changes_nothing() -> None:
    bench = Bench(topics=(T,))
    bench.connect(*names(2), outbound=True)
    bench.connect(*names(18, start=2))
    for count in (4, 12):
        bench.graft(*names(count))
        assert bench.heartbeat() == []
        assert bench.gossip.mesh(T) == tuple(names(count))


def test_v10_mesh_maintenance_above_d_high_prunes_down_to_d() -> None:
    bench = Bench(topics=(T,))
    bench.connect(*names(20), outbound=True)
    bench.graft(*names(13))
    gone = pruned(bench.heartbeat())
    assert len(gone) == 7
    assert set(bench.gossip.mesh(T)) == set(names(13)) - gone


def test_v10_mesh_maintenance_a_peer_that_unsubscribes_or_leaves_is_out() -> None:
    bench = Bench(topics=(T,))
    bench.connect(A, B, C)
    bench.graft(A, B, C)
    assert bench.receive(A, announce(T, subscribe=False)) == []
    assert bench.disconnect(B) == []
    assert bench.gossip.mesh(T) == bench.gossip.peers(T) == (C,)


def test_v10_fanout_goes_to_d_peers_and_stays_the_same() -> None:
    bench = Bench()
    bench.connect(*names(20))
    first = receivers(bench.publish(BIG), BIG)
    again = Message(T, bytes(30_000))
    assert len(first) == 6
    assert receivers(bench.publish(again), again) == first


def test_v10_fanout_maintenance_replaces_peers_that_left() -> None:
    bench = Bench()
    bench.connect(*names(7))
    members = receivers(bench.publish(BIG), BIG)
    missing = set(names(7)) - members
    bench.disconnect(min(members))
    bench.heartbeat()
    again = Message(T, bytes(30_000))
    assert receivers(bench.publish(again), again) == members - {min(members)} | missing


def test_v10_fanout_maintenance_ends_after_its_time_to_live() -> None:
    bench = Bench()
    bench.connect(A)
    bench.publish(BIG)
    bench.heartbeat(60)
    assert bench.gossip.sizes()["fanout_topics"] == 1
    bench.heartbeat()
    assert bench.gossip.sizes()["fanout_topics"] == 0


def test_v10_fanout_maintenance_counts_from_the_last_message() -> None:
    bench = Bench()
    bench.connect(A)
    bench.publish(BIG)
    bench.heartbeat(40)
    bench.publish(Message(T, bytes(30_000)))
    bench.heartbeat(40)
    assert bench.gossip.sizes()["fanout_topics"] == 1


def test_fanout_topics_are_bounded_and_the_oldest_makes_room() -> None:
    bench = Bench(GossipParameters(fanout_topics_max=2))
    bench.connect(A, topics=("a", "b", "c"))
    for topic in ("a", "b", "c"):
        bench.publish(Message(topic, BIG.data))
    assert bench.gossip._mesh.fanout_topics() == ["b", "c"]


# ---- gossipsub v1.1


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


# ---- bounds of our own


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

"""The mesh by gossipsub v1.0: topic membership, maintenance, fanout. Names say the section."""

from p2p.model.rpc import Message, Prune, Rpc
from p2p.protocol.gossip import GossipParameters, SendRpc
from tests.protocol.gossip.kit import (
    OTHER,
    Bench,
    T,
    announce,
    grafted,
    names,
    pruned,
    receivers,
    sent,
)

A, B, C = names(3)
BIG = Message(T, bytes(20 * 1024))
"""Too large to be flooded: it goes to the mesh or the fanout."""


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

"""Lazy gossip. A test's name begins with the section of the specification that it checks."""

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import IHave, Message, MessageId, Rpc
from p2p.protocol.gossip import GossipParameters, SendRpc
from tests.protocol.gossip.kit import OTHER, Bench, T, announce, names, offered, sent

A, B, C = names(3)
M = Message(T, b"message")


def ids(count: int, start: int = 0) -> tuple[MessageId, ...]:
    return tuple(MessageId(number.to_bytes(20)) for number in range(start, start + count))


def ihave(*message_ids: MessageId, topic: str = T) -> Rpc:
    return Rpc(ihave=(IHave(topic, message_ids),))


def outside(count: int, parameters: GossipParameters | None = None) -> Bench:
    """A machine whose mesh holds A to F, and that knows `count` peers more."""
    bench = Bench(parameters, topics=(T,))
    bench.connect(*names(6), outbound=True)
    bench.graft(*names(6))
    bench.connect(*names(count, start=10))
    return bench


# ---- IHAVE that we send


def test_v10_gossip_emission_goes_to_peers_outside_the_mesh() -> None:
    bench = outside(6)
    bench.accept(A, M)
    effects = bench.heartbeat()
    assert effects == [SendRpc(peer, ihave(M.id)) for peer in names(6, start=10)]


def test_gossip_goes_to_the_mesh_too_where_few_are_outside_it() -> None:
    bench = outside(2)
    bench.accept(A, M)
    hearers = offered(bench.heartbeat(), M)
    assert len(hearers) == 6
    assert hearers > set(names(2, start=10))


def test_v10_gossip_emission_offers_a_message_for_the_gossip_windows_only() -> None:
    bench = outside(6)
    bench.accept(A, M)
    everyone = set(names(6, start=10))
    hearers = [offered(bench.heartbeat(), M) for _ in range(4)]
    # Outside the mesh, nobody hears the same offer twice: the rest of the three goes to the mesh.
    assert hearers[0] == everyone
    assert hearers[3] == set()


def test_nobody_is_offered_again_what_it_was_offered_before() -> None:
    bench, late = outside(6), Message(T, b"later")
    bench.accept(A, M)
    everyone = set(names(6, start=10))
    assert [offered(bench.heartbeat(), M) for _ in range(2)] == [everyone, set()]
    bench.accept(A, late)
    offers = sent(bench.heartbeat())
    assert offers == {peer: ihave(M.id, late.id) for peer in everyone}


def test_nobody_is_offered_what_it_has_just_offered_itself() -> None:
    bench = outside(6)
    bench.accept(A, M)
    first, second, *others = names(6, start=10)
    bench.receive(first, ihave(M.id))
    bench.receive(second, ihave(M.id, *ids(16)))
    assert offered(bench.heartbeat(), M) == {second, *others}, "long offers are not remembered"


def test_who_connects_anew_is_offered_everything_anew() -> None:
    bench = outside(6)
    bench.accept(A, M)
    bench.heartbeat()
    back = names(1, start=10)[0]
    bench.disconnect(back)
    bench.connect(back)
    assert offered(bench.heartbeat(), M) == {back}


def test_v10_gossip_emission_without_messages_says_nothing() -> None:
    assert outside(4).heartbeat() == []


def test_v10_gossip_emission_of_a_fanout_topic_goes_to_peers_outside_the_fanout() -> None:
    bench = Bench()
    bench.connect(*names(12))
    big = Message(T, bytes(20_000))
    fanout = {peer for peer, rpc in sent(bench.publish(big)).items() if rpc.publish}
    assert offered(bench.heartbeat(), big) == set(names(12)) - fanout


def test_v11_adaptive_gossip_reaches_a_share_of_the_peers_and_at_least_d_lazy() -> None:
    for count, reached in ((6, 6), (20, 6), (100, 25)):
        bench = outside(count)
        bench.accept(A, M)
        assert len(offered(bench.heartbeat(), M)) == reached


def test_v11_score_thresholds_no_gossip_below_the_gossip_threshold_either_way() -> None:
    bench = outside(6)
    peer = names(1, start=10)[0]
    bench.scores[peer] = -11
    bench.accept(A, M)
    hearers = offered(bench.heartbeat(), M)
    assert len(hearers) == 6
    assert peer not in hearers
    assert bench.receive(peer, ihave(*ids(1))) == []
    assert bench.receive(peer, Rpc(iwant=(M.id,))) == []


def test_offers_to_one_peer_are_bounded_and_drawn_anew_for_each() -> None:
    bench = outside(6, GossipParameters(ihave_ids_max=5))
    messages = [Message(T, bytes([number])) for number in range(40)]
    bench.accept(A, *messages)
    choices = [rpc.ihave[0].ids for rpc in sent(bench.heartbeat()).values()]
    assert [len(choice) for choice in choices] == [5] * 6
    assert len(set(choices)) == 6


# ---- IHAVE that we hear


def test_v10_ihave_unseen_messages_are_asked_for() -> None:
    bench = outside(0)
    bench.accept(A, M)
    effects = bench.receive(B, ihave(*ids(2), M.id, *ids(2)))
    assert effects == [SendRpc(B, Rpc(iwant=ids(2)))]


def test_v10_ihave_of_topics_that_are_not_ours_or_ids_that_are_not_ours_is_ignored() -> None:
    bench = outside(0)
    assert bench.receive(B, ihave(*ids(1), topic=OTHER)) == []
    assert bench.receive(B, ihave(MessageId(b"19 bytes, not twenty"[:19]))) == []


def test_a_message_is_asked_of_few_peers_a_heartbeat() -> None:
    bench = outside(0)
    asked = [bench.receive(peer, ihave(*ids(1))) for peer in names(4)]
    assert [bool(effects) for effects in asked] == [True, True, False, False]
    bench.heartbeat()
    assert bench.receive(C, ihave(*ids(1))) == [SendRpc(C, Rpc(iwant=ids(1)))]


def test_v11_spam_protection_rpcs_with_ihave_are_capped_per_heartbeat() -> None:
    bench = outside(0, GossipParameters(ihave_rpcs_max=2))
    for start in range(2):
        assert bench.receive(B, ihave(*ids(1, start))) != []
    assert bench.receive(B, ihave(*ids(1, 7))) == []
    assert bench.gossip.counters.ihave_ignored == 1
    assert bench.receive(C, ihave(*ids(1, 7))) != []
    bench.heartbeat()
    assert bench.receive(B, ihave(*ids(1, 8))) != []


def test_v11_spam_protection_ids_asked_of_one_peer_are_capped_per_heartbeat() -> None:
    bench = outside(0, GossipParameters(ihave_ids_max=5))
    first = sent(bench.receive(B, ihave(*ids(3))))[B].iwant
    second = sent(bench.receive(B, ihave(*ids(100, start=10))))[B].iwant
    assert first == ids(3)
    assert len(second) == 2
    assert bench.receive(B, ihave(*ids(1, start=500))) == []
    bench.heartbeat()
    assert bench.receive(B, ihave(*ids(1, start=500))) == [SendRpc(B, Rpc(iwant=ids(1, 500)))]


def test_ids_asked_of_all_peers_are_bounded() -> None:
    bench = outside(0, GossipParameters(wanted_ids_max=3))
    for number, peer in enumerate(names(6)):
        bench.receive(peer, ihave(*ids(1, start=number)))
    assert bench.gossip.sizes()["wanted_ids"] == 3


# ---- IWANT that we hear


def test_v10_iwant_is_answered_from_the_message_cache() -> None:
    bench = outside(1)
    bench.accept(A, M)
    (peer,) = names(1, start=10)
    assert bench.receive(peer, Rpc(iwant=(*ids(1), M.id))) == [SendRpc(peer, Rpc(publish=(M,)))]


def test_v10_message_cache_forgets_after_its_windows() -> None:
    bench = outside(1)
    bench.accept(A, M)
    bench.heartbeat(4)
    assert bench.receive(B, Rpc(iwant=(M.id,))) != []
    bench.heartbeat()
    assert bench.receive(B, Rpc(iwant=(M.id,))) == []


def test_v11_spam_protection_one_message_is_sent_to_one_peer_a_few_times_at_most() -> None:
    bench = outside(0)
    bench.accept(A, M)
    answers = [bench.receive(B, Rpc(iwant=(M.id,))) for _ in range(4)]
    assert [bool(effects) for effects in answers] == [True, True, True, False]
    assert bench.receive(C, Rpc(iwant=(M.id,))) != []


def test_asking_for_one_message_8000_times_in_one_rpc_is_answered_once_and_penalised() -> None:
    bench = outside(0)
    bench.accept(A, M)
    assert bench.receive(B, Rpc(iwant=(M.id,) * 8000)) == [
        Penalize(B, Reason.TOO_MANY, "ids in IWANT"),
        SendRpc(B, Rpc(publish=(M,))),
    ]
    assert bench.receive(B, Rpc(iwant=(M.id,))) == [Penalize(B, Reason.TOO_MANY, "ids in IWANT")]
    bench.heartbeat()
    assert bench.receive(B, Rpc(iwant=(M.id,))) == [SendRpc(B, Rpc(publish=(M,)))]


def test_the_message_cache_is_bounded_by_number_and_bytes() -> None:
    for limits in ({"history_messages_max": 3}, {"history_bytes_max": 3 * 1020}):
        bench = outside(1, GossipParameters(**limits))  # type: ignore[arg-type]
        messages = [Message(T, bytes([number]) + bytes(999)) for number in range(5)]
        bench.accept(A, *messages)
        assert bench.gossip.sizes()["history_messages"] == 3
        effects = bench.heartbeat()
        assert [bool(offered(effects, one)) for one in messages] == [False] * 2 + [True] * 3


def test_counters_tell_what_gossip_did() -> None:
    bench = outside(2)
    bench.accept(A, M)
    bench.heartbeat()
    bench.receive(B, ihave(*ids(3)))
    bench.receive(B, Rpc(announce(OTHER).subscriptions, iwant=(M.id, *ids(1))))
    counters = bench.gossip.counters
    assert (counters.ihave_sent, counters.ihave_received) == (6, 3)
    assert (counters.iwant_sent, counters.iwant_received, counters.iwant_served) == (3, 2, 1)

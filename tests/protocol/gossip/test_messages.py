"""What becomes of a message: seen, checked, forwarded, published."""

import pytest

from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import TimerFired
from p2p.model.rejection import Reason
from p2p.model.rpc import Message, Rpc
from p2p.protocol.gossip import (
    HEARTBEAT,
    GossipParameters,
    MessageValidated,
    SendRpc,
    Started,
    Validate,
    Verdict,
)
from tests.protocol.gossip.kit import OTHER, Bench, T, name, names, receivers

A, B, C, D = names(4)
M = Message(T, b"message")


def validate(message: Message, peer: bytes) -> Validate:
    return Validate(message.id, message.topic, message.data, peer)  # type: ignore[arg-type]


def meshed(*peers: bytes, parameters: GossipParameters | None = None) -> Bench:
    """A machine with these peers in its mesh."""
    bench = Bench(parameters, topics=(T,))
    bench.connect(*peers)  # type: ignore[arg-type]
    bench.graft(*peers)  # type: ignore[arg-type]
    return bench


# ---- verdicts


def test_v10_message_processing_the_first_sight_asks_the_verifier_and_forwards_nothing() -> None:
    bench = meshed(A, B)
    assert bench.message(A, M) == [validate(M, A)]


def test_v10_message_processing_an_accepted_message_goes_to_the_mesh_but_not_back() -> None:
    bench = meshed(A, B, C)
    bench.connect(D)
    bench.message(A, M)
    only_m = Rpc(publish=(M,))
    assert bench.judge(M) == [SendRpc(B, only_m), SendRpc(C, only_m)]
    assert bench.gossip.counters.delivered == 1


def test_v10_seen_cache_a_message_is_checked_and_forwarded_once() -> None:
    bench = meshed(A, B)
    bench.accept(A, M)
    assert bench.message(B, M) == []
    assert bench.message(A, M) == []
    assert bench.judge(M) == []
    counters = bench.gossip.counters
    assert (counters.received, counters.duplicates, counters.delivered) == (3, 2, 1)


def test_a_message_that_comes_again_while_it_is_checked_is_checked_once() -> None:
    bench = meshed(A, B, C)
    assert bench.message(A, M) == [validate(M, A)]
    assert bench.message(B, M, M) == []
    assert receivers(bench.judge(M), M) == {C}


def test_v11_invalid_messages_count_against_everyone_who_sent_them() -> None:
    bench = meshed(A, B, C)
    bench.message(A, M)
    bench.message(B, M)
    verdict = MessageValidated(M.id, Verdict.REJECT, Reason.BAD_SIGNATURE)
    assert bench.step(verdict) == [
        Penalize(A, Reason.BAD_SIGNATURE),
        Penalize(B, Reason.BAD_SIGNATURE),
    ]
    again = Penalize(C, Reason.MALFORMED, "a message that was found false before")
    assert bench.message(C, M) == [again]
    assert bench.gossip.counters.invalid == 2


def test_a_message_once_found_false_is_judged_anew_after_its_id_is_forgotten() -> None:
    bench = meshed(A, B)
    bench.message(A, M)
    bench.judge(M, Verdict.REJECT)
    bench.heartbeat(120)
    bench.accept(A, M)
    assert bench.message(B, M) == []


def test_an_ignored_message_is_dropped_and_nobody_is_at_fault() -> None:
    bench = meshed(A, B)
    bench.message(A, M)
    assert bench.judge(M, Verdict.IGNORE) == []
    assert bench.message(B, M) == []
    assert bench.gossip.counters.ignored == 1


def test_a_verdict_on_an_unknown_message_changes_nothing() -> None:
    bench = meshed(A, B)
    assert bench.judge(M) == []
    assert bench.gossip.counters.delivered == 0


def test_a_message_accepted_after_we_left_its_topic_is_not_forwarded() -> None:
    bench = meshed(A, B)
    bench.message(A, M)
    bench.unsubscribe(T)
    assert bench.judge(M) == []
    assert bench.gossip.sizes()["history_messages"] == 0


def test_a_message_of_a_peer_that_left_is_still_judged() -> None:
    bench = meshed(A, B)
    bench.message(A, M)
    bench.disconnect(A)
    assert receivers(bench.judge(M), M) == {B}


def test_v10_seen_cache_forgets_after_its_time_to_live_which_duplicates_do_not_extend() -> None:
    bench = meshed(A, B)
    bench.accept(A, M)
    bench.heartbeat(119)
    assert bench.message(B, M) == []
    bench.heartbeat()
    assert bench.message(B, M) == [validate(M, B)]


def test_the_seen_cache_is_bounded_and_forgets_the_oldest_first() -> None:
    bench = meshed(A, parameters=GossipParameters(seen_max=2))
    one, two, three = (Message(T, bytes([number])) for number in range(3))
    bench.accept(A, one, two, three)
    assert bench.gossip.sizes()["seen"] == 2
    assert bench.message(A, two) == bench.message(A, three) == []
    assert bench.message(A, one) == [validate(one, A)]


def test_a_message_forgotten_while_it_is_checked_is_not_checked_twice() -> None:
    bench = meshed(A, B, parameters=GossipParameters(seen_max=1))
    bench.message(A, M)
    bench.accept(A, Message(T, b"another"))
    assert bench.message(B, M) == []
    assert bench.judge(M, Verdict.REJECT) == [
        Penalize(A, Reason.MALFORMED),
        Penalize(B, Reason.MALFORMED),
    ]
    assert bench.gossip.sizes()["validation_bytes"] == 0


def test_a_message_kept_longer_than_its_id_is_kept_once() -> None:
    bench = meshed(A, B, parameters=GossipParameters(seen_max=1))
    bench.accept(A, M, Message(T, b"another"))
    bench.accept(A, M)
    assert bench.gossip.sizes()["history_messages"] == 2
    bench.heartbeat(10)
    assert bench.gossip.sizes()["history_messages"] == 0


# ---- what is not even checked


def test_strict_no_sign_a_signed_message_is_rejected_and_its_rpc_is_still_read() -> None:
    bench = meshed(A, B)
    signed = Message(T, b"signed", signed=True)
    assert bench.message(A, signed, M, signed) == [
        validate(M, A),
        Penalize(A, Reason.MALFORMED, "a signed message under StrictNoSign"),
    ]
    assert bench.gossip.counters.invalid == 2
    honest = Message(T, b"signed")
    assert bench.message(B, honest) == [validate(honest, B)]


def test_a_message_that_is_too_large_is_rejected() -> None:
    bench = meshed(A, parameters=GossipParameters(message_bytes_max=10))
    assert bench.message(A, Message(T, bytes(10))) != []
    assert bench.message(A, Message(T, bytes(11))) == [
        Penalize(A, Reason.TOO_LARGE, "a message of 11 bytes")
    ]


def test_a_message_of_a_topic_that_is_not_ours_is_not_wanted() -> None:
    bench = meshed(A)
    assert bench.message(A, Message(OTHER, b"?")) == []
    assert bench.gossip.counters.unwanted == 1
    assert bench.gossip.sizes()["seen"] == 0


def test_a_peer_that_is_not_connected_is_not_heard() -> None:
    bench = meshed(A)
    assert bench.message(B, M) == []


# ---- bounds on checking


def test_messages_at_the_verifier_are_bounded_and_may_come_again() -> None:
    bench = meshed(A, B, parameters=GossipParameters(validations_max=2))
    messages = [Message(T, bytes([number])) for number in range(3)]
    assert len(bench.message(A, *messages)) == 2
    assert bench.gossip.counters.throttled == 1
    bench.judge(messages[0])
    assert bench.message(B, messages[2]) == [validate(messages[2], B)]


def test_one_peer_does_not_take_the_verifier_from_the_others() -> None:
    bench = meshed(A, B, parameters=GossipParameters(validations_per_peer_max=1))
    one, two, three = (Message(T, bytes([number])) for number in range(3))
    assert bench.message(A, one, two) == [validate(one, A)]
    assert bench.message(B, three) == [validate(three, B)]
    bench.judge(one)
    assert bench.message(A, two) == [validate(two, A)]


def test_bytes_at_the_verifier_are_bounded() -> None:
    bench = meshed(A, parameters=GossipParameters(validation_bytes_max=100))
    assert len(bench.message(A, Message(T, bytes(60)), Message(T, bytes(41)))) == 1


def test_a_verdict_that_never_comes_is_not_waited_for() -> None:
    bench = meshed(A, B)
    bench.message(A, M)
    bench.heartbeat(29)
    assert bench.gossip.sizes()["validations"] == 1
    bench.heartbeat()
    assert bench.gossip.sizes()["validations"] == 0
    assert bench.gossip.counters.expired == 1
    assert bench.judge(M) == []


# ---- our own messages


def test_v11_flood_publishing_our_message_goes_to_every_peer_of_the_topic() -> None:
    bench = meshed(A)
    bench.connect(B)
    bench.connect(C, topics=(OTHER,))
    assert receivers(bench.publish(M), M) == {A, B}
    assert bench.gossip.counters.published == 1


def test_v11_flood_publishing_needs_no_subscription() -> None:
    bench = Bench()
    bench.connect(A, B)
    assert receivers(bench.publish(M), M) == {A, B}


def test_v11_score_thresholds_our_message_is_not_sent_below_the_publish_threshold() -> None:
    bench = Bench(topics=(T,), scores={A: -51, B: -50})
    bench.connect(A, B)
    assert receivers(bench.publish(M), M) == {B}


def test_v10_a_large_message_of_our_own_goes_to_the_mesh() -> None:
    bench = meshed(*names(6))
    bench.connect(*names(10, start=10))
    big = Message(T, bytes(20_000))
    assert receivers(bench.publish(big), big) == set(names(6))


def test_a_large_message_goes_to_others_too_while_the_mesh_is_thin() -> None:
    bench = meshed(A)
    bench.connect(*names(10, start=10))
    big = Message(T, bytes(20_000))
    first = receivers(bench.publish(big), big)
    assert len(first) == 6
    assert A in first


def test_our_own_message_is_neither_checked_nor_delivered_back() -> None:
    bench = meshed(A)
    bench.publish(M)
    assert bench.message(A, M) == []
    assert bench.gossip.counters.delivered == 0


def test_our_word_is_the_verdict_on_a_message_that_is_being_checked() -> None:
    bench = meshed(A, B)
    bench.message(A, M)
    assert receivers(bench.publish(M), M) == {A, B}
    assert bench.judge(M) == []
    assert bench.gossip.sizes()["validations"] == 0


def test_saying_it_again_waits_until_neighbours_are_no_longer_offered_it() -> None:
    bench = meshed(A)
    bench.publish(M)
    assert bench.publish(M) == []
    bench.heartbeat(5)
    assert receivers(bench.publish(M), M) == {A}
    assert bench.gossip.counters.published == 2


def test_too_large_or_nameless_a_message_of_our_own_is_our_mistake() -> None:
    bench = Bench(GossipParameters(message_bytes_max=10))
    with pytest.raises(ValueError, match="too large to publish"):
        bench.publish(Message(T, bytes(11)))
    with pytest.raises(ValueError, match="1 to 256 bytes"):
        bench.publish(Message("", b""))


# ---- timers


def test_the_first_heartbeat_is_drawn_within_one_interval() -> None:
    firsts = set()
    for seed in range(10):
        bench = Bench(seed=bytes([seed]))
        (timer,) = bench.step(Started())
        assert isinstance(timer, SetTimer)
        assert timer.key == HEARTBEAT
        assert 0 < timer.at_ms - bench.now_ms <= 1000
        firsts.add(timer.at_ms)
    assert len(firsts) > 5


def test_v10_heartbeat_sets_the_next_one() -> None:
    bench = Bench(GossipParameters(heartbeat_ms=700))
    assert bench.step(TimerFired(HEARTBEAT)) == [SetTimer(HEARTBEAT, bench.now_ms + 700)]  # type: ignore[arg-type]


def test_a_timer_of_another_machine_changes_nothing() -> None:
    assert Bench().step(TimerFired("consensus/propose")) == []
    assert name(1) == B

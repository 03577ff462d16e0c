"""What leaves to one peer, when, and what is dropped."""

from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected, TimerFired
from p2p.model.rpc import (
    IHave,
    Message,
    MessageId,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    encode_rpc,
)
from p2p.primitives.units import KIB, Millis, PeerId
from p2p.protocol.gossip import (
    FLUSH,
    GossipParameters,
    Priority,
    RpcSent,
    SendRpc,
)
from p2p.protocol.gossip.outbox import WORD_EVERY, Outbox
from tests.protocol.gossip.kit import OTHER, Bench, T, announce, names, receivers, sent

A, B, C = names(3)
PRIORITIES = {"votes": Priority.VOTES, "blocks": Priority.BLOCKS, "receipts": Priority.RECEIPTS}


def box(**changes: int) -> Outbox:
    """An outbox of its own."""
    parameters = GossipParameters(PRIORITIES, **changes)  # type: ignore[arg-type]
    return Outbox(A, parameters, waiting={}, patient={}, dropped=[0] * 5)


def ids(count: int) -> tuple[MessageId, ...]:
    return tuple(MessageId(number.to_bytes(20)) for number in range(count))


def drain(outbox: Outbox) -> list[Rpc]:
    """All that leaves, RPC by RPC."""
    rpcs = []
    while (rpc := outbox.take()) is not None:
        rpcs.append(rpc)
    return rpcs


def message(topic: str, size: int, mark: int = 0) -> Message:
    return Message(topic, bytes([mark]) + bytes(size - 1))


# ---- one RPC in flight


def busy(flush_ms: int = 0) -> Bench:
    """A machine with an RPC in flight to A and to B."""
    bench = Bench(GossipParameters(PRIORITIES, flush_ms=flush_ms), topics=(T,))
    bench.acknowledge = False
    bench.connect(A, B)
    return bench


def test_the_next_rpc_leaves_only_after_the_last_one_was_sent() -> None:
    bench = busy()
    one, two = message(T, 10, 1), message(T, 10, 2)
    assert bench.publish(one) == []
    assert bench.publish(two) == []
    assert bench.step(RpcSent(A)) == [SendRpc(A, Rpc(publish=(one, two)))]
    assert bench.step(RpcSent(A)) == []
    three = message(T, 10, 3)
    assert bench.publish(three) == [SendRpc(A, Rpc(publish=(three,)))]


def test_a_disconnect_forgets_what_was_due_and_in_flight() -> None:
    bench = busy()
    bench.publish(message(T, 10))
    bench.disconnect(A)
    assert bench.step(RpcSent(A)) == []
    hello = [SendRpc(A, announce(T))]
    assert bench.step(PeerConnected(A, outbound=True, address="")) == hello


def test_a_peer_that_connects_and_leaves_in_one_flush_is_sent_nothing() -> None:
    bench = Bench(GossipParameters(flush_ms=50), topics=(T,))
    bench.step(PeerConnected(A, outbound=True, address=""))
    bench.disconnect(A)
    assert bench.step(TimerFired(FLUSH)) == []


def test_a_slow_peer_holds_up_nobody_else() -> None:
    bench = busy()
    bench.step(RpcSent(B))
    m = message(T, 10)
    assert bench.publish(m) == [SendRpc(B, Rpc(publish=(m,)))]


def test_a_message_that_the_peer_has_shown_to_have_is_not_sent_to_it() -> None:
    bench = busy()
    m = message(T, 10)
    bench.publish(m)
    bench.message(A, m)
    assert bench.step(RpcSent(A)) == []
    assert bench.step(RpcSent(B)) == [SendRpc(B, Rpc(publish=(m,)))]


# ---- coalescing


def test_everything_due_leaves_in_one_rpc_after_the_flush_delay() -> None:
    bench = Bench(GossipParameters(flush_ms=50), topics=(T,))
    connected = bench.connect(A)
    assert connected == [SetTimer(FLUSH, bench.now_ms + 50)]  # type: ignore[arg-type]
    one, two = message(T, 10, 1), message(T, 10, 2)
    assert bench.publish(one) == bench.publish(two) == []
    assert sent(bench.step(TimerFired(FLUSH))) == {
        A: Rpc((Subscription(subscribe=True, topic=T),), (one, two))
    }
    assert bench.publish(message(T, 10, 3)) == [SetTimer(FLUSH, bench.now_ms + 50)]  # type: ignore[arg-type]


def test_with_a_flush_delay_what_waited_for_the_last_rpc_leaves_at_once() -> None:
    bench = busy(flush_ms=50)
    bench.step(TimerFired(FLUSH))
    m = message(T, 10)
    bench.publish(m)
    assert sent(bench.step(RpcSent(A))) == {A: Rpc(publish=(m,))}
    assert bench.step(TimerFired(FLUSH)) == []


def test_an_rpc_is_filled_up_to_its_size_and_the_rest_follows() -> None:
    outbox = box()
    messages = [message("votes", 1000, number) for number in range(150)]
    for one in messages:
        outbox.add_message(one)
    rpcs = drain(outbox)
    assert [one for rpc in rpcs for one in rpc.publish] == messages
    sizes = [len(encode_rpc(rpc)) for rpc in rpcs]
    assert len(sizes) == 3
    assert all(59 * KIB < size <= 60 * KIB for size in sizes[:-1])


def test_a_message_larger_than_an_rpc_travels_alone() -> None:
    outbox = box()
    block, vote = message("blocks", 500 * KIB), message("votes", 300)
    outbox.add_graft(T)
    outbox.add_message(block)
    outbox.add_message(vote)
    assert drain(outbox) == [Rpc(publish=(vote,), graft=(T,)), Rpc(publish=(block,))]


def test_a_large_message_alone_leaves_at_once() -> None:
    outbox = box()
    block = message("blocks", 500 * KIB)
    outbox.add_message(block)
    assert drain(outbox) == [Rpc(publish=(block,))]


def test_a_large_message_is_not_passed_over_for_ever() -> None:
    outbox = box()
    block = message("blocks", 500 * KIB)
    outbox.add_message(block)
    rounds = []
    for number in range(4):
        outbox.add_message(message("votes", 300, number))
        rpc = outbox.take()
        assert rpc is not None
        rounds.append([one.topic for one in rpc.publish])
    assert rounds == [["votes"], ["blocks"], ["votes", "votes"], ["votes"]]


def test_a_message_that_did_not_fit_comes_first_in_the_next_rpc_with_control() -> None:
    outbox = box()
    vote, block = message("votes", 30 * KIB), message("blocks", 40 * KIB)
    outbox.add_message(vote)
    outbox.add_message(block)
    assert outbox.take() == Rpc(publish=(vote,))
    late = message("votes", 10)
    outbox.add_message(late)
    outbox.add_graft(T)
    assert outbox.take() == Rpc(publish=(block, late), graft=(T,))


def test_a_passed_over_message_that_is_gone_leaves_no_trace() -> None:
    outbox = box()
    vote, block = message("votes", 300), message("blocks", 500 * KIB)
    outbox.add_message(vote)
    outbox.add_message(block)
    assert outbox.take() == Rpc(publish=(vote,))
    outbox.forget_message(block)
    assert outbox.take() is None
    outbox.add_message(vote)
    assert outbox.take() == Rpc(publish=(vote,))


# ---- priorities


def test_messages_leave_by_class_and_in_a_class_in_order() -> None:
    outbox = box()
    due = [message(topic, 10, mark) for mark in (0, 1) for topic in ("?", "receipts", "votes")]
    due.append(message("blocks", 10))
    for one in due:
        outbox.add_message(one)
    outbox.add_message(due[0])
    rpc = outbox.take()
    assert rpc is not None
    assert [(one.topic, one.data[0]) for one in rpc.publish] == [
        ("votes", 0), ("votes", 1), ("blocks", 0), ("receipts", 0), ("receipts", 1),
        ("?", 0), ("?", 1),
    ]  # fmt: skip


def test_a_full_queue_drops_the_lowest_class_first_and_in_it_the_oldest() -> None:
    dropped = [0] * 5
    parameters = GossipParameters(PRIORITIES, queue_messages_max=3)
    outbox = Outbox(A, parameters, waiting={}, patient={}, dropped=dropped)
    ads = [message("ads", 10, mark) for mark in range(3)]
    votes = [message("votes", 10, mark) for mark in range(4)]
    for one in [*ads, votes[0], votes[1]]:
        outbox.add_message(one)
    assert dropped == [0, 0, 0, 0, 2]
    outbox.add_message(votes[2])
    outbox.add_message(ads[0])
    assert dropped == [0, 0, 0, 0, 4]
    outbox.add_message(votes[3])
    assert dropped == [0, 1, 0, 0, 4]
    assert drain(outbox) == [Rpc(publish=tuple(votes[1:]))]


def test_a_full_queue_is_bounded_in_bytes_too() -> None:
    outbox = box()
    for mark in range(9):
        outbox.add_message(message("blocks", 500 * KIB, mark))
    assert outbox.messages == 8
    assert outbox.bytes <= 4 * 1024 * KIB


def test_what_was_dropped_is_counted_by_class() -> None:
    bench = Bench(GossipParameters(PRIORITIES, queue_messages_max=1), topics=(T,))
    bench.acknowledge = False
    bench.connect(A)
    bench.publish(message(T, 10, 1))
    bench.publish(message(T, 10, 2))
    assert bench.gossip.counters.dropped == (0, 0, 0, 0, 1)


# ---- control


def test_of_graft_and_prune_that_wait_the_last_word_counts() -> None:
    outbox = box()
    outbox.add_graft("a")
    outbox.add_prune(Prune("a", 60))
    outbox.add_prune(Prune("b", 60))
    outbox.add_graft("b")
    assert drain(outbox) == [Rpc(graft=("b",), prune=(Prune("a", 60),))]


def test_a_subscription_that_waits_is_undone_by_its_opposite() -> None:
    outbox = box()
    outbox.add_subscription("a", subscribe=True)
    outbox.add_subscription("b", subscribe=True)
    outbox.add_subscription("a", subscribe=False)
    assert drain(outbox) == [announce("b")]
    outbox.add_subscription("b", subscribe=False)
    outbox.add_subscription("b", subscribe=True)
    assert drain(outbox) == []


def test_newer_offers_replace_older_ones() -> None:
    outbox = box()
    outbox.add_ihave(IHave(T, ids(3)))
    outbox.add_ihave(IHave(T, ids(2)))
    assert drain(outbox) == [Rpc(ihave=(IHave(T, ids(2)),))]


def test_requests_that_wait_are_bounded() -> None:
    dropped = [0] * 5
    outbox = Outbox(A, GossipParameters(ihave_ids_max=5), waiting={}, patient={}, dropped=dropped)
    outbox.add_iwant(list(ids(4)))
    outbox.add_iwant([MessageId(bytes([255, number])) for number in range(4)])
    (rpc,) = drain(outbox)
    assert len(rpc.iwant) == 5
    assert dropped[Priority.CONTROL] == 3


def test_links_that_wait_are_bounded() -> None:
    dropped = [0] * 5
    outbox = Outbox(A, GossipParameters(topics_max=2), waiting={}, patient={}, dropped=dropped)
    for number in range(6):
        outbox.add_graft(str(number))
    assert drain(outbox) == [Rpc(graft=("2", "3", "4", "5"))]
    assert dropped[Priority.CONTROL] == 2


def test_much_control_is_spread_over_rpcs_and_nothing_is_lost() -> None:
    outbox = box(topics_max=500)
    infos = tuple(PeerInfo(PeerId(bytes([number]) * 38)) for number in range(16))
    for number in range(80):
        outbox.add_prune(Prune(f"pruned {number}", 60, infos))
        outbox.add_graft(f"grafted {number}")
        outbox.add_subscription("s" * 250 + f"{number}", subscribe=True)
    outbox.add_iwant(list(ids(2000)))
    outbox.add_ihave(IHave("ä" * 100, ids(2000)))
    outbox.add_ihave(IHave("b", ids(2000)))
    m = message("votes", 1000)
    outbox.add_message(m)
    rpcs = drain(outbox)
    assert all(len(encode_rpc(rpc)) == rpc.size <= 60 * KIB for rpc in rpcs)
    assert sum(len(rpc.prune) for rpc in rpcs) == 80
    assert sum(len(rpc.graft) for rpc in rpcs) == 80
    assert sum(len(rpc.subscriptions) for rpc in rpcs) == 80
    assert [one for rpc in rpcs for one in rpc.iwant] == list(ids(2000))
    for topic in ("ä" * 100, "b"):
        parts = [ihave.ids for rpc in rpcs for ihave in rpc.ihave if ihave.topic == topic]
        assert sum(parts, ()) == ids(2000)
    assert [one for rpc in rpcs for one in rpc.publish] == [m]
    assert len(rpcs) <= 5


# ---- company


PATIENT = GossipParameters({OTHER: Priority.BLOCKS}, patience_ms=100)


def patient() -> Bench:
    """A machine with two mesh peers that has just sent them a message that might have waited."""
    bench = Bench(PATIENT, topics=(T, OTHER))
    bench.connect(A, B, topics=(T, OTHER))
    bench.graft(A, B)
    bench.graft(A, B, topic=OTHER)
    assert receivers(bench.publish(Message(T, b"first")), Message(T, b"first")) == {A, B}
    return bench


def test_what_may_wait_leaves_at_once_when_it_is_alone_and_else_with_company() -> None:
    bench = patient()
    several = tuple(Message(T, bytes([number])) for number in range(3))
    bench.now_ms += 40
    assert bench.publish(several[0]) == [SetTimer(FLUSH, Millis(bench.now_ms + 60))]
    assert [bench.publish(one) for one in several[1:]] == [[], []]
    bench.now_ms += 60
    effects = bench.step(TimerFired(FLUSH))
    assert sent(effects) == {peer: Rpc(publish=several) for peer in (A, B)}
    bench.now_ms += 100
    assert sent(bench.publish(Message(T, b"last"))).keys() == {A, B}


def test_what_must_not_wait_takes_what_waits_along() -> None:
    bench = patient()
    waits, hurries = Message(T, b"waits"), Message(OTHER, b"hurries")
    bench.publish(waits)
    effects = bench.publish(hurries)
    assert sent(effects) == {peer: Rpc(publish=(hurries, waits)) for peer in (A, B)}
    bench.now_ms += 100
    assert bench.step(TimerFired(FLUSH)) == []


def test_what_waits_is_not_sent_to_whoever_sends_it_meanwhile() -> None:
    bench = patient()
    waits = Message(T, b"waits")
    bench.publish(waits)
    bench.message(A, waits)
    bench.now_ms += 100
    assert sent(bench.step(TimerFired(FLUSH))) == {B: Rpc(publish=(waits,))}


def test_who_is_always_told_first_says_a_word_now_and_then_all_the_same() -> None:
    outbox = Outbox(A, PATIENT, waiting={}, patient={}, dropped=[0] * len(Priority))
    messages = [Message(T, b"%d" % number) for number in range(3 * WORD_EVERY)]
    for message in messages:
        outbox.add_message(message)
        outbox.forget_message(message)
    assert outbox.take() == Rpc(publish=tuple(messages[WORD_EVERY - 1 :: WORD_EVERY]))
    assert outbox.take() is None


def test_what_waits_for_a_peer_that_leaves_is_forgotten() -> None:
    bench = patient()
    bench.publish(Message(T, b"waits"))
    bench.disconnect(A)
    bench.disconnect(B)
    bench.now_ms += 100
    assert bench.step(TimerFired(FLUSH)) == []


def test_with_a_flush_delay_for_all_nothing_waits_longer() -> None:
    bench = Bench(GossipParameters(patience_ms=100, flush_ms=20), topics=(T,))
    bench.connect(A)
    bench.step(TimerFired(FLUSH))
    for _ in range(2):
        message = Message(T, bytes([bench.now_ms % 256]))
        assert bench.publish(message) == [SetTimer(FLUSH, Millis(bench.now_ms + 20))]
        bench.now_ms += 20
        assert receivers(bench.step(TimerFired(FLUSH)), message) == {A}

"""Links: in order, after the latency, through one uplink; partitions hold back, then break."""

from random import Random

import pytest

from sim_harness.virtual.cuts import Cut
from sim_harness.virtual.heap import EventHeap
from sim_harness.virtual.links import SILENCE_US, SOCKET_BYTES_MAX, Connection, Links
from sim_harness.virtual.weather import Weather

LATENCY_US = 10_000
A, B, C = 0, 1, 2


class Bench:
    """Links without nodes: what arrives is written down with its moment."""

    def __init__(self, *, jitter_us: int = 0, bytes_per_second: int = 1_000_000) -> None:
        self.heap = EventHeap(0)
        self.arrived: list[tuple[int, str]] = []
        self.sent: list[tuple[int, str]] = []
        self.broken: list[Connection] = []
        self.links = Links(
            self.heap,
            lambda source, target: LATENCY_US,
            jitter=Random(1),
            jitter_us=jitter_us,
            bytes_per_second=bytes_per_second,
            silent=self._break,
            weather=Weather(Random(1)),
        )

    def _break(self, connection: Connection) -> None:
        self.links.disconnect(connection)
        self.broken.append(connection)

    def send(self, connection: Connection, name: str, *, size: int = 0, source: int = A) -> None:
        def deliver() -> bytes:
            self.arrived.append((self.heap.now_us, name))
            return name.encode()

        def sent() -> bytes:
            self.sent.append((self.heap.now_us, name))
            return name.encode()

        if self.links.send(connection, source, size, "test", deliver, sent):
            sent()

    def run_to(self, time_us: int) -> None:
        while self.heap.next_us is not None and self.heap.next_us <= time_us:
            self.heap.step()
        self.heap.now_us = time_us


def test_messages_arrive_after_latency_and_transmission() -> None:
    bench = Bench()
    connection = bench.links.connect(A, B)
    bench.send(connection, "small")
    bench.send(connection, "large", size=1_000)
    bench.run_to(SILENCE_US)
    assert bench.arrived == [(LATENCY_US, "small"), (LATENCY_US + 1_000, "large")]
    assert bench.sent == [(0, "small"), (1_000, "large")]


def test_nothing_overtakes_what_was_sent_before() -> None:
    bench = Bench(jitter_us=9_000)
    connection = bench.links.connect(A, B)
    for number in range(50):
        bench.send(connection, f"{number}")
    bench.run_to(SILENCE_US)
    assert [name for _, name in bench.arrived] == [f"{number}" for number in range(50)]


def test_a_node_has_one_uplink_for_all_its_connections() -> None:
    bench = Bench()
    bench.send(bench.links.connect(A, B), "first", size=5_000)
    bench.send(bench.links.connect(A, C), "second", size=5_000)
    bench.run_to(SILENCE_US)
    assert bench.arrived == [(LATENCY_US + 5_000, "first"), (LATENCY_US + 10_000, "second")]


def test_what_is_on_a_connection_is_lost_with_it() -> None:
    bench = Bench()
    connection = bench.links.connect(A, B)
    bench.send(connection, "lost")
    assert bench.links.disconnect(connection)
    assert not bench.links.disconnect(connection)
    bench.send(connection, "never sent")
    again = bench.links.connect(A, B)
    bench.run_to(SILENCE_US)
    assert bench.arrived == []
    assert bench.links.between(B, A) is again
    assert bench.links.of(B) == [again]


def test_nobody_is_connected_twice_or_to_itself() -> None:
    bench = Bench()
    bench.links.connect(A, B)
    with pytest.raises(ValueError, match="cannot be connected twice"):
        bench.links.connect(B, A)
    with pytest.raises(ValueError, match="cannot be connected twice"):
        bench.links.connect(A, A)


# ---- partitions


def test_what_is_sent_into_a_partition_arrives_when_it_heals_in_time() -> None:
    bench, cut = Bench(), Cut([[A], [B]])
    connection = bench.links.connect(A, B)
    bench.send(connection, "on its way")
    bench.links.cut(cut)
    assert bench.links.is_cut(B, A)
    bench.send(connection, "held back")
    bench.send(connection, "held back, too", source=B)
    bench.run_to(1_000_000)
    assert bench.arrived == [(LATENCY_US, "on its way")]
    bench.links.heal(cut)
    bench.run_to(SILENCE_US * 2)
    assert [name for _, name in bench.arrived[1:]] == ["held back", "held back, too"]
    assert bench.broken == []


def test_a_full_socket_buffer_makes_the_sender_wait_for_the_healing() -> None:
    bench, cut = Bench(), Cut([[A], [B]])
    connection = bench.links.connect(A, B)
    bench.links.cut(cut)
    bench.send(connection, "fits", size=SOCKET_BYTES_MAX)
    bench.send(connection, "waits", size=1)
    bench.run_to(1_000)
    assert [name for _, name in bench.sent] == ["fits"]
    bench.links.heal(cut)
    bench.run_to(SILENCE_US)
    assert [name for _, name in bench.sent] == ["fits", "waits"]


def test_a_partition_that_lasts_breaks_the_connection_when_pings_go_unanswered() -> None:
    bench, cut = Bench(), Cut([[A], [B]])
    connection, other = bench.links.connect(A, B), bench.links.connect(A, C)
    bench.links.cut(cut)
    bench.run_to(SILENCE_US - 1)
    assert bench.broken == []
    bench.run_to(SILENCE_US)
    assert bench.broken == [connection]
    assert other.is_up


def test_the_silence_of_a_healed_cut_does_not_break_a_later_one_early() -> None:
    bench = Bench()
    connection = bench.links.connect(A, B)
    first, second = Cut([[A], [B]]), Cut([[A], [B]])
    bench.links.cut(first)
    bench.run_to(SILENCE_US - 1_000_000)
    bench.links.heal(first)
    bench.links.cut(second)
    bench.run_to(SILENCE_US + 1_000_000)
    assert bench.broken == []
    bench.run_to(2 * SILENCE_US - 1_000_000)
    assert bench.broken == [connection]


def test_a_silence_does_not_break_the_connection_after_the_one_that_was_cut() -> None:
    bench, cut = Bench(), Cut([[A], [B]])
    bench.links.cut(cut)
    bench.links.heal(cut)
    old = bench.links.connect(A, B)
    bench.links.cut(cut)
    bench.links.disconnect(old)
    bench.links.heal(cut)
    new = bench.links.connect(A, B)
    bench.run_to(2 * SILENCE_US)
    assert new.is_up


def test_two_partitions_over_one_pair_must_both_heal() -> None:
    bench, one, other = Bench(), Cut([[A], [B, C]]), Cut([[A, C], [B]])
    connection = bench.links.connect(A, B)
    bench.links.cut(one)
    bench.links.cut(other)
    bench.send(connection, "held back")
    bench.links.heal(one)
    bench.run_to(1_000_000)
    assert bench.arrived == []
    assert bench.links.is_cut(A, B)
    bench.links.heal(other)
    bench.run_to(2_000_000)
    assert [name for _, name in bench.arrived] == ["held back"]
    with pytest.raises(ValueError, match="not in list"):
        bench.links.heal(other)


# ---- the heap


def test_ties_happen_in_the_order_in_which_they_were_planned() -> None:
    heap, happened = EventHeap(5), list[int]()

    def note(number: int) -> bytes:
        happened.append(number)
        return b""

    for number in range(20):
        heap.at(7_000, "tie", lambda number=number: note(number))  # type: ignore[misc]
    heap.at(1, "past means now", lambda: note(-1))
    while heap.next_us is not None:
        heap.step()
    assert happened == [-1, *range(20)]
    assert heap.now_ms == 7
    assert heap.events == 21

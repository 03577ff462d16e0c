"""Connections between virtual nodes: ordered and reliable like TCP, broken by partitions.

dial --handshake, 2 round trips--> up both ways --> messages in order, after the latency
partition: what is sent waits (TCP retransmits); healed in time it arrives, else both ends
notice after `silence_us`, as their pings go unanswered
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from sim_harness.virtual.heap import EventHeap

HANDSHAKE_ROUND_TRIPS: Final = 2
SILENCE_US: Final = 15_000_000
"""Ping interval and timeout of the live transport."""

Latency = Callable[[int, int], int]
"""Microseconds from node to node, by index."""


class _Wire:
    """One direction of a connection."""

    __slots__ = ("free_us", "waiting")

    def __init__(self) -> None:
        self.free_us = 0
        self.waiting: list[tuple[str, Callable[[], bytes]]] = []


class Links:
    """Every connection of a world; pairs are (lower, higher) node index."""

    def __init__(
        self,
        heap: EventHeap,
        latency: Latency,
        *,
        jitter: Random,
        jitter_us: int,
        bytes_per_second: int,
        broken: Callable[[int, int, str], None],
    ) -> None:
        self._heap = heap
        self._latency = latency
        self._jitter = jitter
        self._jitter_us = jitter_us
        self._bytes_per_second = bytes_per_second
        self._broken = broken
        self._wires: dict[tuple[int, int], dict[int, _Wire]] = {}
        self._cut: dict[tuple[int, int], int] = {}
        """Pairs that cannot reach one another, and how many partitions say so."""

    def is_up(self, one: int, other: int) -> bool:
        """Whether a connection stands."""
        return _pair(one, other) in self._wires

    def is_cut(self, one: int, other: int) -> bool:
        """Whether a partition lies between two nodes."""
        return _pair(one, other) in self._cut

    def peers_of(self, node: int) -> list[int]:
        """Connected nodes, in the order in which they connected."""
        return [sum(pair) - node for pair in self._wires if node in pair]

    def delay_us(self, source: int, target: int) -> int:
        """A drawn one-way delay."""
        return self._latency(source, target) + self._jitter.randint(0, self._jitter_us)

    def handshake_us(self, source: int, target: int) -> int:
        """How long a dial takes."""
        return 2 * HANDSHAKE_ROUND_TRIPS * self.delay_us(source, target)

    def connect(self, one: int, other: int) -> None:
        """A connection stands from now on."""
        self._wires.setdefault(_pair(one, other), {one: _Wire(), other: _Wire()})

    def disconnect(self, one: int, other: int) -> bool:
        """Drop a connection and what is on it; whether there was one."""
        return self._wires.pop(_pair(one, other), None) is not None

    def send(
        self, source: int, target: int, size: int, kind: str, deliver: Callable[[], bytes]
    ) -> int:
        """Carry a message over; returns when its last byte leaves the sender (microseconds)."""
        wires = self._wires.get(_pair(source, target))
        if wires is None:
            return self._heap.now_us
        wire = wires[source]
        if self.is_cut(source, target):
            wire.waiting.append((kind, deliver))
            return self._heap.now_us
        leaves_us = self._heap.now_us + size * 1_000_000 // self._bytes_per_second
        # In order: nothing overtakes what was sent before.
        wire.free_us = max(wire.free_us, leaves_us + self.delay_us(source, target))

        def arrive() -> bytes:
            return deliver() if self._wires.get(_pair(source, target)) is wires else b"lost"

        self._heap.at(wire.free_us, kind, arrive)
        return leaves_us

    def cut(self, pairs: list[tuple[int, int]]) -> None:
        """Put a partition between pairs of nodes."""
        for one, other in pairs:
            pair = _pair(one, other)
            self._cut[pair] = self._cut.get(pair, 0) + 1
            self._heap.after(SILENCE_US, "silence", partial(self._notice, pair))

    def heal(self, pairs: list[tuple[int, int]]) -> None:
        """Take a partition away again; what waited arrives."""
        for one, other in pairs:
            pair = _pair(one, other)
            self._cut[pair] -= 1
            if self._cut[pair]:
                continue
            del self._cut[pair]
            for source, wire in self._wires.get(pair, {}).items():
                waiting, wire.waiting = wire.waiting, []
                for kind, deliver in waiting:
                    self.send(source, sum(pair) - source, 0, kind, deliver)

    def _notice(self, pair: tuple[int, int]) -> bytes:
        if pair in self._cut and self.disconnect(*pair):
            self._broken(*pair, "silent")
        return b"%d %d" % pair


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)

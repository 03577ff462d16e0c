"""Connections between virtual nodes: ordered and reliable like TCP, broken by partitions.

    dial --handshake, 2 round trips--> up both ways --> messages in order, after the latency
    partition: what is sent waits (TCP retransmits), and once the socket buffer is full so does the
    sender; healed in time it arrives, else both ends notice after `SILENCE_US`, by their pings

A node's uplink is one queue: large messages to many peers leave one after the other.
"""

from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Final

from sim_harness.virtual.heap import EventHeap

HANDSHAKE_ROUND_TRIPS: Final = 2
SILENCE_US: Final = 15_000_000
"""Ping interval and timeout of the live transport."""
SOCKET_BYTES_MAX: Final = 256 * 1024
"""What a connection takes from its sender while nothing arrives."""

Pair = tuple[int, int]
"""Two node indices, the lower first."""
Act = Callable[[], bytes]
"""An event; what it was, for the digest."""
Latency = Callable[[int, int], int]
"""Microseconds from node to node, by index."""


class _Wire:
    """One direction of a connection."""

    __slots__ = ("arrives_us", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self.arrives_us = 0
        """When what was sent last arrives: nothing overtakes it."""
        self.waiting: list[tuple[int, str, Act, Act | None]] = []
        """Size, kind, delivery and the sender's news (None once it had it), cut off."""
        self.waiting_bytes = 0


class Connection:
    """One connection, from its handshake to its end."""

    __slots__ = ("is_up", "pair", "wires")

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.is_up = True
        self.wires = {index: _Wire() for index in pair}
        """By sender."""

    def other(self, index: int) -> int:
        """The node at the other end."""
        first, second = self.pair
        return second if index == first else first


class Links:
    """Every connection of a world, and what lies between its nodes."""

    def __init__(
        self,
        heap: EventHeap,
        latency: Latency,
        *,
        jitter: Random,
        jitter_us: int,
        bytes_per_second: int,
        silent: Callable[[Connection], None],
    ) -> None:
        self._heap = heap
        self._latency = latency
        self._jitter = jitter
        self._jitter_us = jitter_us
        self._bytes_per_second = bytes_per_second
        self._silent = silent
        self._connections: dict[Pair, Connection] = {}
        self._uplinks_us: dict[int, int] = {}
        """When each node's last byte leaves it."""
        self._cuts: dict[Pair, int] = {}
        """How many partitions lie between two nodes."""
        self._cut_number: dict[Pair, int] = {}
        """Names the present cut: the end of an earlier one is no end of this."""
        self._cuts_made = 0

    def between(self, one: int, other: int) -> Connection | None:
        """The connection of two nodes."""
        return self._connections.get(_pair(one, other))

    def is_cut(self, one: int, other: int) -> bool:
        """Whether a partition lies between two nodes."""
        return _pair(one, other) in self._cuts

    def of(self, index: int) -> list[Connection]:
        """A node's connections, in the order in which they were made."""
        return [one for pair, one in self._connections.items() if index in pair]

    def delay_us(self, source: int, target: int) -> int:
        """A drawn one-way delay."""
        return self._latency(source, target) + self._jitter.randint(0, self._jitter_us)

    def handshake_us(self, source: int, target: int) -> int:
        """How long a dial takes."""
        return 2 * HANDSHAKE_ROUND_TRIPS * self.delay_us(source, target)

    def connect(self, one: int, other: int) -> Connection:
        """A connection stands from now on. Raises ValueError when one stood already."""
        pair = _pair(one, other)
        if one == other or pair in self._connections:
            raise ValueError(f"nodes {pair} cannot be connected twice")
        self._connections[pair] = Connection(pair)
        return self._connections[pair]

    def disconnect(self, connection: Connection) -> bool:
        """End a connection and lose what is on it; False when it had ended before."""
        if not connection.is_up:
            return False
        connection.is_up = False
        del self._connections[connection.pair]
        return True

    def forget_uplink(self, index: int) -> None:
        """A node died: what it had not sent is gone."""
        self._uplinks_us.pop(index, None)

    def send(
        self,
        connection: Connection,
        source: int,
        size: int,
        kind: str,
        deliver: Act,
        sent: Act | None = None,
    ) -> None:
        """Carry a message over; `sent` happens when the connection takes more from its sender."""
        if not connection.is_up:
            return
        wire = connection.wires[source]
        if connection.pair in self._cuts:
            wire.waiting_bytes += size
            if sent is not None and wire.waiting_bytes <= SOCKET_BYTES_MAX:
                self._heap.after(0, "sent", sent)
                sent = None
            wire.waiting.append((size, kind, deliver, sent))
            return
        busy_us = max(self._heap.now_us, self._uplinks_us.get(source, 0))
        leaves_us = busy_us + size * 1_000_000 // self._bytes_per_second
        self._uplinks_us[source] = leaves_us
        delay_us = self.delay_us(source, connection.other(source))
        wire.arrives_us = max(wire.arrives_us, leaves_us + delay_us)
        self._heap.at(wire.arrives_us, kind, lambda: deliver() if connection.is_up else b"lost")
        if sent is not None:
            self._heap.at(leaves_us, "sent", sent)

    # ---- partitions --------------------------------------------------------------------------

    def cut(self, pairs: Iterable[Pair]) -> None:
        """Put a partition between pairs of nodes."""
        for one, other in pairs:
            pair = _pair(one, other)
            self._cuts[pair] = self._cuts.get(pair, 0) + 1
            if self._cuts[pair] > 1:
                continue
            self._cuts_made += 1
            self._cut_number[pair] = self._cuts_made
            connection = self._connections.get(pair)
            if connection is not None:
                notice = partial(self._notice, connection, self._cuts_made)
                self._heap.after(SILENCE_US, "silence", notice)

    def heal(self, pairs: Iterable[Pair]) -> None:
        """Take a partition away again; what waited arrives. Raises KeyError if there was none."""
        for one, other in pairs:
            pair = _pair(one, other)
            self._cuts[pair] -= 1
            if self._cuts[pair]:
                continue
            del self._cuts[pair], self._cut_number[pair]
            connection = self._connections.get(pair)
            if connection is not None:
                self._resume(connection)

    def _resume(self, connection: Connection) -> None:
        for source, wire in connection.wires.items():
            waiting, wire.waiting, wire.waiting_bytes = wire.waiting, [], 0
            for size, kind, deliver, sent in waiting:
                self.send(connection, source, size, kind, deliver, sent)

    def _notice(self, connection: Connection, cut_number: int) -> bytes:
        if self._cut_number.get(connection.pair) == cut_number and connection.is_up:
            self._silent(connection)
        return b"%d %d" % connection.pair


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)

"""Connections between virtual nodes: ordered and reliable like TCP, broken by partitions.

    dial --handshake, 2 round trips--> up both ways --> messages in order, after the latency
    partition: what is sent waits (TCP retransmits), and once the socket buffer is full so does the
    sender; healed in time it arrives, else both ends notice after `SILENCE_US`, by their pings
    one-way partition: the other way a window still arrives, since no acknowledgement returns

A node's uplink is one queue: large messages to many peers leave one after the other, and a sender
has its next turn when a message left, or at once when that takes less than `AT_ONCE_US`. `weather`
says what lies on the links besides distance.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final

from sim_harness.virtual.cuts import Cut
from sim_harness.virtual.heap import Act, EventHeap, What
from sim_harness.virtual.weather import Weather

HANDSHAKE_ROUND_TRIPS: Final = 2
SILENCE_US: Final = 15_000_000
"""Ping interval and timeout of the live transport."""
SOCKET_BYTES_MAX: Final = 256 * 1024
"""What a connection takes from its sender while nothing arrives."""
WINDOW_BYTES_MAX: Final = 64 * 1024
"""What arrives of a connection whose acknowledgements are lost."""

AT_ONCE_US: Final = 1_000
"""What the uplink sends within this, the kernel takes without letting its sender wait."""

Pair = tuple[int, int]
"""Two node indices, the lower first."""
Latency = Callable[[int, int], int]
"""Microseconds from node to node, by index."""


class _Wire:
    """One direction of a connection."""

    __slots__ = ("arrives_us", "target", "unacknowledged", "waiting", "waiting_bytes")

    def __init__(self, target: int) -> None:
        self.target = target
        self.arrives_us = 0
        """When what was sent last arrives: nothing overtakes it."""
        self.waiting: list[tuple[int, str, Act, Act | None]] = []
        """Size, kind, delivery and the sender's news (None once it had it), cut off."""
        self.waiting_bytes = 0
        self.unacknowledged = 0
        """Bytes that arrived while no acknowledgement could return."""


class Connection:
    """One connection, from its handshake to its end."""

    __slots__ = ("cut_us", "is_up", "pair", "wires")

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.is_up = True
        self.cut_us: int | None = None
        """Since when a partition lies across it."""
        first, second = pair
        self.wires = {first: _Wire(second), second: _Wire(first)}
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
        weather: Weather,
    ) -> None:
        self.weather = weather
        self._heap = heap
        self._latency = latency
        self._draw = jitter.random
        self._jitter_span = jitter_us + 1
        """Microseconds; drawn so, a delay is as good as by `randint`, at a tenth of its price."""
        self.bytes_per_second = bytes_per_second
        """Of each node's uplink."""
        self._silent = silent
        self._connections: dict[Pair, Connection] = {}
        self._uplinks_us: dict[int, int] = {}
        """When each node's last byte leaves it."""
        self._cuts: list[Cut] = []

    def between(self, one: int, other: int) -> Connection | None:
        """The connection of two nodes."""
        return self._connections.get(_pair(one, other))

    def is_cut(self, one: int, other: int) -> bool:
        """Whether a partition lies between two nodes, in one direction at least."""
        return self._blocks(one, other) or self._blocks(other, one)

    def _blocks(self, source: int, target: int) -> bool:
        return any(cut.blocks(source, target) for cut in self._cuts)

    def of(self, index: int) -> list[Connection]:
        """A node's connections, in the order in which they were made."""
        return [one for pair, one in self._connections.items() if index in pair]

    def delay_us(self, source: int, target: int) -> int:
        """A drawn one-way delay."""
        delay_us = self._latency(source, target) + int(self._draw() * self._jitter_span)
        return delay_us + (self.weather.extra_us(source, target) if self.weather.rules else 0)

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
    ) -> bool:
        """Carry a message over; whether the connection takes more from its sender at once.

        If it does not, `sent` happens when it does.
        """
        if not connection.is_up:
            return False
        wire = connection.wires[source]
        target = wire.target
        if self._cuts and self._must_wait(wire, source, target, size):
            return self._hold(wire, size, kind, deliver, sent)
        heap = self._heap
        now_us = heap.now_us
        uplink = self.bytes_per_second
        delay_us = self.delay_us(source, target)
        if self.weather.rules:
            uplink = self.weather.uplink(source, uplink)
            delay_us += self._repeated_us(connection, source, size, delay_us)
        free_us = self._uplinks_us.get(source, now_us)
        leaves_us = (max(now_us, free_us)) + size * 1_000_000 // uplink
        self._uplinks_us[source] = leaves_us
        arrives_us = leaves_us + delay_us
        arrives_us = max(arrives_us, wire.arrives_us)
        wire.arrives_us = arrives_us
        heap.at(arrives_us, kind, partial(_arrive, connection, deliver))
        if leaves_us - now_us < AT_ONCE_US:
            return True
        if sent is not None:
            heap.at(leaves_us, "sent", sent)
        return False

    def carry(self, source: int, target: int, size: int) -> tuple[int, int]:
        """A message of a stream beside gossip, by way of the same uplink.

        When its last byte leaves and when it arrives; the caller asks `is_cut` then.
        """
        uplink, delay_us = self.bytes_per_second, self.delay_us(source, target)
        if self.weather.rules:
            uplink = self.weather.uplink(source, uplink)
            delay_us += self.weather.repeated_us(
                source, target, size=size, round_trip_us=2 * delay_us
            )
        leaves_us = max(self._heap.now_us, self._uplinks_us.get(source, 0))
        leaves_us += size * 1_000_000 // uplink
        self._uplinks_us[source] = leaves_us
        return leaves_us, leaves_us + delay_us

    def _hold(self, wire: _Wire, size: int, kind: str, deliver: Act, sent: Act | None) -> bool:
        """Keep what a partition stops; the socket takes more until its buffer is full."""
        wire.waiting_bytes += size
        has_room = wire.waiting_bytes <= SOCKET_BYTES_MAX
        wire.waiting.append((size, kind, deliver, None if has_room else sent))
        return has_room

    def _must_wait(self, wire: _Wire, source: int, target: int, size: int) -> bool:
        if wire.waiting or self._blocks(source, target):
            return True
        if not self._blocks(target, source):
            return False
        wire.unacknowledged += size
        return wire.unacknowledged > WINDOW_BYTES_MAX

    def _repeated_us(self, connection: Connection, source: int, size: int, delay_us: int) -> int:
        late_us = self.weather.repeated_us(
            source, connection.other(source), size=size, round_trip_us=2 * delay_us
        )
        if late_us >= SILENCE_US:
            self._heap.after(SILENCE_US, "reset", partial(self._notice, connection, None))
        return late_us

    # ---- partitions --------------------------------------------------------------------------

    def cut(self, cut: Cut) -> None:
        """Put a partition between groups of nodes."""
        self._cuts.append(cut)
        for connection in self._connections.values():
            if connection.cut_us is None and self.is_cut(*connection.pair):
                connection.cut_us = self._heap.now_us
                notice = partial(self._notice, connection, connection.cut_us)
                self._heap.after(SILENCE_US, "silence", notice)

    def heal(self, cut: Cut) -> None:
        """Take a partition away again; what waited arrives. Raises ValueError if there was none."""
        self._cuts.remove(cut)
        for connection in list(self._connections.values()):
            if connection.cut_us is not None and not self.is_cut(*connection.pair):
                connection.cut_us = None
                self._resume(connection)

    def _resume(self, connection: Connection) -> None:
        for source, wire in connection.wires.items():
            waiting, wire.waiting, wire.waiting_bytes = wire.waiting, [], 0
            wire.unacknowledged = 0
            for size, kind, deliver, sent in waiting:
                if self.send(connection, source, size, kind, deliver, sent) and sent is not None:
                    self._heap.after(0, "sent", sent)

    def _notice(self, connection: Connection, cut_us: int | None) -> What:
        if connection.cut_us == cut_us and connection.is_up:
            self._silent(connection)
        return b"%d %d" % connection.pair


def _arrive(connection: Connection, deliver: Act) -> What:
    return deliver() if connection.is_up else b"lost"


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)

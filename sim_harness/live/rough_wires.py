"""The transport's connections under a scenario's distances and faults, without any privilege.

    dial:   wait out partitions, one round trip, then the node's number as the first bytes
    accept: read the number, so that both ends know between whom the connection lies
    send:   uplink queue -> distance, jitter, `Weather` (delay, loss) -> partition -> real socket

Each end hurts what it sends itself. What the virtual world models is done here to real bytes, by
the same rules and the same distances: loss is lateness and, if it lasts, a broken connection; of a
one-way partition the open direction carries one window; a partition holds what is sent until it is
over. Every draw comes from the seed, the node's number and its process.
"""

import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import msgspec
import trio

from p2p.network.listener import EXHAUSTED_PAUSE_S
from p2p.network.wires import LISTEN_BACKLOG, TcpWires, Wires
from p2p.primitives.units import PeerId
from sim_harness.live.delayed_wires import BREAKS_S, DelayedStream
from sim_harness.live.messages import LinksHurt, RuleSpec
from sim_harness.virtual.cuts import Cut, Direction
from sim_harness.virtual.links import WINDOW_BYTES_MAX, Latency
from sim_harness.virtual.weather import PACKET_BYTES, Rule, Weather

US: Final = 1_000_000
UNBOUNDED: Final = 10**12
"""Bytes a second that no uplink has."""
NUMBER_BYTES: Final = 4
NUMBER_DEADLINE_S: Final = 10.0
"""For a connection that came to say from whom."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)


class Tally(msgspec.Struct):
    """What was injected, in total: see `Measured`."""

    sends: int = 0
    parcels: int = 0
    packets: int = 0
    bytes: int = 0
    late_s: float = 0.0
    asked_s: float = 0.0
    crossed: int = 0
    held: int = 0
    breaks: int = 0
    swallowed: int = 0
    read_bytes: int = 0
    refused: int = 0


class Links:
    """What lies between one node and all others, at present.

    Args:
        me: number of the node.
        latency: microseconds one way, between node numbers.
        jitter_us: drawn on top.
        bytes_per_second: of the node's uplink.
        draws: of every choice.
    """

    def __init__(
        self,
        me: int,
        latency: Latency,
        *,
        jitter_us: int,
        bytes_per_second: int,
        draws: Random,
    ) -> None:
        self.me = me
        self.weather = Weather(draws)
        self.cuts: list[Cut] = []
        self.specs: tuple[RuleSpec, ...] = ()
        self._latency = latency
        self._jitter_us = jitter_us
        self._bytes_per_second = bytes_per_second
        self._draws = draws
        self.tally = Tally()
        self._uplink_s = 0.0
        """When the last byte leaves the uplink."""
        self._changed = trio.Event()

    def hurt(self, order: LinksHurt) -> None:
        """From now on these cuts and rules, and no others."""
        self.cuts = [
            Cut(cut.groups, Direction(cut.direction), elsewhere=cut.elsewhere) for cut in order.cuts
        ]
        self.specs = order.rules
        self.weather.rules = [
            Rule(
                rule.nodes,
                Direction(rule.direction),
                delay_us=rule.delay_us,
                jitter_us=rule.jitter_us,
                loss=rule.loss,
                bytes_per_second=rule.bytes_per_second,
            )
            for rule in order.rules
        ]
        self._changed.set()
        self._changed = trio.Event()

    async def wait_change(self) -> None:
        """Until other cuts or rules stand."""
        await self._changed.wait()

    def blocks(self, source: int, target: int) -> bool:
        """Whether a partition stops what one node sends to another."""
        return any(cut.blocks(source, target) for cut in self.cuts)

    def one_way_us(self, source: int, target: int) -> int:
        """A drawn delay."""
        delay_us = self._latency(source, target)
        if self._jitter_us:
            delay_us += int(self._draws.random() * (self._jitter_us + 1))
        return delay_us + (self.weather.extra_us(source, target) if self.weather.rules else 0)

    def late_s(self, target: int, size: int) -> float:
        """How late bytes arrive that this node sends now; they take their turn on its uplink."""
        now_s = trio.current_time()
        delay_us, rate = self.one_way_us(self.me, target), self._bytes_per_second
        if self.weather.rules:
            rate = self.weather.uplink(self.me, rate)
            delay_us += self.weather.repeated_us(
                self.me, target, size=size, round_trip_us=2 * delay_us
            )
        self._uplink_s = max(now_s, self._uplink_s) + size / rate
        late_s = self._uplink_s - now_s + delay_us / US
        self.tally.sends += 1
        self.tally.packets += max(1, -(-size // PACKET_BYTES))
        self.tally.asked_s += self._latency(self.me, target) / US
        self.tally.breaks += late_s >= BREAKS_S
        return late_s

    def is_near(self, target: int) -> bool:
        """Whether nothing lies between, and the uplink has no bound."""
        return not (
            self._latency(self.me, target) or self._jitter_us or self._bytes_per_second < UNBOUNDED
        )

    async def wait_dial(self, target: int) -> None:
        """What a dial waits for: the end of a partition, and one round trip."""
        while self.blocks(self.me, target) or self.blocks(target, self.me):
            await self.wait_change()
        there_us, back_us = self.one_way_us(self.me, target), self.one_way_us(target, self.me)
        await trio.sleep((there_us + back_us) / US)

    def swallows(self, target: int) -> bool:
        """Whether what this node sends disappears."""
        return any(
            spec.swallows and (self.me in spec.nodes or target in spec.nodes) for spec in self.specs
        )

    def reads_per_second(self) -> int | None:
        """How fast this node reads; None: as fast as it can."""
        rates = [
            spec.reads_per_second
            for spec in self.specs
            if spec.reads_per_second is not None and self.me in spec.nodes
        ]
        return min(rates, default=None)


class NodeWay:
    """This node's direction of a connection with another."""

    def __init__(self, links: Links, target: int) -> None:
        self._links = links
        self._target = target
        self._unacknowledged = 0
        self._is_near = links.is_near(target)

    @property
    def is_clear(self) -> bool:
        return self._is_near and not self._links.cuts and not self._links.specs

    @property
    def swallows(self) -> bool:
        return bool(self._links.specs) and self._links.swallows(self._target)

    @property
    def reads_per_second(self) -> int | None:
        return self._links.reads_per_second()

    def late_s(self, size: int) -> float:
        return self._links.late_s(self._target, size)

    def passes(self, size: int) -> bool:
        links = self._links
        if links.cuts and links.blocks(links.me, self._target):
            links.tally.held += 1
            return False
        if not links.cuts or not links.blocks(self._target, links.me):
            self._unacknowledged = 0
            return True
        # No acknowledgement returns: TCP goes on for one window.
        self._unacknowledged += size
        return self._unacknowledged <= WINDOW_BYTES_MAX

    def delivered(self, size: int, late_s: float) -> None:
        links, tally = self._links, self._links.tally
        tally.parcels += 1
        tally.bytes += size
        tally.late_s += late_s
        if links.cuts and links.blocks(links.me, self._target):
            tally.crossed += size

    def took(self, size: int) -> None:
        self._links.tally.read_bytes += size

    def swallowed(self, size: int) -> None:
        self._links.tally.swallowed += size

    async def wait_change(self) -> None:
        await self._links.wait_change()


class RoughWires:
    """TCP as `Links` have it; `open_rough_wires` makes them."""

    def __init__(
        self,
        nursery: trio.Nursery,
        links: Links,
        numbers: dict[PeerId, int],
        inner: Wires | None = None,
    ) -> None:
        self._nursery = nursery
        self._links = links
        self._numbers = numbers
        self._inner = inner or TcpWires()
        self._streams: dict[int, DelayedStream] = {}
        self._next = 0

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        """Connect. Raises OSError."""
        target = self._numbers.get(peer)
        if target is None:
            return await self._inner.dial(peer, host, port)
        await self._links.wait_dial(target)
        try:
            stream = await self._inner.dial(peer, host, port)
        except OSError as error:
            self._links.tally.refused += is_exhausted(error)
            raise
        try:
            await stream.send_all(self._links.me.to_bytes(NUMBER_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionResetError(str(error)) from error
        return self.stretch(stream, target)

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        """Listen. Raises OSError."""
        return [RoughListener(one, self) for one in await self._inner.listen(host, port)]

    def stretch(self, stream: trio.abc.Stream, other: int) -> DelayedStream:
        """The same connection, with what we send under the rules."""
        rough = DelayedStream(stream, NodeWay(self._links, other))
        number, self._next = self._next, self._next + 1
        self._streams[number] = rough

        async def pump() -> None:
            try:
                await rough.pump()
            finally:
                del self._streams[number]

        self._nursery.start_soon(pump)
        return rough

    def refused(self) -> None:
        """No descriptor was left for a connection that came."""
        self._links.tally.refused += 1

    def forget_connections(self) -> None:
        """Break our ends of all connections without a word to the others."""
        for stream in list(self._streams.values()):
            stream.forget()

    def start(self, work: "RoughListener") -> None:
        """Let a listener accept in the background."""
        self._nursery.start_soon(work.run)


class RoughListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener that learns who is at the other end before it hands a connection over."""

    def __init__(self, inner: trio.abc.Listener[trio.abc.Stream], wires: RoughWires) -> None:
        self.socket = getattr(inner, "socket", None)
        self._inner = inner
        self._wires = wires
        self._send, self._receive = trio.open_memory_channel[DelayedStream | OSError](
            LISTEN_BACKLOG
        )
        self._greeted: dict[int, trio.CancelScope] = {}
        self._greetings = 0
        self._is_running = False

    async def accept(self) -> trio.abc.Stream:
        if not self._is_running:
            self._is_running = True
            self._wires.start(self)
        try:
            found = await self._receive.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError("this listener was closed") from None
        if isinstance(found, OSError):
            raise found
        return found

    async def run(self) -> None:
        """Accept until closed."""
        with self._send:
            async with trio.open_nursery() as nursery:
                while True:
                    try:
                        nursery.start_soon(self._greet, await self._inner.accept())
                    except trio.ClosedResourceError:
                        break
                    except OSError as error:
                        if error.errno not in _EXHAUSTED:
                            break
                        await self._exhausted(error)
                nursery.cancel_scope.cancel()

    async def _exhausted(self, error: OSError) -> None:
        """Whoever accepts hears of it; those who have not said their number make room."""
        self._wires.refused()
        for number in list(self._greeted)[: len(self._greeted) // 2]:
            self._greeted.pop(number).cancel()
        with trio.move_on_after(EXHAUSTED_PAUSE_S):
            await self._send.send(error)
            await trio.sleep(EXHAUSTED_PAUSE_S)

    async def _greet(self, stream: trio.abc.Stream) -> None:
        heard = b""
        number, self._greetings = self._greetings, self._greetings + 1
        with trio.move_on_after(NUMBER_DEADLINE_S) as scope:
            self._greeted[number] = scope
            try:
                while len(heard) < NUMBER_BYTES:
                    more = await stream.receive_some(NUMBER_BYTES - len(heard))
                    if not more:
                        break
                    heard += more
            except trio.BrokenResourceError:
                pass
            finally:
                self._greeted.pop(number, None)
        if len(heard) < NUMBER_BYTES:
            await trio.aclose_forcefully(stream)
            return
        await self._send.send(self._wires.stretch(stream, int.from_bytes(heard)))

    async def aclose(self) -> None:
        await self._inner.aclose()


def is_exhausted(error: BaseException | None) -> bool:
    """Whether no descriptor was left: trio tells of a dial's failures in a group."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_exhausted(one) for one in error.exceptions)
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        return True
    return error is not None and is_exhausted(error.__cause__)


@asynccontextmanager
async def open_rough_wires(
    links: Links, numbers: dict[PeerId, int], inner: Wires | None = None
) -> AsyncIterator[RoughWires]:
    """Wires under these links for a block; its end cuts them all.

    Args:
        links: what lies between this node and the others.
        numbers: of the nodes that have such wires, too.
        inner: the wires below; None: TCP.
    """
    async with trio.open_nursery() as nursery:
        try:
            yield RoughWires(nursery, links, numbers, inner)
        finally:
            nursery.cancel_scope.cancel()

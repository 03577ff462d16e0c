"""TCP over a long way: every byte that a node sends arrives a delay later, in order.

    send_all -> parcels (due, bytes), at most `IN_FLIGHT_BYTES_MAX` -> pump -> the real socket
    receive_some <- the real socket: what the other end sent was delayed there

Each end delays what it sends itself, so both ends of a connection need these wires. It needs no
privilege: the parcels wait in this process. What a killed process had sent but a delay ago is lost,
where a real network would still deliver it; a stream that is closed delivers first, then ends.
"""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final, Protocol

import trio

from p2p.network.wires import TcpWires, Wires
from p2p.primitives.units import KIB, MIB, PeerId

IN_FLIGHT_BYTES_MAX: Final = 1 * MIB
"""What one direction of a connection holds before its sender waits: as a large socket buffer."""
PARCEL_BYTES_MAX: Final = 64 * KIB
BREAKS_S: Final = 15.0
"""What stays lost for so long breaks the connection: pings go unanswered."""
READ_SLOWLY_BYTES: Final = 1 * KIB
"""What a slow reader takes at a time."""
LINGER_S: Final = 5.0
"""How long a closed stream still tries to deliver to a peer that does not read."""


class Way(Protocol):
    """What lies on one direction of a connection."""

    @property
    def is_clear(self) -> bool:
        """Whether bytes pass at once, without being kept."""

    @property
    def swallows(self) -> bool:
        """Whether bytes are gone for good."""

    @property
    def reads_per_second(self) -> int | None:
        """How fast this end takes what the other one sends; None is as fast as it can."""

    def late_s(self, size: int) -> float:
        """How much later so many bytes arrive that are sent now; `BREAKS_S` or more: never."""

    def passes(self, size: int) -> bool:
        """Whether so many bytes that are due may arrive now."""

    def delivered(self, size: int, late_s: float) -> None:
        """So many bytes went to the real socket, so long after they were sent."""

    def took(self, size: int) -> None:
        """So many bytes were read."""

    def swallowed(self, size: int) -> None:
        """So many bytes are gone for good."""

    async def wait_change(self) -> None:
        """Until `passes` may say something else."""


class Distance:
    """How late bytes arrive: a delay, and a jitter drawn on top of it."""

    def __init__(self, *, delay_ms: float, jitter_ms: float = 0, seed: int = 0) -> None:
        if delay_ms < 0 or jitter_ms < 0:
            raise ValueError("a delay cannot be negative")
        self._delay_s, self._jitter_s = delay_ms / 1000, jitter_ms / 1000
        self._draws = Random(seed)

    is_clear = False
    swallows = False
    reads_per_second: int | None = None

    def draw_s(self) -> float:
        """One way, in seconds."""
        return self._delay_s + self._jitter_s * self._draws.random()

    def late_s(self, size: int) -> float:
        """As drawn, however many bytes there are."""
        return self.draw_s()

    def passes(self, size: int) -> bool:
        """Always."""
        return True

    def delivered(self, size: int, late_s: float) -> None:
        """Nobody counts."""

    def took(self, size: int) -> None:
        """Nobody counts."""

    def swallowed(self, size: int) -> None:
        """Nobody counts."""

    async def wait_change(self) -> None:
        """For ever."""
        await trio.sleep_forever()


class DelayedStream(trio.abc.Stream):
    """A stream whose sent bytes arrive later. `pump` has to run as long as it lives."""

    def __init__(self, inner: trio.abc.Stream, way: Way) -> None:
        self.socket = getattr(inner, "socket", None)
        """The real one, for whoever asks for addresses."""
        self._inner = inner
        self._way = way
        self._parcels: deque[tuple[float, bytes, float]] = deque()
        """What is under way: when it arrives, and when it was sent; no bytes are the end."""
        self._in_flight = 0
        self._due_s = 0.0
        self._changed = trio.lowlevel.ParkingLot()
        self._sending = trio.lowlevel.ParkingLot()
        self._is_sending = False
        self._is_closed = False
        self._is_broken = False
        self._is_pumped = True
        self._is_forgotten = False
        self._breaks_s = float("inf")
        """When a loss will have broken the connection."""
        self._pump_scope = trio.CancelScope()
        self._receive_scope: trio.CancelScope | None = None

    # ---- sending -----------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._is_sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check()
            if self._way.is_clear and not self._parcels:
                await self._inner.send_all(data)
                return
            view = memoryview(data)
            for start in range(0, len(view), PARCEL_BYTES_MAX):
                await self._wait_room()
                self._post(bytes(view[start : start + PARCEL_BYTES_MAX]))
        finally:
            self._is_sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        await self._wait_room()

    async def _wait_room(self) -> None:
        while self._in_flight >= IN_FLIGHT_BYTES_MAX and not self._is_broken:
            await self._sending.park()
        self._check()

    def _check(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._is_broken:
            raise trio.BrokenResourceError("the connection broke")

    def _post(self, data: bytes) -> None:
        if data and self._way.swallows:
            self._way.swallowed(len(data))
            return
        now_s = trio.current_time()
        late_s = self._way.late_s(len(data))
        if late_s >= BREAKS_S:
            self._breaks_s = min(self._breaks_s, now_s + BREAKS_S)
        # Nothing overtakes what was sent before.
        self._due_s = max(self._due_s, now_s + late_s)
        self._parcels.append((self._due_s, data, now_s))
        self._in_flight += len(data)
        self._changed.unpark_all()

    def forget(self) -> None:
        """Break this end alone: nothing is sent, and the other end is not told."""
        self._is_forgotten = self._is_broken = True
        if self._receive_scope is not None:
            self._receive_scope.cancel()
        self._pump_scope.cancel()

    # ---- delivering --------------------------------------------------------------------------

    async def pump(self) -> None:
        """Deliver parcels when they are due, until the stream is closed or broken."""
        try:
            with self._pump_scope:
                while await self._deliver():
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # The peer is gone: senders hear of it, and so does whoever receives.
        finally:
            self._is_broken = True
            self._is_pumped = False
            self._parcels.clear()
            self._in_flight = 0
            self._sending.unpark_all()
            if self._is_forgotten:
                pass  # The other end goes on believing in it until somebody lets go of it.
            elif (
                self._is_closed
                or self._breaks_s < float("inf")
                or trio.current_effective_deadline() == float("-inf")
            ):
                await trio.aclose_forcefully(self._inner)

    async def _deliver(self) -> bool:
        """Wait for the next parcels and hand them over; False at the end."""
        while not self._parcels:
            await self._changed.park()
        await trio.sleep_until(min(self._parcels[0][0], self._breaks_s))
        if self._breaks_s <= trio.current_time():
            raise trio.BrokenResourceError("packets stayed lost")
        while not self._way.passes(len(self._parcels[0][1])):
            await self._way.wait_change()
        now_s, due = trio.current_time(), bytearray()
        while self._parcels and self._parcels[0][0] <= now_s and self._parcels[0][1]:
            _, data, sent_s = self._parcels.popleft()
            self._way.delivered(len(data), now_s - sent_s)
            due += data
        if not due:
            return False
        await self._inner.send_all(due)
        self._in_flight -= len(due)
        self._sending.unpark_all()
        return True

    # ---- receiving, and the end ----------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._is_closed:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError("this stream was closed")
        if self._receive_scope is not None:
            raise trio.BusyResourceError("another task is receiving on this stream")
        if self._is_forgotten:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the connection broke")
        try:
            with trio.CancelScope() as self._receive_scope:
                rate = self._way.reads_per_second
                if rate is not None:
                    max_bytes = min(max_bytes or READ_SLOWLY_BYTES, READ_SLOWLY_BYTES)
                    await trio.sleep(max_bytes / rate)
                data = await self._inner.receive_some(max_bytes)
                self._way.took(len(data))
                return data
        finally:
            self._receive_scope = None
        if self._is_forgotten:
            raise trio.BrokenResourceError("the connection broke")
        raise trio.ClosedResourceError("this stream was closed")

    async def aclose(self) -> None:
        """Close at once; what was sent before still arrives, then its end."""
        if not self._is_closed:
            self._is_closed = True
            if self._receive_scope is not None:
                self._receive_scope.cancel()
            self._sending.unpark_all()
            self._post(b"")
            self._pump_scope.deadline = self._due_s + LINGER_S
        if not self._is_pumped and not self._is_forgotten:
            await trio.aclose_forcefully(self._inner)
        await trio.lowlevel.checkpoint()


class DelayedListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener whose connections are delayed in our direction."""

    def __init__(self, inner: trio.abc.Listener[trio.abc.Stream], wires: "DelayedWires") -> None:
        self.socket = getattr(inner, "socket", None)
        self._inner = inner
        self._wires = wires

    async def accept(self) -> trio.abc.Stream:
        return self._wires.stretch(await self._inner.accept())

    async def aclose(self) -> None:
        await self._inner.aclose()


class DelayedWires:
    """Wires as long as `distance` says; made by `open_delayed_wires`."""

    def __init__(self, nursery: trio.Nursery, distance: Distance, inner: Wires) -> None:
        self._nursery = nursery
        self._distance = distance
        self._inner = inner

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        # SYN there, SYN-ACK back: a refusal takes as long.
        await trio.sleep(self._distance.draw_s() + self._distance.draw_s())
        return self.stretch(await self._inner.dial(peer, host, port))

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        return [DelayedListener(one, self) for one in await self._inner.listen(host, port)]

    def stretch(self, stream: trio.abc.Stream) -> DelayedStream:
        """The same connection, with our bytes delayed."""
        delayed = DelayedStream(stream, self._distance)
        self._nursery.start_soon(delayed.pump)
        return delayed


@asynccontextmanager
async def open_delayed_wires(
    distance: Distance, inner: Wires | None = None
) -> AsyncIterator[DelayedWires]:
    """Wires of this length over others (None: TCP), for a block; its end cuts them all."""
    async with trio.open_nursery() as nursery:
        try:
            yield DelayedWires(nursery, distance, inner or TcpWires())
        finally:
            nursery.cancel_scope.cancel()

"""Yamux, tuned: many streams over one secured connection, without a hang and without a leak.

The same bytes on the wire as every other Yamux, so that stock peers cannot tell. Our own, because
py-libp2p 0.8.1's answers each read with a frame (stream_muxer/yamux/yamux.py:410), does not
enforce the window it grants (:1546), accepts streams without end, polls for window every 10 ms and
gives up after 5 s (:280), and lets a cancelled writer leave half a frame behind.

    session.read ─► reader task ─► frames ─► stream buffers ─► whoever reads
    whoever writes ─► outbox ─► flush, by the pump ─► session.write_now

- The reader never waits for anybody: it parses, delivers and answers within one call, so one slow
  stream cannot hold up another. What it may buffer is bounded by the windows, which are enforced.
- Writers queue whole frames, so cancelling one cuts no frame in two. What is queued is
  packed into full Noise messages and leaves in the next turn of the pump, which all connections
  share; only when a socket is full does a writer task wait for it.
- A window update is sent when half of the window has been read, not before. The window doubles
  while half of it is read within two round trips, up to a bound.
- A peer that overruns a window, opens streams without end or reads nothing while making us answer
  loses its connection, alone.

Source: hashicorp/yamux spec.md.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import trio

from p2p.network.limits import TransportLimits
from p2p.network.pump import Pump
from p2p.network.yamux_frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    NOISE_PLAINTEXT_BYTES_MAX,
    OUTBOX_BYTES_HIGH,
    PING,
    RST,
    SEND_WINDOW_MAX,
    SYN,
    WINDOW_UPDATE,
    MuxerError,
)
from p2p.network.yamux_stream import MuxedStream
from p2p.primitives.units import MIB

OUTBOX_BYTES_MAX: Final = 1 * MIB
"""Answers to a peer that reads nothing; beyond it the peer is dropped."""
PINGS_MAX: Final = 2**32
"""What a ping's number, four bytes, stays below."""
REFUSED_MAX: Final = 256
"""Streams refused within `REFUSED_SPAN_S` before a peer counts as flooding."""
REFUSED_SPAN_S: Final = 10.0
LINGER_S: Final = 10.0
"""How long a stream that we closed waits for the peer's end before it is reset."""
LINGER_MAX: Final = 64


class Session(Protocol):
    """The secured connection below: `p2p.network.noise.NoiseChannel`."""

    async def read(self) -> bytes:
        """All that has arrived, at least one byte."""

    def write_now(self, data: bytes) -> bool:
        """Send one message; False when some of it waits for `drain`."""

    async def drain(self) -> None:
        """Wait until what was left over has been sent."""


class Memory:
    """What the streams of all connections hold unread, together.

    Beyond the bound, connections that hold more than an equal share are dropped when they send
    more. Peers that keep within it are safe from those that do not.
    """

    def __init__(self, limits: TransportLimits) -> None:
        self.bytes_max = limits.unread_bytes_max
        self.share_bytes = limits.unread_bytes_max // limits.connections_max
        self.used_bytes = 0


class Muxer:
    """The streams of one secured connection; `run` serves them until the connection ends."""

    def __init__(
        self,
        session: Session,
        *,
        initiator: bool,
        limits: TransportLimits,
        memory: "Memory",
        pump: Pump,
    ) -> None:
        self.limits = limits
        self.room = trio.lowlevel.ParkingLot()
        self.outbox_bytes = 0
        self._buffered_bytes = 0
        self.rtt_s = 0.0
        self.last_received_s = trio.current_time()
        self._session = session
        self._memory = memory
        self._pinged_s = 0.0
        self._pings = 0
        """Number of the last ping, which its answer repeats."""
        self._accept: Callable[[MuxedStream], None] = MuxedStream.reset
        self._parity = 1 if initiator else 0
        self._next_id = 1 if initiator else 2
        self._streams: dict[int, MuxedStream] = {}
        self._inbound_count = 0
        self._outbound_count = 0
        self._refused_count = 0
        self._refused_from_s = 0.0
        self._window_extra = 0
        self._lingering: dict[int, float] = {}
        self._outbox: deque[bytes] = deque()
        self._pump = pump
        self._is_marked = False
        self._blocked = trio.lowlevel.ParkingLot()
        self._is_draining = False
        self._queued_bytes = self._written_bytes = 0
        self._sendings: deque[tuple[int, Callable[[], None]]] = deque()
        self._ended = trio.Event()
        self._reason: str | None = None
        self._partial = b""
        self._body_left = 0
        self._body_stream: MuxedStream | None = None
        self._body_flags = 0

    @property
    def reason(self) -> str | None:
        """Why the connection ended, or None while it lives."""
        return self._reason

    async def run(self, accept: Callable[[MuxedStream], None]) -> None:
        """Serve the connection until it ends, for any reason; `reason` tells which.

        Args:
            accept: takes each inbound stream, at once; calls its `release` when it is served.
        """
        self._accept = accept
        self.ping()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_loop)
                nursery.start_soon(self._write_loop)
                await self._ended.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.abort("the transport stopped")

    def ping(self) -> None:
        """Ask for a sign of life; the time until the answer becomes `rtt_s`."""
        self._pinged_s = trio.current_time()
        self._pings = (self._pings + 1) % PINGS_MAX
        self.enqueue_control(PING, SYN, 0, self._pings)

    def open_stream(self) -> MuxedStream:
        """A new outbound stream. Raises MuxerError."""
        if self._reason is not None:
            raise MuxerError(self._reason)
        if self._outbound_count >= self.limits.streams_per_connection_max:
            raise MuxerError("too many streams are open to this peer")
        stream = MuxedStream(self, self._next_id, inbound=False)
        self._next_id += 2
        self._outbound_count += 1
        self._streams[stream.stream_id] = stream
        self.enqueue_control(WINDOW_UPDATE, SYN, stream.stream_id, 0)
        return stream

    async def go_away(self) -> None:
        """Flush what is queued and say goodbye; the caller bounds the wait."""
        self.enqueue_control(GO_AWAY, 0, 0, 0)
        while (self._outbox or self._is_draining) and self._reason is None:
            await self.room.park()

    def abort(self, reason: str) -> None:
        """End the connection and every stream now."""
        if self._reason is not None:
            return
        self._reason = reason
        for stream in list(self._streams.values()):
            stream.fail(reason)
        # What is left unread can still be read, and is nobody's burden but its reader's.
        self._memory.used_bytes -= self._buffered_bytes
        self._memory = Memory(self.limits)
        self._outbox.clear()
        self.outbox_bytes = 0
        # What was queued is lost, and nobody may wait for it.
        self._tell_sent(self._queued_bytes)
        self.room.unpark_all()
        self._ended.set()

    # What streams call.

    def enqueue(self, frame: bytes) -> None:
        """Queue a frame; it leaves in the pump's next turn."""
        if self._reason is None:
            self._outbox.append(frame)
            size = len(frame)
            self.outbox_bytes += size
            self._queued_bytes += size
            if not self._is_marked and not self._is_draining:
                self._is_marked = True
                self._pump.mark(self)

    def when_sent(self, callback: Callable[[], None]) -> None:
        """Call back once what is queued so far has been sent, or is lost with the connection."""
        self._sendings.append((self._queued_bytes, callback))

    def enqueue_control(self, kind: int, flags: int, stream_id: int, value: int) -> None:
        """Queue a frame that nobody waits for; a peer that reads none of them is dropped."""
        self.enqueue(HEADER.pack(0, kind, flags, stream_id, value))
        if self.outbox_bytes > OUTBOX_BYTES_MAX:
            self.abort("the peer reads nothing")

    def buffer(self, delta_bytes: int) -> None:
        """Count bytes that wait for a reader."""
        self._buffered_bytes += delta_bytes
        self._memory.used_bytes += delta_bytes

    def forget(self, stream: MuxedStream) -> None:
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._window_extra -= stream.window_extra
        self._lingering.pop(stream.stream_id, None)
        if not stream.inbound:
            self._outbound_count -= 1

    def release_inbound(self) -> None:
        self._inbound_count -= 1

    def grow_window(self, window: int) -> int:
        """How much a window of this size may grow now: double, within both bounds."""
        grown = min(window, self.limits.stream_window_bytes_max - window)
        spare = self.limits.windows_extra_bytes_max - self._window_extra
        grown = max(0, min(grown, spare))
        self._window_extra += grown
        return grown

    def linger(self, stream: MuxedStream) -> None:
        """Wait for the peer's end of a closed stream, not for ever."""
        self._lingering[stream.stream_id] = trio.current_time() + LINGER_S
        self.sweep()

    def sweep(self) -> None:
        """Reset closed streams whose peer never closed."""
        now_s = trio.current_time()
        while self._lingering:
            stream_id, until_s = next(iter(self._lingering.items()))
            if until_s > now_s and len(self._lingering) <= LINGER_MAX:
                return
            del self._lingering[stream_id]
            stream = self._streams.get(stream_id)
            if stream is not None:
                self.enqueue_control(WINDOW_UPDATE, RST, stream_id, 0)
                stream.fail("the peer did not close the stream")

    # The two tasks.

    def flush(self) -> None:
        """Send what the socket takes; the rest is the writer task's."""
        self._is_marked = False
        if self._is_draining:
            return
        try:
            while self._outbox:
                batch = self._take_batch()
                if not self._session.write_now(batch):
                    self._is_draining = True
                    self._blocked.unpark_all()
                    return
                self._written(len(batch))
        # The layers below raise whatever their libraries raise (OSError, trio and libp2p errors):
        # each of them means that this connection is over, and no other.
        except Exception as error:  # noqa: BLE001
            self.abort(f"write failed: {_describe(error)}")

    def _written(self, size: int) -> None:
        self._written_bytes += size
        if self._sendings:
            self._tell_sent(self._written_bytes)
        if self.outbox_bytes < OUTBOX_BYTES_HIGH and self.room:
            self.room.unpark_all()

    def _tell_sent(self, until_bytes: int) -> None:
        while self._sendings and self._sendings[0][0] <= until_bytes:
            self._sendings.popleft()[1]()

    async def _write_loop(self) -> None:
        """Finish what a full socket left over."""
        try:
            while True:
                while not self._is_draining:
                    await self._blocked.park()
                await self._session.drain()
                self._is_draining = False
                self._written(self._queued_bytes - self.outbox_bytes - self._written_bytes)
                self.flush()
        # As above.
        except Exception as error:  # noqa: BLE001
            self.abort(f"write failed: {_describe(error)}")

    def _take_batch(self) -> bytes:
        outbox = self._outbox
        batch = [outbox.popleft()]
        size = len(batch[0])
        while outbox and size + len(outbox[0]) <= NOISE_PLAINTEXT_BYTES_MAX:
            frame = outbox.popleft()
            batch.append(frame)
            size += len(frame)
        self.outbox_bytes -= size
        return batch[0] if len(batch) == 1 else b"".join(batch)

    async def _read_loop(self) -> None:
        try:
            while True:
                data = await self._session.read()
                self.last_received_s = trio.current_time()
                self._feed(data)
        except MuxerError as error:
            self.abort(str(error))
        # As in the writer: undecryptable bytes, a reset socket and an end of file arrive here.
        except Exception as error:  # noqa: BLE001
            self.abort(f"connection lost: {_describe(error)}")

    def _feed(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        at, end = 0, len(data)
        while at < end:
            if self._body_left:
                size = min(self._body_left, end - at)
                self._body_left -= size
                if self._body_stream is not None:
                    self._body_stream.receive(data[at : at + size])
                at += size
                if not self._body_left:
                    self._finish_frame(self._body_stream, self._body_flags)
                continue
            if end - at < HEADER.size:
                self._partial = data[at:]
                return
            version, kind, flags, stream_id, value = HEADER.unpack_from(data, at)
            at += HEADER.size
            # Nearly everything is a whole frame of data for a stream that is open.
            if kind == DATA and not flags and not version and 0 < value <= end - at:
                stream = self._streams.get(stream_id)
                if stream is not None and stream.reserve(value):
                    stream.receive(data[at : at + value])
                    at += value
                    continue
            self._frame(version, kind, flags, stream_id, value)
        memory = self._memory
        if self._buffered_bytes > memory.share_bytes and memory.used_bytes > memory.bytes_max:
            raise MuxerError("the peer fills our memory")

    def _frame(self, version: int, kind: int, flags: int, stream_id: int, value: int) -> None:
        if version != 0:
            raise MuxerError(f"protocol error: version {version}")
        if kind == DATA:
            stream = self._stream_of(flags, stream_id)
            allowed = stream.reserve(value) if stream else value <= SEND_WINDOW_MAX
            if not allowed:
                raise MuxerError("the peer overran the receive window")
            if value:
                self._body_left, self._body_stream, self._body_flags = value, stream, flags
            else:
                self._finish_frame(stream, flags)
        elif kind == WINDOW_UPDATE:
            stream = self._stream_of(flags, stream_id)
            if stream is not None and value:
                stream.grant(value)
            self._finish_frame(stream, flags)
        elif kind == PING:
            if flags & SYN:
                self.enqueue_control(PING, ACK, 0, value)
            elif value == self._pings and self._pinged_s:
                self.rtt_s, self._pinged_s = trio.current_time() - self._pinged_s, 0.0
        elif kind == GO_AWAY:
            raise MuxerError("the peer said goodbye")
        else:
            raise MuxerError(f"protocol error: frame type {kind}")

    def _finish_frame(self, stream: MuxedStream | None, flags: int) -> None:
        if stream is None:
            return
        if flags & RST:
            stream.fail("the peer reset the stream")
        elif flags & FIN:
            stream.receive_fin()

    def _stream_of(self, flags: int, stream_id: int) -> MuxedStream | None:
        if not flags & SYN:
            return self._streams.get(stream_id)
        if stream_id == 0 or stream_id % 2 == self._parity or stream_id in self._streams:
            raise MuxerError(f"protocol error: stream id {stream_id}")
        if flags & RST:
            return None
        if self._inbound_count >= self.limits.streams_per_connection_max:
            self._refuse(stream_id)
            return None
        stream = MuxedStream(self, stream_id, inbound=True)
        self._inbound_count += 1
        self._streams[stream_id] = stream
        self.enqueue_control(WINDOW_UPDATE, ACK, stream_id, 0)
        self._accept(stream)
        return stream

    def _refuse(self, stream_id: int) -> None:
        now_s = trio.current_time()
        if now_s - self._refused_from_s > REFUSED_SPAN_S:
            self._refused_from_s, self._refused_count = now_s, 0
        self._refused_count += 1
        if self._refused_count > REFUSED_MAX:
            raise MuxerError("the peer floods us with streams")
        self.enqueue_control(WINDOW_UPDATE, RST, stream_id, 0)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

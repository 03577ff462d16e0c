"""One stream of a muxer: its two windows, its buffer and its two ends."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from p2p.network.yamux_frames import (
    DATA,
    FIN,
    FRAME_BYTES_MAX,
    HEADER,
    OUTBOX_BYTES_HIGH,
    RST,
    SEND_WINDOW_MAX,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    MuxerError,
)

if TYPE_CHECKING:
    from p2p.network.yamux import Muxer

Sink = Callable[[bytes], trio.Event | None]
"""Takes a chunk; an event says that it wants no more until that is set."""

RTT_GUESS_S: Final = 0.01
"""Assumed until measured, and on links so fast that scheduling hides their round trip."""


class MuxedStream:
    """One stream. `write` and `read_some` wait; `close` and `reset` never do."""

    __slots__ = (
        "_chunks",
        "_consumed",
        "_discarding",
        "_epoch_s",
        "_error",
        "_failure",
        "_fin_received",
        "_fin_sent",
        "_gate",
        "_muxer",
        "_readers",
        "_recv_window",
        "_send_window",
        "_sink",
        "_window",
        "_writers",
        "inbound",
        "stream_id",
        "when_sent",
    )

    def __init__(self, muxer: "Muxer", stream_id: int, *, inbound: bool) -> None:
        self.stream_id = stream_id
        self.inbound = inbound
        self._muxer = muxer
        self.when_sent = muxer.when_sent
        self._chunks: deque[bytes] = deque()
        self._window = WINDOW_BYTES
        self._recv_window = WINDOW_BYTES
        self._send_window = WINDOW_BYTES
        self._consumed = 0
        self._epoch_s = trio.current_time()
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._fin_sent = False
        self._fin_received = False
        self._discarding = False
        self._error: str | None = None
        self._sink: Sink | None = None
        self._gate: trio.Event | None = None
        self._failure: Exception | None = None

    async def read_some(self) -> bytes:
        """The next bytes, at least one; empty at the peer's end. Raises MuxerError."""
        while not self._chunks:
            if self._error is not None:
                raise MuxerError(self._error)
            if self._fin_received:
                return b""
            await self._readers.park()
        return self._take_chunk()

    async def pour(self, sink: Sink) -> None:
        """Hand every chunk to `sink` where it arrives, without waking a task, to the peer's end.

        While an event that `sink` returned is not set, chunks wait, and so does the peer once its
        window is used up. Raises MuxerError, and whatever `sink` raised.
        """
        self._sink = sink
        while True:
            if self._failure is not None:
                raise self._failure
            if self._gate is not None:
                await self._gate.wait()
                self._gate = None
            elif self._chunks:
                self._gate = sink(self._take_chunk())
            elif self._error is not None:
                raise MuxerError(self._error)
            elif self._fin_received:
                return
            else:
                await self._readers.park()

    def write_now(self, frame: bytes) -> bool:
        """Queue all of `frame` if windows and queues have room for it at once."""
        size = len(frame)
        if (
            size > self._send_window
            or size > FRAME_BYTES_MAX
            or self._error is not None
            or self._fin_sent
            or self._muxer.outbox_bytes >= OUTBOX_BYTES_HIGH
        ):
            return False
        self._send_window -= size
        self._muxer.enqueue(HEADER.pack(0, DATA, 0, self.stream_id, size) + frame)
        return True

    def _take_chunk(self) -> bytes:
        chunk = self._chunks.popleft()
        self._muxer.buffer(-len(chunk))
        self._consume(len(chunk))
        return chunk

    def _consume(self, size: int) -> None:
        self._consumed += size
        if self._consumed * 2 >= self._window:
            self._return_credit()

    async def write(self, data: bytes | memoryview) -> None:
        """Queue all of `data`, as the peer's window and the socket allow. Raises MuxerError."""
        if self._fin_sent:
            raise MuxerError("the stream is closed for sending")
        at, end = 0, len(data)
        while at < end:
            await self._wait_sendable()
            size = min(end - at, self._send_window, FRAME_BYTES_MAX)
            self._send_window -= size
            header = HEADER.pack(0, DATA, 0, self.stream_id, size)
            self._muxer.enqueue(b"".join((header, data[at : at + size])))
            at += size

    async def _wait_sendable(self) -> None:
        muxer = self._muxer
        while True:
            if self._error is not None:
                raise MuxerError(self._error)
            if self._send_window <= 0:
                lot = self._writers
            elif muxer.outbox_bytes >= OUTBOX_BYTES_HIGH:
                lot = muxer.room
            else:
                return
            with trio.move_on_after(muxer.limits.stream_stall_s) as scope:
                await lot.park()
            if scope.cancelled_caught:
                self.reset()
                raise MuxerError("the peer stopped reading")

    def close(self) -> None:
        """Say that nothing more follows and drop what still arrives."""
        self.finish()
        self._discard()
        if self._error is None and not self._fin_received:
            self._muxer.linger(self)

    def finish(self) -> None:
        """Say that nothing more follows; reading goes on."""
        if self._fin_sent or self._error is not None:
            return
        self._fin_sent = True
        self._muxer.enqueue_control(WINDOW_UPDATE, FIN, self.stream_id, 0)
        if self._fin_received:
            self._muxer.forget(self)

    def reset(self) -> None:
        """Abandon the stream in both directions."""
        if self._error is None and not (self._fin_sent and self._fin_received):
            self._muxer.enqueue_control(WINDOW_UPDATE, RST, self.stream_id, 0)
        self._discard()
        self.fail("the stream was reset")

    def release(self) -> None:
        """Give an inbound stream's slot back: its handler has finished."""
        if self._error is None and not self._discarding:
            self.close()
        self._discard()
        self._muxer.release_inbound()

    # What the muxer calls.

    def receive(self, chunk: bytes) -> None:
        """Take bytes that the window allowed."""
        if self._discarding:
            return
        if self._sink is not None and self._gate is None and not self._chunks:
            self._consume(len(chunk))
            try:
                self._gate = self._sink(chunk)
            # `pour` raises it where the stream is served.
            except Exception as error:  # noqa: BLE001
                self._failure = error
                self._discarding = True
            else:
                if self._gate is None:
                    return
            self._readers.unpark_all()
            return
        self._chunks.append(chunk)
        self._muxer.buffer(len(chunk))
        self._readers.unpark_all()

    def reserve(self, size: int) -> bool:
        """Take `size` bytes from the receive window, if it has them."""
        if size > self._recv_window:
            return False
        self._recv_window -= size
        return True

    def grant(self, size: int) -> None:
        """The peer allows `size` more bytes."""
        self._send_window = min(self._send_window + size, SEND_WINDOW_MAX)
        self._writers.unpark_all()

    def receive_fin(self) -> None:
        self._fin_received = True
        self._readers.unpark_all()
        if self._fin_sent:
            self._muxer.forget(self)

    def fail(self, reason: str) -> None:
        """End the stream; what was received before can still be read."""
        if self._error is None:
            self._error = reason
        self._muxer.forget(self)
        self._readers.unpark_all()
        self._writers.unpark_all()
        self._muxer.room.unpark_all()

    @property
    def window_extra(self) -> int:
        """How much the window has grown beyond the standard one."""
        return self._window - WINDOW_BYTES

    def _discard(self) -> None:
        self._discarding = True
        self._muxer.buffer(-sum(map(len, self._chunks)))
        self._chunks.clear()

    def _return_credit(self) -> None:
        if self._fin_received or self._error is not None:
            return
        now_s = trio.current_time()
        grown = 0
        if now_s - self._epoch_s < 2 * max(self._muxer.rtt_s, RTT_GUESS_S):
            grown = self._muxer.grow_window(self._window)
            self._window += grown
        self._epoch_s = now_s
        increment = self._consumed + grown
        self._consumed = 0
        self._recv_window += increment
        self._muxer.enqueue_control(WINDOW_UPDATE, 0, self.stream_id, increment)

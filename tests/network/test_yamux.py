"""The muxer alone, two of them over a pair of memory streams in place of Noise."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2p.network import TransportLimits
from p2p.network.framing import FramedStream
from p2p.network.pump import Pump
from p2p.network.yamux import Memory, Muxer
from p2p.network.yamux_frames import (
    DATA,
    FIN,
    HEADER,
    OUTBOX_BYTES_HIGH,
    PING,
    SYN,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    MuxerError,
)
from p2p.network.yamux_stream import MuxedStream
from p2p.primitives.units import KIB, MIB
from tests.network.nodes import DEADLINE_S, wait_until

pytestmark = pytest.mark.anyio


class PlainSession:
    """A session without encryption; counts its writes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.writes: list[bytes] = []
        self._unsent = b""

    async def read(self) -> bytes:
        data = bytes(await self.stream.receive_some(64 * KIB))
        if not data:
            raise EOFError("the other end closed")
        return data

    def write_now(self, data: bytes) -> bool:
        self.writes.append(data)
        self._unsent = data
        return False

    async def drain(self) -> None:
        await self.stream.send_all(self._unsent)

    def frames(self, kind: int) -> int:
        """How many frames without a body of one kind were written."""
        return sum(write[1] == kind for write in self.writes if len(write) == HEADER.size)


class Ends:
    """Two connected muxers and the streams each accepted."""

    def __init__(self, limits: TransportLimits) -> None:
        left, right = trio.testing.lockstep_stream_pair()
        self.sessions = PlainSession(left), PlainSession(right)
        self.memory = Memory(limits)
        self.pump = Pump()
        self.left, self.right = (
            Muxer(
                session,
                initiator=initiator,
                limits=limits,
                memory=self.memory,
                pump=self.pump,
            )
            for session, initiator in zip(self.sessions, (True, False), strict=True)
        )
        self.accepted: list[MuxedStream] = []

    async def open(self) -> tuple[MuxedStream, MuxedStream]:
        """A stream opened by the left end, and the right end's side of it."""
        count = len(self.accepted)
        stream = self.left.open_stream()
        await wait_until(lambda: len(self.accepted) > count)
        return stream, self.accepted[-1]


@asynccontextmanager
async def two_ends(limits: TransportLimits | None = None) -> AsyncIterator[Ends]:
    ends = Ends(limits or TransportLimits())
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.pump.run)
            nursery.start_soon(ends.left.run, ends.accepted.append)
            nursery.start_soon(ends.right.run, ends.accepted.append)
            yield ends
            nursery.cancel_scope.cancel()
    assert ends.memory.used_bytes == 0


async def read_all(stream: MuxedStream) -> bytes:
    parts = []
    while part := await stream.read_some():
        parts.append(part)
    return b"".join(parts)


async def test_each_end_can_finish_while_the_other_goes_on() -> None:
    async with two_ends() as ends:
        near, far = await ends.open()
        await near.write(b"question")
        near.finish()
        assert await read_all(far) == b"question"
        await far.write(b"answer")
        far.finish()
        assert await read_all(near) == b"answer"
        with pytest.raises(MuxerError, match="closed for sending"):
            await near.write(b"more")


async def test_a_writer_waits_for_the_window_and_a_reader_returns_it_by_halves() -> None:
    async with two_ends(TransportLimits(stream_window_bytes_max=WINDOW_BYTES)) as ends:
        near, far = await ends.open()
        total_bytes = 8 * WINDOW_BYTES
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.write, bytes(total_bytes))
            got_bytes = 0
            while got_bytes < total_bytes:
                got_bytes += len(await far.read_some())
        # Each half of a window is one update; the stream's ACK is another.
        assert ends.sessions[1].frames(WINDOW_UPDATE) <= 2 * total_bytes // WINDOW_BYTES + 1


async def test_a_window_grows_for_a_fast_reader_within_its_bound() -> None:
    async with two_ends(TransportLimits(stream_window_bytes_max=1 * MIB)) as ends:
        near, far = await ends.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.write, bytes(16 * MIB))
            got_bytes = 0
            while got_bytes < 16 * MIB:
                got_bytes += len(await far.read_some())
        assert far.window_extra == 1 * MIB - WINDOW_BYTES


async def test_windows_of_one_connection_share_a_bound() -> None:
    limits = TransportLimits(windows_extra_bytes_max=300 * KIB)
    async with two_ends(limits) as ends:
        pairs = [await ends.open() for _ in range(3)]
        for near, far in pairs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.write, bytes(2 * MIB))
                got_bytes = 0
                while got_bytes < 2 * MIB:
                    got_bytes += len(await far.read_some())
        assert sum(far.window_extra for _, far in pairs) == 300 * KIB


async def test_a_stalled_writer_gives_up_and_others_go_on() -> None:
    async with two_ends(TransportLimits(stream_stall_s=0.1)) as ends:
        stalled, _ = await ends.open()
        near, far = await ends.open()
        with pytest.raises(MuxerError, match="stopped reading"):
            await stalled.write(bytes(2 * WINDOW_BYTES))
        await near.write(b"alive")
        assert await far.read_some() == b"alive"


async def test_a_reset_wakes_both_ends() -> None:
    async with two_ends() as ends:
        near, far = await ends.open()

        async def expect_reset() -> None:
            with pytest.raises(MuxerError, match="the peer reset the stream"):
                await far.read_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_reset)
            near.reset()
        with pytest.raises(MuxerError, match="reset"):
            await near.read_some()


async def test_a_closed_stream_is_forgotten_when_its_peer_closes_or_lingers_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_ends() as ends:
        near, far = await ends.open()
        near.close()
        assert await far.read_some() == b""
        far.close()
        await wait_until(lambda: not ends.left._streams and not ends.right._streams)
        monkeypatch.setattr("p2p.network.yamux.LINGER_S", 0.0)
        near, far = await ends.open()
        await far.write(b"nobody reads this")
        near.close()
        await wait_until(lambda: not ends.left._streams and not ends.right._streams)
        with pytest.raises(MuxerError, match="the peer reset the stream"):
            await far.read_some()


async def test_the_number_of_our_own_streams_is_bounded_and_slots_return() -> None:
    async with two_ends(TransportLimits(streams_per_connection_max=2)) as ends:
        for _ in range(10):
            near, far = await ends.open()
            _, second = await ends.open()
            with pytest.raises(MuxerError, match="too many streams"):
                ends.left.open_stream()
            near.reset()
            second.reset()
            await wait_until(lambda: not ends.left._streams and not ends.right._streams)
            far.release()
            second.release()


async def test_small_frames_share_a_write() -> None:
    async with two_ends() as ends:
        near, far = await ends.open()
        await wait_until(lambda: not ends.left._outbox and not ends.left._is_draining)
        before = len(ends.sessions[0].writes)
        for _ in range(100):
            await near.write(b"x" * 50)
        got_bytes = 0
        while got_bytes < 5000:
            got_bytes += len(await far.read_some())
        assert len(ends.sessions[0].writes) - before <= 2


async def test_memory_is_bounded_over_all_connections() -> None:
    """Given a shared bound; when a peer holds more than its share beyond it; then it is dropped."""
    limits = TransportLimits(unread_bytes_max=300 * KIB, connections_max=2)
    async with two_ends(limits) as ends:
        for _ in range(2):
            greedy, _ = await ends.open()
            await greedy.write(bytes(WINDOW_BYTES))
        await wait_until(lambda: ends.right.reason is not None)
        assert ends.right.reason == "the peer fills our memory"


async def test_frames_may_arrive_in_any_pieces() -> None:
    """Given one stream's bytes cut at every place; then the same message comes out."""
    message = bytes(range(256))
    body = bytes((0x80, 0x02)) + message
    wire = b"".join(
        (
            HEADER.pack(0, DATA, SYN, 1, 100),
            body[:100],
            HEADER.pack(0, PING, SYN, 0, 7),
            HEADER.pack(0, DATA, 0, 1, 0),
            HEADER.pack(0, DATA, FIN, 1, len(body) - 100),
            body[100:],
        )
    )
    for cut in range(1, len(wire)):
        accepted: list[MuxedStream] = []
        muxer = _passive(accepted.append)
        for piece in (wire[:cut], wire[cut:]):
            muxer._feed(piece)
        framed = FramedStream(accepted[0])
        assert await framed.read_frame(300) == message
        assert await framed.read_frame(300) is None


def _passive(accept: Callable[[MuxedStream], None]) -> Muxer:
    limits = TransportLimits()
    left, _ = trio.testing.memory_stream_pair()
    muxer = Muxer(
        PlainSession(left), initiator=False, limits=limits, memory=Memory(limits), pump=Pump()
    )
    muxer._accept = accept
    return muxer


async def test_data_waits_when_the_outbox_is_full() -> None:
    limits = TransportLimits()
    left, _ = trio.testing.memory_stream_pair()
    muxer = Muxer(
        PlainSession(left), initiator=True, limits=limits, memory=Memory(limits), pump=Pump()
    )
    stream = muxer.open_stream()
    with trio.move_on_after(0) as scope:
        await stream.write(bytes(WINDOW_BYTES))
    assert scope.cancelled_caught
    assert muxer.outbox_bytes < OUTBOX_BYTES_HIGH + 64 * KIB + HEADER.size

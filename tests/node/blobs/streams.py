"""Message streams in memory, with somebody in the middle."""

from collections.abc import Callable

import trio

from p2p.network.port import StreamClosed
from p2p.primitives.units import PeerId

Filter = Callable[[bytes], bytes | None]
"""What becomes of a message: other bytes, or None for silence from here on."""


class MemoryStream:
    """One end of a message stream; a few messages may be under way."""

    def __init__(
        self,
        peer: PeerId,
        out: trio.MemorySendChannel[bytes],
        into: trio.MemoryReceiveChannel[bytes],
    ) -> None:
        self.peer = peer
        self._out = out
        self._into = into
        self.filter: Filter | None = None
        self._silent = False

    async def send(self, message: bytes | memoryview) -> None:
        data: bytes | None = bytes(message)
        if self._silent:
            await trio.sleep_forever()
        if self.filter is not None and data is not None:
            data = self.filter(data)
        if data is None:
            self._silent = True
            await trio.sleep_forever()
        try:
            await self._out.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise StreamClosed("the peer closed the stream") from error

    async def receive(self, *, bytes_max: int, deadline_s: float) -> bytes:
        try:
            with trio.fail_after(deadline_s):
                data = await self._into.receive()
        except trio.TooSlowError as error:
            raise StreamClosed("the peer sent nothing in time") from error
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            raise StreamClosed("the peer closed the stream") from error
        if len(data) > bytes_max:
            raise StreamClosed("a message that is too large")
        return data

    async def close(self) -> None:
        self._out.close()
        self._into.close()

    async def reset(self) -> None:
        await self.close()


def stream_pair(one: PeerId, other: PeerId) -> tuple[MemoryStream, MemoryStream]:
    """The ends that `one` and `other` hold."""
    there, from_one = trio.open_memory_channel[bytes](4)
    back, from_other = trio.open_memory_channel[bytes](4)
    return MemoryStream(other, there, from_other), MemoryStream(one, back, from_one)

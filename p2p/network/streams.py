"""Message streams: what blobs travel on."""

import trio

from p2p.network.framing import FramedStream
from p2p.network.port import StreamClosed
from p2p.network.yamux_frames import MuxerError
from p2p.primitives.units import PeerId


class PeerStream:
    """The `MessageStream` of the port over one muxed stream. One sender, one receiver at a time."""

    __slots__ = ("_framed", "_sending", "peer")

    def __init__(self, peer: PeerId, framed: FramedStream) -> None:
        self.peer = peer
        self._framed = framed
        self._sending = False

    async def send(self, message: bytes | memoryview) -> None:
        """Send one message, waiting for the peer's window. Raises StreamClosed."""
        if self._sending:
            raise RuntimeError("two tasks send on one stream")
        self._sending = True
        try:
            await self._framed.write_frame(message)
        except MuxerError as error:
            raise StreamClosed(str(error)) from error
        except BaseException:
            # Cancelled with half a message on its way: the rest of the stream would be garbage.
            self._framed.stream.reset()
            raise
        finally:
            self._sending = False

    async def receive(self, *, bytes_max: int, deadline_s: float) -> bytes:
        """The next message. Raises StreamClosed, also when it is too large or too late."""
        try:
            with trio.fail_after(deadline_s):
                message = await self._framed.read_frame(bytes_max)
        except trio.TooSlowError as error:
            self._framed.stream.reset()
            raise StreamClosed("the peer sent nothing in time") from error
        except MuxerError as error:
            self._framed.stream.reset()
            raise StreamClosed(str(error)) from error
        if message is None:
            raise StreamClosed("the peer closed the stream")
        return message

    async def close(self) -> None:
        """Say that nothing more follows, then let go. Never raises."""
        self._framed.stream.close()

    async def reset(self) -> None:
        """Abandon the stream at once. Never raises."""
        self._framed.stream.reset()

"""Messages on a stream: an unsigned varint of the length, then the bytes.

Reads are buffered and keep their place, so a cancelled read loses nothing.
"""

from typing import Final

from p2p.network.yamux_frames import MuxerError
from p2p.network.yamux_stream import MuxedStream

VARINT_BYTES_MAX: Final = 9
"""The multiformats bound of an unsigned varint: 63 bits."""


class FrameTooLarge(MuxerError):
    """The peer announced more bytes than we accept."""


def encode_varint(value: int) -> bytes:
    """`value` as an unsigned varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes) -> tuple[int, int] | None:
    """The value at the start of `data` and its size; None if it goes on. Raises MuxerError."""
    value = 0
    for index, byte in enumerate(data[:VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    if len(data) >= VARINT_BYTES_MAX:
        raise MuxerError("malformed length prefix")
    return None


class FramedStream:
    """A muxed stream as a sequence of messages."""

    __slots__ = ("_expected", "_got_bytes", "_parts", "_tail", "stream")

    def __init__(self, stream: MuxedStream) -> None:
        self.stream = stream
        self._tail = b""
        self._parts: list[bytes] = []
        self._got_bytes = 0
        self._expected: int | None = None

    async def write_frame(self, message: bytes | memoryview) -> None:
        """Queue one message. Raises MuxerError."""
        size = len(message)
        prefix = encode_varint(size)
        if size <= 1024:
            await self.stream.write(prefix + bytes(message))
        else:
            await self.stream.write(prefix)
            await self.stream.write(message)

    async def read_frame(self, bytes_max: int) -> bytes | None:
        """The next message, or None at the peer's end. Raises MuxerError, also when too large."""
        if self._expected is None:
            self._expected = await self._read_length()
            if self._expected is None:
                return None
        if self._expected > bytes_max:
            raise FrameTooLarge(f"a message of {self._expected} bytes exceeds {bytes_max}")
        while self._got_bytes < self._expected:
            chunk = self._tail or await self.stream.read_some()
            if not chunk:
                raise MuxerError("the peer ended the stream within a message")
            missing = self._expected - self._got_bytes
            self._tail = chunk[missing:]
            self._parts.append(chunk[:missing])
            self._got_bytes += len(self._parts[-1])
        message = b"".join(self._parts)
        self._parts.clear()
        self._got_bytes = 0
        self._expected = None
        return message

    async def read_exactly(self, size: int) -> bytes | None:
        """The next `size` bytes without a prefix, or None at the peer's end. Raises MuxerError."""
        while len(self._tail) < size:
            chunk = await self.stream.read_some()
            if not chunk:
                return None
            self._tail += chunk
        data, self._tail = self._tail[:size], self._tail[size:]
        return data

    async def _read_length(self) -> int | None:
        while True:
            parsed = decode_varint(self._tail)
            if parsed is not None:
                length, size = parsed
                self._tail = self._tail[size:]
                return length
            chunk = await self.stream.read_some()
            if not chunk:
                if self._tail:
                    raise MuxerError("the peer ended the stream within a message")
                return None
            self._tail += chunk

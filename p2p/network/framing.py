"""Messages on a stream: an unsigned varint of the length, then the bytes.

Reads are buffered and keep their place, so a cancelled read loses nothing.
"""

from collections.abc import Callable
from typing import Final

import trio

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

    def take_rest(self) -> bytes:
        """What was read beyond the last frame: for a reader that goes on by itself."""
        rest, self._tail = self._tail, b""
        return rest

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


class FrameReader:
    """Cuts chunks into messages and hands them on at once: the way of gossip RPCs.

    Time and memory are linear in what arrives, however it is cut.
    """

    __slots__ = ("_bytes_max", "_expected", "_got_bytes", "_head", "_parts", "_take")

    def __init__(self, take: Callable[[bytes], trio.Event | None], *, bytes_max: int) -> None:
        self._take = take
        self._bytes_max = bytes_max
        self._head = b""
        self._parts: list[bytes] = []
        self._got_bytes = self._expected = 0

    def feed(self, chunk: bytes) -> trio.Event | None:
        """Take a chunk; what the last message answered. Raises MuxerError, FrameTooLarge."""
        gate: trio.Event | None = None
        if self._parts:
            missing = self._expected - self._got_bytes
            self._parts.append(chunk[:missing])
            self._got_bytes += len(self._parts[-1])
            if self._got_bytes < self._expected:
                return None
            message = b"".join(self._parts)
            self._parts.clear()
            gate = self._take(message)
            chunk = chunk[missing:]
        elif self._head:
            chunk, self._head = self._head + chunk, b""
        at, end = 0, len(chunk)
        while at < end:
            size = chunk[at]
            start = at + 1
            if size >= 0x80:
                parsed = decode_varint(chunk[at : at + VARINT_BYTES_MAX])
                if parsed is None:
                    self._head = chunk[at:]
                    break
                size, start = parsed[0], at + parsed[1]
            if size > self._bytes_max:
                raise FrameTooLarge(f"a message of {size} bytes exceeds {self._bytes_max}")
            at = start + size
            if at > end:
                self._parts.append(chunk[start:])
                self._got_bytes, self._expected = end - start, size
                break
            gate = self._take(chunk[start:at]) or gate
        return gate

"""multistream-select 1.0: agree on the protocol of a connection or a stream.

Our own forty lines, because py-libp2p 0.8.1 dies of a token that is not UTF-8
(protocol_muxer/multiselect_communicator.py:58), reads tokens of any length (utils/varint.py:227)
and waits a round trip for the header before it names the protocol. We send header and protocol
together, as the specification allows.

Source: multiformats/multistream-select README.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Final

from p2p.network.framing import FramedStream, FrameTooLarge, encode_varint
from p2p.network.yamux_frames import MuxerError

HEADER: Final = b"/multistream/1.0.0"
REFUSED: Final = b"na"
TOKEN_BYTES_MAX: Final = 255
"""A protocol name and its line end; two bytes of length never encode less than 128."""
PROPOSALS_MAX: Final = 8
"""Protocols that a dialer may try on one stream."""

Read = Callable[[int], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


class NotSupported(MuxerError):
    """The peer does not speak the protocol."""


def encode_token(token: bytes) -> bytes:
    """A token as it travels: length, text, line end."""
    return encode_varint(len(token) + 1) + token + b"\n"


async def read_token_exactly(read: Read) -> bytes:
    """One token from a reader of exact sizes, which must not be read ahead. Raises MuxerError."""
    size = (await read(1))[0]
    if size >= 0x80:
        high = (await read(1))[0]
        size = (size & 0x7F) | (high << 7)
    if not 0 < size <= TOKEN_BYTES_MAX:
        raise MuxerError("malformed multistream token")
    return _strip(await read(size))


async def read_token(framed: FramedStream) -> bytes:
    """One token from a stream. Raises MuxerError."""
    try:
        token = await framed.read_frame(TOKEN_BYTES_MAX)
    except FrameTooLarge as error:
        raise MuxerError("malformed multistream token") from error
    if token is None:
        raise MuxerError("the peer ended the stream while negotiating")
    return _strip(token)


async def propose(protocol: bytes, read: Callable[[], Awaitable[bytes]], write: Write) -> None:
    """Ask for `protocol`, as the dialer. Raises NotSupported, MuxerError."""
    await propose_one_of([protocol], read, write)


async def propose_one_of(
    protocols: Sequence[bytes], read: Callable[[], Awaitable[bytes]], write: Write
) -> bytes:
    """Ask for each of `protocols` in turn; the one agreed on. Raises NotSupported, MuxerError."""
    await write(encode_token(HEADER) + encode_token(protocols[0]))
    if await read() != HEADER:
        raise MuxerError("the peer does not speak multistream")
    for number, protocol in enumerate(protocols):
        if number:
            await write(encode_token(protocol))
        answer = await read()
        if answer == protocol:
            return protocol
        if answer != REFUSED:
            raise MuxerError("the peer answered with another protocol")
    raise NotSupported(f"the peer does not speak {protocols[-1].decode()}")


async def answer(
    supported: Container[bytes], read: Callable[[], Awaitable[bytes]], write: Write
) -> bytes:
    """The protocol that the dialer proposed and we speak. Raises MuxerError."""
    if await read() != HEADER:
        raise MuxerError("the peer does not speak multistream")
    await write(encode_token(HEADER))
    for _ in range(PROPOSALS_MAX):
        protocol = await read()
        if protocol in supported:
            await write(encode_token(protocol))
            return protocol
        await write(encode_token(REFUSED))
    raise NotSupported("the peer proposed no protocol that we speak")


def _strip(token: bytes) -> bytes:
    if not token.endswith(b"\n"):
        raise MuxerError("malformed multistream token")
    return token[:-1]

"""Arbitrary bytes into every decoder of the transport: rejections, and nothing else."""

import pytest
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.model.rpc import Rpc, decode_rpc, encode_rpc
from p2p.network import TransportLimits
from p2p.network.framing import FrameReader, encode_varint
from p2p.network.multistream import (
    HEADER,
    TOKEN_BYTES_MAX,
    NotSupported,
    answer,
    encode_token,
    read_token_exactly,
)
from p2p.network.pump import Pump
from p2p.network.wire import Address
from p2p.network.yamux import Memory, Muxer
from p2p.network.yamux_frames import HEADER as FRAME
from p2p.network.yamux_frames import MuxerError
from p2p.network.yamux_stream import MuxedStream
from p2p.primitives.codec import Malformed

CHUNKS = st.lists(st.binary(max_size=200), max_size=20)
FRAMES = st.lists(
    st.builds(
        lambda kind, flags, stream_id, value, body: (
            FRAME.pack(0, kind, flags, stream_id, value) + body
        ),
        st.integers(0, 4),
        st.integers(0, 31),
        st.integers(0, 9),
        st.integers(0, 2**32 - 1) | st.integers(0, 40),
        st.binary(max_size=40),
    ),
    max_size=30,
)


class NoSession:
    """A session of which only the muxer's parser is used."""

    async def read(self) -> bytes:
        return await trio.sleep_forever()

    def write_now(self, data: bytes) -> bool:
        return True

    async def drain(self) -> None: ...


def fed(chunks: list[bytes]) -> Muxer:
    """A muxer that was fed chunks up to the first that it rejected."""
    limits = TransportLimits(streams_per_connection_max=4)

    async def feed() -> Muxer:
        muxer = Muxer(
            NoSession(), initiator=False, limits=limits, memory=Memory(limits), pump=Pump()
        )
        accepted: list[MuxedStream] = []
        muxer._accept = accepted.append
        for chunk in chunks:
            try:
                muxer._feed(chunk)
            except MuxerError:
                break
            muxer.flush()
        assert len(accepted) <= 4
        return muxer

    return trio.run(feed)


@given(CHUNKS)
def test_bytes_into_the_muxer(chunks: list[bytes]) -> None:
    fed(chunks)


@given(FRAMES)
@example([FRAME.pack(0, 0, 1, 1, 5) + b"hello", FRAME.pack(0, 0, 4, 1, 0)])
def test_frames_of_any_kind_into_the_muxer_keep_its_books(frames: list[bytes]) -> None:
    muxer = fed(frames)
    assert muxer._inbound_count <= 4
    assert muxer._buffered_bytes >= 0
    assert muxer._memory.used_bytes == muxer._buffered_bytes
    muxer.abort("the test ends")
    assert muxer.outbox_bytes == 0


@given(st.binary(max_size=400))
@example(b"\x04\xff\xfe\xfd\n")
@example(b"\xff" * 12)
@example(b"\x00")
def test_bytes_into_a_negotiation(data: bytes) -> None:
    rest = [data]

    async def read(size: int) -> bytes:
        piece, rest[0] = rest[0][:size], rest[0][size:]
        if len(piece) < size:
            raise MuxerError("the peer closed the connection")
        return piece

    async def discard(_: bytes) -> None: ...

    async def negotiate() -> None:
        try:
            await answer({b"/noise"}, lambda: read_token_exactly(read), discard)
        except (MuxerError, NotSupported):
            return
        assert data.startswith(encode_token(HEADER))

    trio.run(negotiate)
    assert len(data) - len(rest[0]) <= 10 * (TOKEN_BYTES_MAX + 2)


@given(st.lists(st.binary(max_size=300), max_size=12), st.data())
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    messages: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(encode_varint(len(one)) + one for one in messages)
    taken: list[bytes] = []
    reader = FrameReader(taken.append, bytes_max=300)
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        assert reader.feed(wire[:size]) is None
        wire = wire[size:]
    assert taken == messages


@given(CHUNKS)
def test_bytes_into_the_reader_of_messages(chunks: list[bytes]) -> None:
    taken: list[bytes] = []
    reader = FrameReader(taken.append, bytes_max=64)
    try:
        for chunk in chunks:
            reader.feed(chunk)
    except MuxerError:
        pass
    assert all(len(one) <= 64 for one in taken)


@given(st.binary(max_size=500))
@example(b"\x1a\xff\xff\xff\xff\x0f")
@example(b"\x12\x02\x22\x00")
def test_bytes_into_the_rpc_decoder(data: bytes) -> None:
    try:
        rpc = decode_rpc(data)
    except Malformed:
        return
    assert isinstance(rpc, Rpc)
    assert decode_rpc(encode_rpc(rpc)) is not None


@given(st.text(max_size=80) | st.text("/ip4tcp6dns0123.:", max_size=60))
@example("/ip4/1.2.3.4/tcp/99999")
@example("/ip4/1.2.3.4/tcp/\uff11\uff12")
def test_texts_into_the_parser_of_addresses(text: str) -> None:
    try:
        address = Address(text)
    except ValueError:
        return
    assert 0 <= address.port < 65_536


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300])
def test_a_message_that_is_empty_or_at_a_border_of_its_length_is_whole(size: int) -> None:
    taken: list[bytes] = []
    reader = FrameReader(taken.append, bytes_max=300)
    for byte in encode_varint(size) + bytes(size):
        reader.feed(bytes([byte]))
    assert taken == [bytes(size)]

"""Peers that misbehave: they hold a key, speak Noise properly, and lie from there on."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from libp2p.abc import ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import X25519PrivateKey
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport

from p2p.network.framing import encode_varint
from p2p.network.multistream import HEADER, encode_token, read_token_exactly
from p2p.network.wire import WireConnection
from p2p.network.wires import TcpWires
from p2p.network.yamux_frames import ACK, DATA, PING, RST, SYN, WINDOW_UPDATE
from p2p.primitives.units import PeerId
from tests.network.nodes import DEADLINE_S, key_of

FRAME = struct.Struct("!BBHII")


class Attacker:
    """An authenticated connection, with nothing but bare Yamux frames on it."""

    def __init__(self, name: str, wire: WireConnection, session: ISecureConn) -> None:
        self.peer: PeerId = key_of(name).peer
        self.wire = wire
        self.session = session

    async def frame(
        self, kind: int, flags: int, stream_id: int, value: int, body: bytes = b""
    ) -> None:
        await self.session.write(FRAME.pack(0, kind, flags, stream_id, value) + body)

    async def data(self, stream_id: int, body: bytes) -> None:
        await self.frame(DATA, 0, stream_id, len(body), body)

    async def open(self, stream_id: int, protocol: str) -> None:
        await self.frame(WINDOW_UPDATE, SYN, stream_id, 0)
        await self.data(stream_id, encode_token(HEADER) + encode_token(protocol.encode()))

    async def send_message(self, stream_id: int, message: bytes) -> None:
        await self.data(stream_id, encode_varint(len(message)) + message)

    async def wait_dropped(self) -> bytes:
        """Read until the node closes the connection; what it had sent."""
        seen = bytearray()
        with trio.fail_after(DEADLINE_S):
            try:
                while True:
                    seen += await self.session.read(None)
            # However the session ends, it has ended.
            except Exception:  # noqa: BLE001
                return bytes(seen)

    async def read_frame(self) -> tuple[int, int, int, int]:
        """The next frame that is not a ping, without its body: kind, flags, stream id, value."""
        with trio.fail_after(DEADLINE_S):
            while True:
                _, kind, flags, stream_id, value = FRAME.unpack(await self.session.read(12))
                if kind == DATA and value:
                    await self.session.read(value)
                if kind != PING:
                    return kind, flags, stream_id, value

    async def wait_reset(self, stream_id: int) -> None:
        while True:
            _, flags, seen_id, _ = await self.read_frame()
            if seen_id == stream_id and flags & RST:
                return

    async def wait_accepted(self, stream_id: int) -> None:
        while True:
            _, flags, seen_id, _ = await self.read_frame()
            if seen_id == stream_id and flags & ACK:
                return


class Target(Protocol):
    """Whom to attack."""

    @property
    def peer(self) -> PeerId: ...

    @property
    def port(self) -> int: ...


@asynccontextmanager
async def attacking(
    node: Target, name: str = "eve", *, muxer: bytes = b"/yamux/1.0.0"
) -> AsyncIterator[Attacker]:
    """An attacker connected to `node`, having proposed `muxer`."""
    stream = await TcpWires().dial(node.peer, "127.0.0.1", node.port)
    wire = WireConnection(stream, initiator=True)
    pair = create_new_key_pair(key_of(name).seed)
    noise = Transport(pair, X25519PrivateKey.new())
    try:
        await wire.write(encode_token(HEADER) + encode_token(b"/noise"))
        assert await read_token_exactly(wire.read) == HEADER
        assert await read_token_exactly(wire.read) == b"/noise"
        session = await noise.secure_outbound(wire, ID(node.peer))
        await session.write(encode_token(HEADER) + encode_token(muxer))
        assert await read_token_exactly(session.read) == HEADER
        if muxer == b"/yamux/1.0.0":
            assert await read_token_exactly(session.read) == muxer
        yield Attacker(name, wire, session)
    finally:
        await wire.close()

"""From a raw connection to an authenticated one: py-libp2p's Noise, then Yamux, and nothing else.

Only `/noise` and `/yamux/1.0.0` are ever agreed on. py-libp2p's default list also accepts
`/plaintext/2.0.0`, where a peer may claim any identity (libp2p/__init__.py:662).
"""

from typing import Final

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import X25519PrivateKey
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as NoiseTransport

from p2p.network import multistream
from p2p.network.noise import NoiseChannel
from p2p.network.wire import WireConnection
from p2p.network.yamux_frames import MuxerError
from p2p.primitives.keys import Key
from p2p.primitives.units import PeerId

NOISE: Final = b"/noise"
YAMUX: Final = b"/yamux/1.0.0"


class HandshakeFailed(Exception):
    """The peer is not who we dialed, or does not speak Noise and Yamux."""


class Upgrader:
    """Authenticates connections with the node's key. The caller bounds the time."""

    def __init__(self, key: Key) -> None:
        self._noise = NoiseTransport(create_new_key_pair(key.seed), X25519PrivateKey.new())

    async def outbound(self, wire: WireConnection, peer: PeerId) -> NoiseChannel:
        """The secured connection to `peer`. Raises HandshakeFailed."""
        try:
            await multistream.propose(NOISE, lambda: _token(wire), wire.write)
            session = await self._noise.secure_outbound(wire, ID(peer))
            channel = NoiseChannel(wire, session)
            await multistream.propose(
                YAMUX, lambda: multistream.read_token_exactly(channel.read_exactly), channel.write
            )
        # The peer's bytes reach noiseprotocol, cryptography, protobuf and PyNaCl, each with errors
        # of its own; every one of them says that this handshake is over.
        except Exception as error:
            raise HandshakeFailed(_describe(error)) from error
        return channel

    async def inbound(self, wire: WireConnection) -> tuple[NoiseChannel, PeerId]:
        """The secured connection and who dialed it. Raises HandshakeFailed."""
        try:
            await multistream.answer({NOISE}, lambda: _token(wire), wire.write)
            session = await self._noise.secure_inbound(wire)
            channel = NoiseChannel(wire, session)
            await multistream.answer(
                {YAMUX}, lambda: multistream.read_token_exactly(channel.read_exactly), channel.write
            )
            return channel, PeerId(session.get_remote_peer().to_bytes())
        # As above.
        except Exception as error:
            raise HandshakeFailed(_describe(error)) from error


async def _token(reader: WireConnection) -> bytes:
    async def read(size: int) -> bytes:
        data = await reader.read(size)
        if len(data) != size:
            raise MuxerError("the peer closed the connection")
        return data

    return await multistream.read_token_exactly(read)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

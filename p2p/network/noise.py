"""Noise transport messages without a wait between: py-libp2p shakes hands, this carries the data.

    message = length of the ciphertext (2 bytes, big-endian) || ChaCha20-Poly1305 ciphertext

The nonce is 4 zero bytes and a counter of 8, little-endian, for each direction. py-libp2p's
session reads each message in two awaited steps and runs it through noiseprotocol's state machine;
here one receive gives everything that has arrived, opened in one call, and a write is one call
that seals and sends. The keys and counters are taken from the session that made the handshake.

Source: noiseprotocol.org, revision 34, sections 5 and 12.3; libp2p specs, noise/README.md.
"""

import struct
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.abc import ISecureConn

from p2p.network.wire import WireConnection
from p2p.network.yamux_frames import MuxerError

_NONCE: Final = struct.Struct("<4xQ")
_LENGTH_BYTES: Final = 2


class NoiseChannel:
    """A secured connection: plaintext in, plaintext out."""

    __slots__ = ("_open", "_opened_count", "_rest", "_seal", "_sealed_count", "_spare", "_wire")

    def __init__(self, wire: WireConnection, session: ISecureConn) -> None:
        """Take over from a session that has read no further than its handshake."""
        # The state is a plain attribute all the way down; no interface of py-libp2p names it.
        connection: Any = session
        protocol = connection.conn.noise_state.noise_protocol
        sealing, opening = protocol.cipher_state_encrypt, protocol.cipher_state_decrypt
        self._wire = wire
        self._seal = ChaCha20Poly1305(sealing.k).encrypt
        self._open = ChaCha20Poly1305(opening.k).decrypt
        self._sealed_count: int = sealing.n
        self._opened_count: int = opening.n
        self._rest = b""
        self._spare = b""

    async def read(self) -> bytes:
        """All that has arrived, at least one byte. Raises MuxerError, ConnectionClosedError."""
        if self._spare:
            spare, self._spare = self._spare, b""
            return spare
        while True:
            data = self._take(await self._wire.receive())
            if data:
                return data

    async def read_exactly(self, size: int) -> bytes:
        """So many bytes, for a negotiation. Raises as `read`."""
        data = await self.read()
        while len(data) < size:
            data += await self.read()
        self._spare = data[size:]
        return data[:size]

    def write_now(self, data: bytes) -> bool:
        """Seal and send one message; False when some of it waits for `drain`.

        Raises ConnectionClosedError. `data` fits one Noise message.
        """
        sealed = self._seal(_NONCE.pack(self._sealed_count), data, None)
        self._sealed_count += 1
        return self._wire.send_now(len(sealed).to_bytes(_LENGTH_BYTES) + sealed)

    async def write(self, data: bytes) -> None:
        """Seal and send one message. Raises ConnectionClosedError."""
        if not self.write_now(data):
            await self._wire.drain()

    async def drain(self) -> None:
        """Wait until what `write_now` left over has been sent. Raises ConnectionClosedError."""
        await self._wire.drain()

    def _take(self, data: bytes) -> bytes:
        """The plaintext of all whole messages; what is left waits for more."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        nonce = _NONCE.pack(self._opened_count)
        parts: list[bytes] = []
        while end - at >= _LENGTH_BYTES:
            stop = at + _LENGTH_BYTES + (data[at] << 8 | data[at + 1])
            if stop > end:
                break
            try:
                opened = self._open(nonce, data[at + _LENGTH_BYTES : stop], None)
            except InvalidTag as error:
                raise MuxerError("an undecryptable Noise message") from error
            self._opened_count += 1
            if stop == end and not parts:
                self._rest = b""
                return opened
            parts.append(opened)
            nonce = _NONCE.pack(self._opened_count)
            at = stop
        self._rest = data[at:]
        return b"".join(parts)

"""TCP addresses, and trio streams with the face that py-libp2p reads and writes."""

import os
from typing import Final

import trio
from libp2p.abc import ConnectionType, IRawConnection
from libp2p.io.exceptions import ConnectionClosedError
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from p2p.network.port import TransportError
from p2p.primitives.keys import parse_peer
from p2p.primitives.units import KIB

READ_BYTES: Final = 128 * KIB
"""One receive call; two full Noise messages."""
HOST_PROTOCOLS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")


class Address:
    """A TCP multiaddr, taken apart."""

    __slots__ = ("host", "kind", "peer", "port")

    def __init__(self, text: str) -> None:
        """Parse `text`. Raises ValueError."""
        parts = text.split("/")
        tail = parts[5:]
        if parts[0] or len(parts) < 5 or parts[1] not in HOST_PROTOCOLS or parts[3] != "tcp":
            raise ValueError(f"not a TCP address: {text[:200]!r}")
        if tail and (len(tail) != 2 or tail[0] != "p2p"):
            raise ValueError(f"not a plain TCP address: {text[:200]!r}")
        self.kind = parts[1]
        self.host = parts[2]
        self.peer = parse_peer(tail[1]) if tail else None
        try:
            Multiaddr(f"/{self.kind}/{self.host}/tcp/{parts[4]}")
        except (MultiaddrError, ValueError) as error:
            raise ValueError(f"not a TCP address: {text[:200]!r}") from error
        self.port = int(parts[4])


class WireConnection(IRawConnection):
    """A trio stream with the face that py-libp2p's Noise reads and writes.

    `read(n)` gives exactly n bytes: py-libp2p asks for two bytes, then for a body
    (io/msgio.py:19), which would be two system calls for each Noise message.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        initiator: bool,
        dialed: tuple[str, int] | None = None,
    ) -> None:
        self.is_initiator = initiator
        self.remote = _endpoint_of(stream) or dialed
        self._stream = stream
        self._buffer = bytearray()
        self._unsent = b""
        self._closed = False
        # Sockets are read and written without a task's turn between; other streams as they can.
        self._fd = stream.socket.fileno() if type(stream) is trio.SocketStream else None

    async def read(self, n: int | None = None) -> bytes:
        """Exactly `n` bytes, or what there is. Raises ConnectionClosedError."""
        buffer = self._buffer
        while len(buffer) < (1 if n is None else n):
            try:
                chunk = await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ConnectionClosedError("the socket broke", transport="tcp") from error
            if not chunk:
                raise ConnectionClosedError("the peer closed the socket", transport="tcp")
            buffer += chunk
        size = len(buffer) if n is None else n
        data = bytes(buffer[:size])
        del buffer[:size]
        return data

    async def write(self, data: bytes) -> None:
        """Send all. Raises ConnectionClosedError."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("the socket broke", transport="tcp") from error

    async def receive(self) -> bytes:
        """What has arrived, at least one byte. Raises ConnectionClosedError."""
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        try:
            if self._fd is None:
                data = bytes(await self._stream.receive_some(READ_BYTES))
            else:
                await trio.lowlevel.wait_readable(self._fd)
                data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return await self.receive()  # woken for nothing, which is rare
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("the socket broke", transport="tcp") from error
        if not data:
            raise ConnectionClosedError("the peer closed the socket", transport="tcp")
        return data

    def send_now(self, data: bytes) -> bool:
        """Send what the socket takes; False when the rest waits for `drain`.

        Raises ConnectionClosedError, and RuntimeError on our own bug: not drained before.
        """
        if self._closed:
            raise ConnectionClosedError("the socket is closed", transport="tcp")
        if self._unsent:
            raise RuntimeError("what was left over must be drained first")
        if self._fd is None:
            self._unsent = data
            return False
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise ConnectionClosedError("the socket broke", transport="tcp") from error
        if sent == len(data):
            return True
        self._unsent = data[sent:]
        return False

    async def drain(self) -> None:
        """Send what `send_now` left over. Raises ConnectionClosedError."""
        await self.write(self._unsent)
        self._unsent = b""

    async def close(self) -> None:
        """Close at once, without a goodbye."""
        self._closed = True
        await trio.aclose_forcefully(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.remote

    def get_transport_addresses(self) -> list[Multiaddr]:
        return [] if self.remote is None else [Multiaddr(multiaddr_text(self.remote))]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT


def multiaddr_text(endpoint: tuple[str, int]) -> str:
    """The multiaddr of a TCP endpoint."""
    host, port = endpoint
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"


def listen_endpoint(text: str) -> Address:
    """The address to listen on that `text` names. Raises TransportError."""
    try:
        address = Address(text)
    except ValueError as error:
        raise TransportError(f"cannot listen: {error}") from error
    if address.kind not in ("ip4", "ip6"):
        raise TransportError(f"cannot listen on a name: {text}")
    return address


def _endpoint_of(stream: trio.abc.Stream) -> tuple[str, int] | None:
    socket = getattr(stream, "socket", None)
    if socket is None:
        return None
    try:
        host, port = socket.getpeername()[:2]
    except OSError:
        return None
    return str(host), int(port)

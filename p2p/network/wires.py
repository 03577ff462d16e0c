"""Where connections come from: the one place where sockets are made.

A world with other links (virtual time, injected partitions and delays) brings its own `Wires`. It
deals in plain trio streams and listeners, and needs nothing of libp2p.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from p2p.primitives.units import PeerId

LISTEN_BACKLOG: Final = 512
"""Connections the kernel completes while we are busy; Linux caps it at `somaxconn`."""


class Wires(Protocol):
    """Where raw connections come from."""

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        """Connect. Raises OSError."""

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        """Listen. Raises OSError."""


class TcpWires:
    """Real TCP sockets."""

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        del peer
        return await trio.open_tcp_stream(host, port)

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        return await trio.open_tcp_listeners(port, host=host, backlog=LISTEN_BACKLOG)

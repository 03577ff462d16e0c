"""The `Transport` port: everything the node asks of a network, and nothing of libp2p.

Peers are named by `PeerId`, addresses are multiaddr strings that end in `/p2p/<peer id>`.
Three kinds of traffic run over one authenticated connection per peer:

- gossip RPCs (`/meshsub/1.1.0`): opaque bytes, one in flight per peer; `rpc_sent` asks for more;
- requests: one message there, one back, under a deadline;
- message streams: a two-way sequence of length-prefixed messages (blobs).

Every wait has a deadline; every failure is a `TransportError`; handlers may raise nothing.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import trio

from p2p.primitives.units import PeerId


class TransportError(Exception):
    """A peer or the network failed; the text says how, for a log line."""


class DialFailed(TransportError):
    """No address of the peer led to an authenticated connection."""


class RequestFailed(TransportError):
    """The peer did not answer: unreachable, unsupported, too late or too large."""


class StreamClosed(TransportError):
    """The peer closed or reset the stream, or a deadline passed."""


class Direction(Enum):
    """Who opened a connection."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class MessageStream(Protocol):
    """A two-way sequence of length-prefixed messages to one peer."""

    @property
    def peer(self) -> PeerId: ...

    async def send(self, message: bytes | memoryview) -> None:
        """Send one message, waiting for the peer's window. Raises StreamClosed."""

    async def receive(self, *, bytes_max: int, deadline_s: float) -> bytes:
        """The next message. Raises StreamClosed, also when it is too large or too late."""

    async def close(self) -> None:
        """Say that nothing more follows, then let go. Never raises, never waits long."""

    async def reset(self) -> None:
        """Abandon the stream at once. Never raises, never waits long."""


class TransportHandler(Protocol):
    """What the node does about the network's news. No method may raise.

    Of one peer, `peer_connected` and `peer_disconnected` alternate. The coroutines are cancelled
    when the peer's connection ends.
    """

    def peer_connected(self, peer: PeerId, direction: Direction, address: str) -> None: ...

    def peer_disconnected(self, peer: PeerId, reason: str) -> None: ...

    def rpc_received(self, peer: PeerId, data: bytes) -> trio.Event | None:
        """One gossip RPC. An event is the back-pressure on that peer: no more until it is set."""

    def rpc_sent(self, peer: PeerId) -> None:
        """The last RPC to the peer has been sent; this may come before `send_rpc` returns."""

    async def request_received(self, peer: PeerId, protocol: str, data: bytes) -> bytes | None:
        """The answer to a request, or None to reset the stream."""

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None:
        """Serve one inbound message stream; it is closed when this returns."""


class Transport(Protocol):
    """The network as a node sees it."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def rpc_overflows(self) -> int:
        """Peers given up because too many RPCs were queued to them: our own bug, if not 0."""

    def listen_addresses(self) -> Sequence[str]:
        """Addresses with real ports and `/p2p/<peer id>`, once `run` has started."""

    async def run(
        self,
        handler: TransportHandler,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and serve until cancelled. Raises TransportError when it cannot listen."""

    async def dial(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Connect, unless connected; `peer_connected` precedes the return. Raises DialFailed."""

    async def hang_up(self, peer: PeerId) -> None:
        """Close the connection to a peer. Never raises."""

    def send_rpc(self, peer: PeerId, data: bytes) -> None:
        """Queue one gossip RPC; `rpc_sent` follows unless the peer disconnects first.

        Does nothing for a peer that is not connected, and no `rpc_sent` follows for one that does
        not speak gossip. A peer to whom too many are queued without waiting for `rpc_sent` is
        disconnected. Raises ValueError on our own bug: an RPC too large.
        """

    async def request(
        self, peer: PeerId, protocol: str, data: bytes, *, bytes_max: int, deadline_s: float
    ) -> bytes:
        """Ask a connected peer; its answer. Raises RequestFailed."""

    async def open_stream(self, peer: PeerId, protocol: str, *, deadline_s: float) -> MessageStream:
        """Open a message stream to a connected peer. Raises StreamClosed."""

"""Who is connected: one entry a peer, whatever number of connections lead to it.

Two peers that dial each other at once end up with two connections. Both ends keep the one that the
smaller peer id dialed, and let the other serve its open streams for a moment before it is closed:
no event, no lost request. A peer that dials again although we are connected has lost its end of
the old connection, so the newer one wins.

    no entry ──first link──► connected ──last link gone──► no entry
              peer_connected            peer_disconnected
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVarTuple

import trio

from p2p.network import multistream
from p2p.network.framing import FramedStream
from p2p.network.limits import TransportLimits
from p2p.network.pace import Pace
from p2p.network.port import Direction, TransportHandler
from p2p.network.wire import WireConnection
from p2p.network.yamux import Muxer
from p2p.network.yamux_frames import MuxerError
from p2p.network.yamux_stream import MuxedStream
from p2p.primitives.units import PeerId

logger = logging.getLogger(__name__)

Ts = TypeVarTuple("Ts")


class Link:
    """One authenticated, multiplexed connection."""

    def __init__(
        self,
        *,
        peer: PeerId,
        direction: Direction,
        address: str,
        wire: WireConnection,
        limits: TransportLimits,
    ) -> None:
        self.peer = peer
        self.direction = direction
        self.address = address
        self.wire = wire
        self.opened_s = trio.current_time()
        self.gossip_in: FramedStream | None = None
        self.ping_in: FramedStream | None = None
        self.place: str | None = None
        """The place that it takes of its address; see `AddressPlaces`."""
        self.muxer: Muxer
        self._limits = limits

    @property
    def alive(self) -> bool:
        return self.muxer.reason is None

    async def open(self, *protocols: str) -> FramedStream:
        """A new stream that speaks one of `protocols`, best first.

        Raises MuxerError, and NotSupported when the peer speaks none of them.
        """
        stream = self.muxer.open_stream()
        framed = FramedStream(stream)
        try:
            with trio.move_on_after(self._limits.negotiation_timeout_s):
                await multistream.propose_one_of(
                    [protocol.encode() for protocol in protocols],
                    lambda: multistream.read_token(framed),
                    stream.write,
                )
                return framed
        except BaseException:
            stream.reset()
            raise
        stream.reset()
        raise MuxerError("the peer did not answer the negotiation in time")


class Peer:
    """A connected peer."""

    def __init__(
        self, link: Link, rpc_sent: Callable[[PeerId], None], limits: TransportLimits
    ) -> None:
        self.peer_id = link.peer
        self._tell_rpc_sent = rpc_sent
        self.links = [link]
        self.best = link
        self.rpcs: deque[bytes] = deque()
        self.rpc_stream: MuxedStream | None = None
        """Where RPCs go at once, while the stream is open and nothing waits before them."""
        self.rpc_queued = trio.lowlevel.ParkingLot()
        self.speaks_gossip = True
        self.requests_inbound = 0
        self.request_pace = Pace(
            per_s=limits.requests_per_peer_per_s, burst=limits.requests_per_peer_burst
        )
        self.scope = trio.CancelScope()

    def rpc_sent(self) -> None:
        """Tell the node that an RPC has left."""
        tell(self._tell_rpc_sent, self.peer_id)


class PeerTable:
    """The connected peers, and the only caller of `peer_connected` and `peer_disconnected`."""

    def __init__(self, own: PeerId, limits: TransportLimits, handler: TransportHandler) -> None:
        self._own = own
        self._limits = limits
        self._handler = handler
        self._peers: dict[PeerId, Peer] = {}
        self._link_count = 0
        self._inbound_count = 0

    def get(self, peer: PeerId) -> Peer | None:
        return self._peers.get(peer)

    def all(self) -> Sequence[Peer]:
        return list(self._peers.values())

    def has_room(self, direction: Direction) -> bool:
        """Whether one more connection fits, in total and in its direction."""
        limits = self._limits
        if direction is Direction.INBOUND and self._inbound_count >= limits.connections_inbound_max:
            return False
        return self._link_count < limits.connections_max

    def add(self, link: Link) -> tuple[Peer, list[Link]]:
        """Enter a link, for which there is room; its peer, and the link it makes superfluous."""
        self._count(link, 1)
        peer = self._peers.get(link.peer)
        if peer is None:
            peer = self._peers[link.peer] = Peer(link, self._handler.rpc_sent, self._limits)
            tell(self._handler.peer_connected, link.peer, link.direction, link.address)
            return peer, []
        peer.links.append(link)
        peer.best = self._choose(peer.best, link)
        others = [other for other in peer.links if other is not peer.best]
        for excess in others[:-1]:
            self.remove(excess, "the peer connected too often")
        return peer, others[-1:]

    def remove(self, link: Link, reason: str) -> None:
        """End a link and, if it was the last, its peer. Does nothing the second time."""
        link.muxer.abort(reason)
        peer = self._peers.get(link.peer)
        if peer is None or link not in peer.links:
            return
        peer.links.remove(link)
        self._count(link, -1)
        if peer.links:
            peer.best = peer.links[-1]
            return
        del self._peers[link.peer]
        peer.scope.cancel()
        tell(self._handler.peer_disconnected, link.peer, link.muxer.reason or reason)

    def _count(self, link: Link, change: int) -> None:
        self._link_count += change
        if link.direction is Direction.INBOUND:
            self._inbound_count += change

    def _choose(self, old: Link, new: Link) -> Link:
        age_s = trio.current_time() - old.opened_s
        if old.direction is new.direction or age_s > 2 * self._limits.dial_timeout_s:
            return new
        ours = Direction.OUTBOUND if self._own < new.peer else Direction.INBOUND
        return old if old.direction is ours else new


async def guarded(task: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
    """Run a task of one connection: a bug in it must not end the other connections."""
    try:
        await task(*args)
    except Exception:
        logger.exception("a connection's task raised")


def tell(callback: Callable[[*Ts], None], *args: *Ts) -> None:
    """Call the node, whose callbacks must not raise: one that does ends nothing here."""
    try:
        callback(*args)
    except Exception:
        logger.exception("a transport callback raised")

"""Gossip RPCs: one long-lived outbound stream a peer, and the inbound one it opens to us.

The bytes of an RPC are opaque here. A peer that does not speak gossip stays connected; RPCs to it
are dropped and `rpc_sent` never comes, so the core, which keeps one in flight, sends it no more.
"""

import logging
from typing import Final

import trio

from p2p.network.framing import FramedStream, FrameReader, encode_varint
from p2p.network.limits import TransportLimits
from p2p.network.links import Link, Peer
from p2p.network.multistream import NotSupported
from p2p.network.port import TransportHandler
from p2p.network.yamux_frames import MuxerError

logger = logging.getLogger(__name__)

PROTOCOL: Final = "/meshsub/1.1.0"
PROTOCOLS: Final = ("/meshsub/1.2.0", PROTOCOL, "/meshsub/1.0.0")
"""Best first. The framing is the same; a peer ignores the fields that its version does not know."""
REOPENS_MAX: Final = 3
"""Gossip streams that a peer may break in a row before its connection is closed."""
REOPEN_DELAY_S: Final = 0.5


class Gossip:
    """Writes queued RPCs to each peer and reads those that peers send."""

    def __init__(self, limits: TransportLimits, handler: TransportHandler) -> None:
        self._limits = limits
        self._handler = handler
        self.overflows = 0
        """Peers whose queue was full: none, unless an RPC was sent without waiting for the last."""

    def queue(self, peer: Peer, data: bytes) -> None:
        """Queue one RPC; a full queue ends the peer's connections. Raises ValueError: too large."""
        if len(data) > self._limits.rpc_bytes_max:
            raise ValueError(f"an RPC of {len(data)} bytes exceeds {self._limits.rpc_bytes_max}")
        if not peer.speaks_gossip:
            return
        if len(peer.rpcs) >= self._limits.rpc_queue_max:
            self._give_up(peer)
            return
        stream = peer.rpc_stream
        if stream is not None and stream.write_now(encode_varint(len(data)) + data):
            stream.when_sent(peer.rpc_sent)
            return
        peer.rpc_stream = None
        peer.rpcs.append(data)
        peer.rpc_queued.unpark_all()

    def _give_up(self, peer: Peer) -> None:
        """Our own bug, which must not end the node: with a new connection both sides start anew."""
        alive = [link for link in peer.links if link.alive]
        if not alive:
            return
        self.overflows += 1
        logger.error("too many RPCs are queued to one peer: %s", peer.best.address)
        for link in alive:
            link.muxer.abort("too many RPCs are queued to the peer")

    async def send_all(self, peer: Peer) -> None:
        """Open the peer's stream and write what could not leave at once; reopens a broken one."""
        failures = 0
        while True:
            link, failure = peer.best, ""
            try:
                framed = await link.open(*PROTOCOLS)
            except NotSupported:
                logger.warning("a peer speaks no gossip: %s", link.address)
                peer.speaks_gossip = False
                peer.rpcs.clear()
                return
            except MuxerError as error:
                failure = str(error)
            else:
                try:
                    await self._drain(peer, framed)
                except MuxerError as error:
                    failure = str(error)
                finally:
                    peer.rpc_stream = None
                    framed.stream.reset()
            if link.alive:
                failures += 1
                if failures > REOPENS_MAX:
                    link.muxer.abort(f"its gossip stream keeps failing: {failure}")
                    return
            await trio.sleep(REOPEN_DELAY_S if link.alive else 0)

    async def _drain(self, peer: Peer, framed: FramedStream) -> None:
        while True:
            while peer.rpcs:
                await framed.write_frame(peer.rpcs[0])
                peer.rpcs.popleft()
                framed.stream.when_sent(peer.rpc_sent)
            peer.rpc_stream = framed.stream
            await peer.rpc_queued.park()

    async def receive_all(self, link: Link, framed: FramedStream) -> None:
        """Hand on the RPCs of one inbound stream. Raises MuxerError."""
        if link.gossip_in is not None:
            link.gossip_in.stream.reset()
        link.gossip_in = framed
        received, peer = self._handler.rpc_received, link.peer
        reader = FrameReader(
            lambda data: received(peer, data), bytes_max=self._limits.rpc_bytes_max
        )
        gate = reader.feed(framed.take_rest())
        if gate is not None:
            await gate.wait()
        await framed.stream.pour(reader.feed)

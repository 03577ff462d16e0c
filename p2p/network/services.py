"""What peers may open towards us: gossip, ping, identify, requests and message streams.

A stream's failure is the stream's end, an RPC or request beyond its bound the connection's, and
an exception of a handler is logged and resets its stream: none reaches another peer.
"""

import logging
from collections.abc import Callable, Sequence

import trio

from p2p.network import gossip, identify, liveness, multistream
from p2p.network.framing import FramedStream, FrameTooLarge
from p2p.network.limits import TransportLimits
from p2p.network.links import Link, Peer
from p2p.network.pace import Pace
from p2p.network.port import TransportHandler
from p2p.network.streams import PeerStream
from p2p.network.yamux_frames import MuxerError
from p2p.network.yamux_stream import MuxedStream
from p2p.primitives.units import PeerId

logger = logging.getLogger(__name__)


class Services:
    """Serves inbound streams."""

    def __init__(
        self,
        *,
        own: PeerId,
        limits: TransportLimits,
        handler: TransportHandler,
        gossip_machine: gossip.Gossip,
        addresses: Callable[[], Sequence[str]],
        requests: Sequence[str],
        streams: Sequence[str],
    ) -> None:
        self._own = own
        self._limits = limits
        self._handler = handler
        self._gossip = gossip_machine
        self._addresses = addresses
        self._requests = frozenset(requests)
        self._streams = frozenset(streams)
        self._requests_inbound = 0
        self._pace = Pace(per_s=limits.requests_per_s, burst=limits.requests_burst)
        self._protocols = (
            *gossip.PROTOCOLS,
            liveness.PROTOCOL,
            identify.PROTOCOL,
            *requests,
            *streams,
        )
        self._tokens = {protocol.encode(): protocol for protocol in self._protocols}

    async def serve(self, peer: Peer, link: Link, stream: MuxedStream) -> None:
        """Negotiate and serve one inbound stream. Raises nothing but Cancelled."""
        framed = FramedStream(stream)
        try:
            protocol = await self._negotiate(framed)
            if protocol is not None:
                await self._dispatch(protocol, peer, link, framed)
        except FrameTooLarge as error:
            link.muxer.abort(str(error))
        except MuxerError as error:
            logger.debug("an inbound stream of %s ended: %s", link.address, error)
            stream.reset()
        except Exception:
            logger.exception("the handler of an inbound stream raised")
            stream.reset()
        finally:
            stream.release()

    async def _negotiate(self, framed: FramedStream) -> str | None:
        with trio.move_on_after(self._limits.negotiation_timeout_s):
            token = await multistream.answer(
                self._tokens, lambda: multistream.read_token(framed), framed.stream.write
            )
            return self._tokens[token]
        framed.stream.reset()
        return None

    async def _dispatch(self, protocol: str, peer: Peer, link: Link, framed: FramedStream) -> None:
        if protocol in self._requests:
            await self._serve_request(protocol, peer, framed)
        elif protocol in self._streams:
            await self._handler.stream_opened(protocol, PeerStream(link.peer, framed))
        elif protocol in gossip.PROTOCOLS:
            await self._gossip.receive_all(link, framed)
        elif protocol == liveness.PROTOCOL:
            await liveness.answer_pings(link, framed)
        else:
            await identify.answer_identify(
                link,
                framed,
                own=self._own,
                addresses=self._addresses(),
                protocols=self._protocols,
            )

    async def _serve_request(self, protocol: str, peer: Peer, framed: FramedStream) -> None:
        if (
            peer.requests_inbound >= self._limits.requests_inbound_per_peer_max
            or self._requests_inbound >= self._limits.requests_inbound_max
        ):
            framed.stream.reset()
            return
        peer.requests_inbound += 1
        self._requests_inbound += 1
        try:
            now_s = trio.current_time()
            wait_s = max(peer.request_pace.wait_s(now_s), self._pace.wait_s(now_s))
            if wait_s:
                await trio.sleep(wait_s)
            await self._answer_request(protocol, peer, framed)
        finally:
            peer.requests_inbound -= 1
            self._requests_inbound -= 1

    async def _answer_request(self, protocol: str, peer: Peer, framed: FramedStream) -> None:
        data: bytes | None = None
        with trio.move_on_after(self._limits.request_timeout_s):
            data = await framed.read_frame(self._limits.request_bytes_max)
        if data is None:
            framed.stream.reset()
            return
        answer = await self._handler.request_received(peer.peer_id, protocol, data)
        if answer is None:
            framed.stream.reset()
            return
        with trio.move_on_after(self._limits.request_timeout_s) as scope:
            await framed.write_frame(answer)
        if scope.cancelled_caught:
            framed.stream.reset()

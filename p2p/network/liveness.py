"""Noticing dead peers: py-libp2p has no keepalive, and a black hole looks connected for ever.

Anything received is a sign of life. After `ping_interval_s` of silence the peer is pinged over
`/ipfs/ping/1.0.0`; after `ping_timeout_s` more of it the connection is closed. A peer that does
not speak ping says so, which is a sign of life as well.
"""

from typing import Final

import trio

from p2p.network.framing import FramedStream
from p2p.network.limits import TransportLimits
from p2p.network.links import Link
from p2p.network.yamux_frames import MuxerError

PROTOCOL: Final = "/ipfs/ping/1.0.0"
PING_BYTES: Final = 32


async def watch(link: Link, limits: TransportLimits) -> None:
    """Ping the peer when it is silent; end the link when it stays so."""
    muxer = link.muxer
    pinger = Pinger(link)
    try:
        while True:
            seen_s = muxer.last_received_s
            await trio.sleep_until(seen_s + limits.ping_interval_s)
            muxer.sweep()
            if muxer.last_received_s != seen_s:
                continue
            await pinger.ping(limits.ping_timeout_s)
            if muxer.last_received_s == seen_s:
                muxer.abort("the peer is silent")
                return
    finally:
        pinger.stop()


class Pinger:
    """One ping stream, kept open, so that a ping costs one message and no negotiation."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._framed: FramedStream | None = None
        self._count = 0

    async def ping(self, timeout_s: float) -> None:
        """One round trip; its time becomes the muxer's. What goes wrong shows as silence."""
        try:
            with trio.move_on_after(timeout_s) as scope:
                if self._framed is None:
                    self._framed = await self._link.open(PROTOCOL)
                self._count += 1
                payload = self._count.to_bytes(PING_BYTES)
                sent_s = trio.current_time()
                await self._framed.stream.write(payload)
                if await self._framed.read_exactly(PING_BYTES) == payload:
                    self._link.muxer.rtt_s = trio.current_time() - sent_s
                    return
                self.stop()
            if scope.cancelled_caught:
                self.stop()
        except MuxerError:
            self.stop()

    def stop(self) -> None:
        """Let go of the stream."""
        if self._framed is not None:
            self._framed.stream.reset()
            self._framed = None


async def answer_pings(link: Link, framed: FramedStream) -> None:
    """Echo the peer's pings, on one stream a connection. Raises MuxerError."""
    if link.ping_in is not None:
        link.ping_in.stream.reset()
    link.ping_in = framed
    while (payload := await framed.read_exactly(PING_BYTES)) is not None:
        await framed.stream.write(payload)

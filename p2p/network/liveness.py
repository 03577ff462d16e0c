"""Noticing dead peers: py-libp2p has no keepalive, and a black hole looks connected for ever.

Anything received is a sign of life. After `ping_interval_s` of silence the peer is pinged with a
Yamux frame, which costs neither end a stream or a task (Yamux specification, Ping); after
`ping_timeout_s` more of silence the connection is closed. Pings of others over `/ipfs/ping/1.0.0`
are answered.
"""

from typing import Final

import trio

from p2p.network.framing import FramedStream
from p2p.network.limits import TransportLimits
from p2p.network.links import Link

PROTOCOL: Final = "/ipfs/ping/1.0.0"
PING_BYTES: Final = 32


async def watch(link: Link, limits: TransportLimits) -> None:
    """Ping the peer when it is silent; end the link when it stays so."""
    muxer = link.muxer
    while True:
        seen_s = muxer.last_received_s
        await trio.sleep_until(seen_s + limits.ping_interval_s)
        muxer.sweep()
        if muxer.last_received_s != seen_s:
            continue
        muxer.ping()
        await trio.sleep(limits.ping_timeout_s)
        if muxer.last_received_s == seen_s:
            muxer.abort("the peer is silent")
            return


async def answer_pings(link: Link, framed: FramedStream) -> None:
    """Echo the peer's pings, on one stream a connection. Raises MuxerError."""
    if link.ping_in is not None:
        link.ping_in.stream.reset()
    link.ping_in = framed
    while (payload := await framed.read_exactly(PING_BYTES)) is not None:
        await framed.stream.write(payload)

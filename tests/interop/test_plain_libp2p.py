"""What every libp2p node does, with each implementation that can run here: identify and ping."""

import pytest
import trio

from p2p.network import identify
from p2p.network.gossip import PROTOCOLS
from p2p.network.links import Link
from p2p.network.liveness import PROTOCOL as PING
from p2p.primitives.protobuf import read_fields
from p2p.primitives.units import KIB
from tests.interop.foreign import Foreign, foreign
from tests.interop.ours import TOPIC, Ours, gossiping
from tests.interop.test_gossip_mesh import stack

__all__ = ["stack"]

pytestmark = [pytest.mark.anyio, pytest.mark.live]

PROTOCOLS_KEY = 3 << 3 | 2
"""Field `protocols` of the identify message: strings."""


def link_of(node: Ours, other: Foreign) -> Link:
    """Our connection to the other peer."""
    found = node.node.transport._find(other.peer)  # type: ignore[attr-defined]
    assert found is not None
    link = found.best
    assert isinstance(link, Link)
    return link


async def test_each_identifies_and_pings_the_other(stack: str) -> None:
    async with gossiping("ours") as (node,), foreign(stack, TOPIC) as other:
        await other.dial(node.address)
        answer = await other.ask("identify", "identified", address=node.address)
        assert answer["agent"] == "gigmesh/1"
        protocols = answer["protocols"]
        assert isinstance(protocols, list)
        assert {*PROTOCOLS, PING, identify.PROTOCOL} <= set(protocols)
        pong = await other.ask("ping", "pong", address=node.address)
        assert 0 <= float(str(pong["ms"])) < 5_000
        assert {PING, "/meshsub/1.1.0"} <= await identify_them(link_of(node, other))
        await ping_them(link_of(node, other))


async def identify_them(link: Link) -> set[str]:
    """The protocols that the other end says it speaks."""
    framed = await link.open(identify.PROTOCOL)
    message = await framed.read_frame(64 * KIB)
    assert message is not None
    fields = read_fields(message, fields_max=200)
    return {value.decode() for key, _, value in fields if key == PROTOCOLS_KEY}


async def ping_them(link: Link) -> None:
    """One round trip of ours."""
    link.muxer.rtt_s = 0.0
    link.muxer.ping()
    with trio.fail_after(5.0):
        while not link.muxer.rtt_s:  # noqa: ASYNC110 - the other end is another program
            await trio.sleep(0.01)

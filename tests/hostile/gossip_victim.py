"""A gossip node in a process of its own, to be attacked: says its port, then what it receives.

It ends with its standard input.
"""

import sys

import trio

from p2p.network import TransportLimits
from p2p.node.gossip_node import GossipNode
from p2p.protocol.gossip import GossipParameters, Validate, Verdict
from tests.network.nodes import LOOPBACK, key_of

TOPIC = "/gigmesh/hostile/1"
FLOOD_BYTES = 2_000
"""A message of this size is published at the start, for those who ask for it again and again."""
ASKED_FOR = bytes(FLOOD_BYTES)


async def main() -> None:
    def received(message: Validate) -> Verdict:
        print(message.data.hex(), flush=True)
        return Verdict.ACCEPT

    node = GossipNode(
        key_of("victim"),
        LOOPBACK,
        received,
        parameters=GossipParameters(heartbeat_ms=300),
        seed=b"victim",
        limits=TransportLimits(handshake_timeout_s=2.0, negotiation_timeout_s=2.0),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        node.subscribe(TOPIC)
        node.publish(TOPIC, ASKED_FOR)
        print(node.transport.listen_addresses()[0], flush=True)
        async for _ in trio.lowlevel.FdStream(sys.stdin.fileno()):
            node.publish(TOPIC, ASKED_FOR)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

"""Our side: gossip nodes whose RPCs a test can see, and filter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from p2p.model.rpc import MessageId, Rpc, decode_rpc, encode_rpc
from p2p.node.gossip_node import GossipNode
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import GossipParameters, Validate, Verdict
from tests.network.nodes import LOOPBACK, key_of

TOPIC = "/gigmesh/interop/1"
FAST = GossipParameters(heartbeat_ms=300, prune_backoff_ms=1_000, unsubscribe_backoff_ms=1_000)


class Ours:
    """A gossip node of ours. With `lazy_only`, messages pass that were asked for by IWANT alone."""

    def __init__(self, name: str, parameters: GossipParameters, *, lazy_only: bool = False) -> None:
        self.received: list[bytes] = []
        self.heard: list[tuple[PeerId, Rpc]] = []
        self.said: list[tuple[PeerId, Rpc]] = []
        self.node = GossipNode(
            key_of(name), LOOPBACK, self._take, parameters=parameters, seed=name.encode()
        )
        self._lazy_only = lazy_only
        self._asked_of_us: set[tuple[PeerId, MessageId]] = set()
        self._asked_by_us: set[tuple[PeerId, bytes]] = set()
        self._send = self.node.transport.send_rpc
        self._receive = self.node.rpc_received
        self.node.transport.send_rpc = self.send_rpc  # type: ignore[method-assign]
        self.node.rpc_received = self.rpc_received  # type: ignore[method-assign]

    @property
    def peer(self) -> PeerId:
        return self.node.transport.peer_id

    @property
    def address(self) -> str:
        return self.node.transport.listen_addresses()[0]

    def mesh(self) -> tuple[PeerId, ...]:
        return self.node.gossip.mesh(TOPIC)

    def publish(self, data: bytes) -> None:
        self.node.publish(TOPIC, data)

    async def dial(self, peer: PeerId, address: str) -> None:
        await self.node.transport.dial(peer, [address])

    def send_rpc(self, peer: PeerId, data: bytes) -> None:
        rpc = decode_rpc(data)
        self.said.append((peer, rpc))
        self._asked_by_us.update((peer, one) for one in rpc.iwant)
        if self._lazy_only:
            asked = self._asked_of_us
            kept = tuple(one for one in rpc.publish if (peer, one.id) in asked)
            rpc = msgspec.structs.replace(rpc, publish=kept)
        self._send(peer, encode_rpc(rpc))

    def rpc_received(self, peer: PeerId, data: bytes) -> trio.Event | None:
        rpc = decode_rpc(data)
        self.heard.append((peer, rpc))
        self._asked_of_us.update((peer, one) for one in rpc.iwant)
        if self._lazy_only:
            asked = {one for who, one in self._asked_by_us if who == peer}
            kept = tuple(one for one in rpc.publish if one.id in asked)
            data = encode_rpc(msgspec.structs.replace(rpc, publish=kept))
        return self._receive(peer, data)

    def _take(self, message: Validate) -> Verdict:
        self.received.append(message.data)
        return Verdict.ACCEPT


@asynccontextmanager
async def gossiping(
    *names: str, parameters: GossipParameters = FAST, lazy_only: bool = False
) -> AsyncIterator[tuple[Ours, ...]]:
    """Gossip nodes that take part in `TOPIC`, until the block ends."""
    nodes = tuple(Ours(name, parameters, lazy_only=lazy_only) for name in names)
    async with trio.open_nursery() as nursery:
        for ours in nodes:
            await nursery.start(ours.node.run)
            ours.node.subscribe(TOPIC)
        yield nodes
        nursery.cancel_scope.cancel()

"""A stranger that fills a node's inbox: any RPCs, as fast as it likes, over one connection."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2p.model.inputs import PeerConnected, PeerDisconnected
from p2p.model.rpc import Rpc, RpcReceived, RpcSent
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World


class Flooder:
    """Connects to a node, floods it, and comes back whenever it is hung up on.

    Args:
        world: where it lives.
        name: of its key.
        rpcs: makes its next RPC.
        every_us: between two.
    """

    def __init__(
        self, world: "World", name: bytes, rpcs: Callable[[], Rpc], *, every_us: int
    ) -> None:
        self.key = Key(digest(b"flooder", name))
        self.sent = 0
        self.hang_ups: list[str] = []
        self.target: VirtualNode | None = None
        self._world = world
        self._rpcs = rpcs
        self._every_us = every_us
        self._is_connected = False
        world.network.strangers[self.key.peer] = self

    def attack(self, node: "VirtualNode") -> None:
        """Begin, and never stop."""
        self.target = node
        self._world.heap.after(0, "flood", self._flood)

    def _flood(self) -> bytes:
        assert self.target is not None
        self._world.heap.after(self._every_us, "flood", self._flood)
        if not self.target.is_up:
            self._is_connected = False
            return b"down"
        if not self._is_connected:
            self._is_connected = True
            address = "/ip4/10.255.0.1/tcp/4001"
            self.target.feed(PeerConnected(self.key.peer, outbound=False, address=address))
        self.target.feed(RpcReceived(self.key.peer, self._rpcs()))
        self.sent += 1
        return b"%d" % self.target.index

    def heard(self, node: "VirtualNode", rpc: Rpc) -> None:
        """It reads everything, at once, and answers nothing."""
        node.feed(RpcSent(self.key.peer))

    def hung_up(self, node: "VirtualNode", reason: str) -> None:
        self.hang_ups.append(reason)
        self._is_connected = False
        node.feed(PeerDisconnected(self.key.peer, reason))

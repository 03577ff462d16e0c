"""Dials, hang-ups and the news of them: the transport of every virtual node.

Of one peer a node hears "connected" and "disconnected" in turn, as the live transport promises,
although the news of an end travels more slowly than a new dial may: a node's `connected` is what it
believes, and a new connection ends the belief in an old one first.
"""

from typing import TYPE_CHECKING, Final, Protocol

from p2p.model.inputs import PeerConnected
from p2p.model.rpc import Rpc
from p2p.primitives.units import PeerId
from p2p.protocol.interface import DialFailed
from sim_harness.virtual.links import SILENCE_US, Connection, Links

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode
    from sim_harness.virtual.world import World

DIAL_TIMEOUT_US: Final = 8_000_000
RESET_US: Final = 1_000
"""How soon a crashed process's kernel resets its connections, beyond the latency."""


class Stranger(Protocol):
    """Somebody at the other end of a connection who is no node of the world."""

    def heard(self, node: "VirtualNode", rpc: Rpc) -> None:
        """A node sent it an RPC."""

    def hung_up(self, node: "VirtualNode", reason: str) -> None:
        """A node closed the connection."""


class Network:
    """Connects the nodes of one world."""

    def __init__(self, world: "World", links: Links) -> None:
        self._world = world
        self._links = links
        self.strangers: dict[PeerId, Stranger] = {}

    def connection(self, here: int, there: int) -> Connection | None:
        """What a node takes for its connection to another; it may have ended unnoticed."""
        nodes = self._world.nodes
        believed = nodes[here].connected.get(nodes[there].key.peer)
        return None if believed is None else believed[1]

    # ---- dials -------------------------------------------------------------------------------

    def dial(self, dialer: "VirtualNode", peer: PeerId) -> None:
        """A node dials a peer: connected, refused or unanswered some time later."""
        target = self._world.by_peer.get(peer)
        if target is dialer:
            target = None
        incarnation = dialer.incarnation

        def finish() -> bytes:
            if dialer.incarnation != incarnation:
                return b"%d gone" % dialer.index
            if target is None or not self._answer(dialer, target):
                dialer.feed(DialFailed(peer))
            return b"%d>%d" % (dialer.index, -1 if target is None else target.index)

        heap = self._world.heap
        if target is None or self._links.is_cut(dialer.index, target.index):
            heap.after(DIAL_TIMEOUT_US, "dial", finish)
        else:
            heap.after(self._links.handshake_us(dialer.index, target.index), "dial", finish)

    def _answer(self, dialer: "VirtualNode", target: "VirtualNode") -> bool:
        one, other = dialer.index, target.index
        if not target.is_up or self._links.is_cut(one, other):
            return False
        if self._links.between(one, other) is None:
            connection = self._links.connect(one, other)
            self._tell_up(dialer, target, connection, outbound=True)
            self._tell_up(target, dialer, connection, outbound=False)
        # Both dialled at once: the dialer has heard of the other's connection, and keeps it.
        return True

    def _tell_up(
        self, here: "VirtualNode", there: "VirtualNode", connection: Connection, *, outbound: bool
    ) -> None:
        old = self.connection(here.index, there.index)
        if old is not None:
            self._tell_down(here, there, old, "replaced by a new connection")
        here.connected[there.key.peer] = there, connection
        address = self._world.address_of(there.index)
        here.feed(PeerConnected(there.key.peer, outbound=outbound, address=address))

    # ---- ends --------------------------------------------------------------------------------

    def hang_up(self, node: "VirtualNode", peer: PeerId, reason: str) -> None:
        """A node closes a connection: it knows at once, the other end hears of it."""
        stranger = self.strangers.get(peer)
        if stranger is not None:
            stranger.hung_up(node, reason)
        target = self._world.by_peer.get(peer)
        connection = None if target is None else self.connection(node.index, target.index)
        if connection is not None:
            self._end(connection, f"hung up: {reason}", closer=node.index)

    def silent(self, connection: Connection) -> None:
        """Pings went unanswered for too long at both ends."""
        self._links.disconnect(connection)
        for here in connection.pair:
            self._tell_later(here, connection, "silent", delay_us=0)

    def _end(self, connection: Connection, reason: str, *, closer: int) -> None:
        if not self._links.disconnect(connection):
            return  # The news is under way.
        other = connection.other(closer)
        self._tell_later(closer, connection, reason, delay_us=0)
        self._tell_later(other, connection, reason, delay_us=self._news_us(closer, other))

    def _news_us(self, source: int, target: int) -> int:
        # No word passes a partition: the other end finds out by its own pings.
        cut = self._links.is_cut(source, target)
        return SILENCE_US if cut else self._links.delay_us(source, target)

    def _tell_later(self, here: int, connection: Connection, reason: str, *, delay_us: int) -> None:
        node = self._world.nodes[here]
        other = self._world.nodes[connection.other(here)]

        def tell() -> bytes:
            self._tell_down(node, other, connection, reason)
            return b"%d %d" % (here, other.index)

        self._world.heap.after(delay_us, "disconnected", tell)

    def _tell_down(
        self, here: "VirtualNode", there: "VirtualNode", connection: Connection, reason: str
    ) -> None:
        if self.connection(here.index, there.index) is connection:
            del here.connected[there.key.peer]
            here.lost(there.key.peer, reason)

    def crashed(self, node: "VirtualNode") -> None:
        """A process is gone: its kernel resets what it had."""
        self._links.forget_uplink(node.index)
        node.connected.clear()
        for connection in self._links.of(node.index):
            self._links.disconnect(connection)
            other_index = connection.other(node.index)
            delay_us = RESET_US + self._news_us(node.index, other_index)
            self._tell_later(other_index, connection, "reset", delay_us=delay_us)

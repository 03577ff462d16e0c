"""Every node has an address of its own, so that the kernel can tell whose packets it sees.

All of 127.0.0.0/8 is loopback. Homes go on saying 127.0.0.1 and a port: these wires listen on, dial
and dial from the nodes' own addresses instead, and no node knows.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

import trio

from p2p.network.wires import LISTEN_BACKLOG
from p2p.primitives.units import PeerId

FIRST: Final = int(IPv4Address("127.1.0.1"))


def address_of(node: int) -> str:
    """The address of a node, by number."""
    return str(IPv4Address(FIRST + node))


def node_at(address: int) -> int:
    """The number of the node with this address, as four bytes make it."""
    return address - FIRST


class OwnAddresses:
    """TCP between the nodes' own addresses.

    Args:
        me: number of the node.
        numbers: of the nodes that have such wires, too.
    """

    def __init__(self, me: int, numbers: dict[PeerId, int]) -> None:
        self._mine = address_of(me)
        self._numbers = numbers

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        """Connect from our address to the peer's. Raises OSError."""
        target = self._numbers.get(peer)
        there = host if target is None else address_of(target)
        return await trio.open_tcp_stream(there, port, local_address=self._mine)

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        """Listen at our address. Raises OSError."""
        del host
        return await trio.open_tcp_listeners(port, host=self._mine, backlog=LISTEN_BACKLOG)

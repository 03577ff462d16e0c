"""A third of the peers vanish at one instant: meshes heal, and what is said meanwhile arrives."""

import pytest

from p2p.model.inputs import PeerDisconnected
from p2p.primitives.units import PeerId
from p2p.protocol.gossip import GossipParameters
from tests.protocol.gossip.kit import T, name
from tests.protocol.gossip.network import Network

NODES = 60
GONE = 20
LARGE = GossipParameters().flood_bytes_max + 1
"""Goes to the mesh alone, so that it is the mesh that is tested."""


def vanish(network: Network, count: int) -> list[PeerId]:
    """The last so many nodes are gone; everybody notices at once."""
    gone = [name(number) for number in range(NODES - count, NODES)]
    for peer in gone:
        del network.nodes[peer], network.delivered[peer]
    for peer in network.nodes:
        for other in gone:
            network.queue.append((peer, PeerDisconnected(other)))
    network.settle()
    return gone


def degrees(network: Network) -> list[int]:
    """How many mesh peers each node has, the fewest first."""
    return sorted(len(node.mesh(T)) for node in network.nodes.values())


@pytest.mark.parametrize("seed", [b"one", b"two", b"three"])
def test_a_mesh_heals_within_three_heartbeats_after_a_third_of_its_peers_vanished(
    seed: bytes,
) -> None:
    network = Network(NODES, seed=seed, links=12)
    network.heartbeat(3)
    low = GossipParameters().degree_low
    vanish(network, GONE)
    assert degrees(network)[0] < low
    network.heartbeat(3)
    assert degrees(network)[0] >= low
    links = set(network.links())
    assert links == {(other, peer) for peer, other in links}


def test_what_is_said_while_peers_vanish_and_meshes_heal_reaches_everybody_once() -> None:
    network = Network(NODES, links=12)
    network.heartbeat(3)
    publishers = {}
    vanish(network, GONE)
    for number in range(4):
        for publisher in (name(number), name(20 + number)):
            data = publisher.ljust(LARGE, bytes([number]))
            publishers[network.publish(publisher, data)] = publisher
        network.heartbeat()
    network.heartbeat(3)
    network.assert_delivered_once(publishers)

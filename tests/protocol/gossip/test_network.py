"""Many machines together: everybody hears everything once, and both ends of a link agree."""

import pytest

from p2p.model.inputs import PeerDisconnected
from p2p.model.rpc import Message, Rpc
from p2p.protocol.gossip import GossipParameters
from tests.protocol.gossip.kit import T, name
from tests.protocol.gossip.network import Network


@pytest.fixture(name="network")
def fixture_network() -> Network:
    network = Network(20)
    network.heartbeat(3)
    return network


def test_every_message_reaches_every_node_once(network: Network) -> None:
    publishers = {
        network.publish(peer, b"from " + peer + bytes([number])): peer
        for peer in network.nodes
        for number in range(3)
    }
    network.assert_delivered_once(publishers)


def test_a_message_costs_each_node_no_more_copies_than_its_mesh_has_peers() -> None:
    network = Network(40, links=10)
    network.heartbeat(3)
    quiet = GossipParameters().flood_bytes_max + 1
    network.publish(name(0), bytes(quiet))
    duplicates = sum(node.counters.duplicates for node in network.nodes.values())
    assert duplicates <= sum(len(node.mesh(T)) for node in network.nodes.values())


def test_graft_and_prune_leave_both_ends_agreed(network: Network) -> None:
    def is_agreed() -> bool:
        links = set(network.links())
        return links == {(other, peer) for peer, other in links}

    assert is_agreed()
    leaver = name(3)
    for other in list(network.nodes):
        network.queue.append((other, PeerDisconnected(leaver)))
        network.queue.append((leaver, PeerDisconnected(other)))
    network.settle()
    network.heartbeat(5)
    assert is_agreed()
    assert network.nodes[leaver].mesh(T) == ()


def test_meshes_have_a_size_within_their_bounds(network: Network) -> None:
    for node in network.nodes.values():
        reachable = len(node.peers(T))
        assert min(4, reachable) <= len(node.mesh(T)) <= 12


@pytest.mark.parametrize(("percent", "later_percent"), [(60, 0), (45, 20)])
def test_lazy_gossip_repairs_what_eager_pushes_lost(
    network: Network, percent: int, later_percent: int
) -> None:
    network.lose(percent)
    publishers = {}
    for number in range(20):
        publisher = name(number)
        publishers[network.publish(publisher, b"message %d" % number)] = publisher
    assert sum(len(got) for got in network.delivered.values()) < 20 * 19
    network.lose(later_percent)
    network.heartbeat(6)
    network.assert_delivered_once(publishers)
    assert sum(node.counters.iwant_served for node in network.nodes.values()) > 0


def test_a_node_outside_every_mesh_is_served_by_gossip_alone() -> None:
    """Given a node whose GRAFTs are lost; what is published is offered to it and fetched."""
    network = Network(10, links=9)

    def no_links(rpc: Rpc) -> Rpc:
        return Rpc(rpc.subscriptions, rpc.publish, rpc.ihave, rpc.iwant)

    network.filter = no_links
    network.heartbeat(2)
    for node in network.nodes.values():
        for links in node._mesh._links.values():
            links.pop(name(9), None)
    big = bytes(20_000)
    network.publish(name(0), big)
    assert network.delivered[name(9)] == []
    network.heartbeat()
    assert network.delivered[name(9)] == [Message(T, big).id]


def trace(seed: bytes) -> str:
    network = Network(12, seed=seed)
    network.lose(30)
    for number in range(6):
        network.publish(name(number), bytes([number]) * 50)
        network.heartbeat()
    return network.digest.hexdigest()


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    assert trace(b"one") == trace(b"one") != trace(b"two")

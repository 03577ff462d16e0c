"""Many machines, connected by direct hand-over."""

from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest

from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rpc import Message, MessageId, Rpc, RpcReceived, RpcSent, decode_rpc, encode_rpc
from p2p.primitives.draws import Draws
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip import (
    HEARTBEAT,
    Gossip,
    GossipInput,
    GossipParameters,
    MessageValidated,
    Published,
    SendRpc,
    Subscribed,
    Validate,
    Verdict,
)
from tests.protocol.gossip.kit import T, name

Filter = Callable[[Rpc], Rpc]


def lossless(rpc: Rpc) -> Rpc:
    return rpc


class Network:
    """Nodes that all subscribe to one topic, and the RPCs on their way, in one queue."""

    def __init__(self, size: int, *, seed: bytes = b"seed", links: int = 5) -> None:
        self.draws = Draws(b"network", seed)
        self.now_ms = 0
        self.nodes = {
            name(number): Gossip(name(number), GossipParameters(), seed) for number in range(size)
        }
        self.delivered: dict[PeerId, list[MessageId]] = {peer: [] for peer in self.nodes}
        self.filter: Filter = lossless
        self.queue: deque[tuple[PeerId, GossipInput]] = deque()
        self.digest = sha256()
        for peer in self.nodes:
            self.queue.append((peer, Subscribed(T)))
        self.edges: set[frozenset[PeerId]] = set()
        for peer in self.nodes:
            for other in self.draws.sample(self.nodes, links):
                if other != peer and frozenset({peer, other}) not in self.edges:
                    self.edges.add(frozenset({peer, other}))
                    self.queue.append((peer, PeerConnected(other, outbound=True, address="")))
                    self.queue.append((other, PeerConnected(peer, outbound=False, address="")))
        self.settle()

    def settle(self) -> None:
        """Hand everything over until nothing is on its way."""
        while self.queue:
            peer, input_ = self.queue.popleft()
            for effect in self.nodes[peer].step(input_, Millis(self.now_ms)):
                self.digest.update(repr((peer, effect)).encode())
                match effect:
                    case SendRpc(peer=other, rpc=rpc):
                        arriving = self.filter(decode_rpc(encode_rpc(rpc)))
                        self.queue.append((other, RpcReceived(peer, arriving)))
                        self.queue.append((peer, RpcSent(other)))
                    case Validate(message_id=message_id):
                        self.delivered[peer].append(message_id)
                        verdict = MessageValidated(message_id, Verdict.ACCEPT)
                        self.queue.append((peer, verdict))
                    case _:
                        pass

    def heartbeat(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_ms += 1000
            for peer in self.nodes:
                self.queue.append((peer, TimerFired(HEARTBEAT)))
                self.settle()

    def publish(self, peer: PeerId, data: bytes) -> MessageId:
        self.queue.append((peer, Published(T, data)))
        self.settle()
        return Message(T, data).id

    def links(self) -> Iterator[tuple[PeerId, PeerId]]:
        for peer, gossip in self.nodes.items():
            for other in gossip.mesh(T):
                yield peer, other

    def lose(self, percent: int) -> None:
        """Lose a share of the messages, on the mesh and in answers to IWANT alike."""

        def lossy(rpc: Rpc) -> Rpc:
            kept = tuple(one for one in rpc.publish if self.draws.below(100) >= percent)
            return Rpc(rpc.subscriptions, kept, rpc.ihave, rpc.iwant, rpc.graft, rpc.prune)

        self.filter = lossy

    def assert_delivered_once(self, publishers: dict[MessageId, PeerId]) -> None:
        for peer, got in self.delivered.items():
            assert sorted(got) == sorted(
                message for message, publisher in publishers.items() if publisher != peer
            )


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

"""Many machines, connected by direct hand-over."""

from collections import deque
from collections.abc import Callable, Iterator
from hashlib import sha256

from p2p.model.inputs import PeerConnected, TimerFired
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
            if peer not in self.nodes:
                continue
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

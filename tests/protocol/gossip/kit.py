"""One gossip machine under test, and the peers that the test plays itself."""

from p2p.model.effects import SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rpc import Message, Rpc, Subscription
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip import (
    HEARTBEAT,
    Gossip,
    GossipEffect,
    GossipInput,
    GossipParameters,
    MessageValidated,
    PeerRated,
    Published,
    RpcReceived,
    RpcSent,
    SendRpc,
    Subscribed,
    Unsubscribed,
    Verdict,
)

T = "topic"
OTHER = "other"


def name(number: int) -> PeerId:
    return PeerId(b"peer %02d" % number)


def names(count: int, start: int = 0) -> list[PeerId]:
    return [name(number) for number in range(start, start + count)]


def announce(*topics: str, subscribe: bool = True) -> Rpc:
    """An RPC that subscribes to topics, or unsubscribes."""
    return Rpc(tuple(Subscription(subscribe, topic) for topic in topics))


class Bench:
    """A machine, its clock, and an account of the RPCs that it sent."""

    def __init__(
        self,
        parameters: GossipParameters | None = None,
        *,
        topics: tuple[str, ...] = (),
        scores: dict[PeerId, int] | None = None,
        seed: bytes = b"seed",
    ) -> None:
        self.scores = scores if scores is not None else {}
        self.gossip = Gossip(PeerId(b"me"), parameters or GossipParameters(), seed)
        self.now_ms = 1_000_000
        self.acknowledge = True
        """Whether every RPC leaves at once."""
        for topic in topics:
            self.subscribe(topic)

    def step(self, input_: GossipInput) -> list[GossipEffect]:
        """The effects of an input; RPCs leave at once, and what follows them is included."""
        for peer, points in self.scores.items():
            self.gossip.step(PeerRated(peer, points), Millis(self.now_ms))
        effects = self.gossip.step(input_, Millis(self.now_ms))
        for effect in effects if self.acknowledge else ():
            if isinstance(effect, SendRpc):
                effects += self.gossip.step(RpcSent(effect.peer), Millis(self.now_ms))
        return effects

    def connect(
        self, *peers: PeerId, topics: tuple[str, ...] = (T,), outbound: bool = False
    ) -> list[GossipEffect]:
        """Connect peers that subscribe to the topics."""
        effects = []
        for peer in peers:
            effects += self.step(PeerConnected(peer, outbound=outbound, address=""))
            if topics:
                effects += self.receive(peer, announce(*topics))
        return effects

    def disconnect(self, peer: PeerId) -> list[GossipEffect]:
        return self.step(PeerDisconnected(peer))

    def receive(self, peer: PeerId, rpc: Rpc) -> list[GossipEffect]:
        return self.step(RpcReceived(peer, rpc))

    def graft(self, *peers: PeerId, topic: str = T) -> list[GossipEffect]:
        return [effect for peer in peers for effect in self.receive(peer, Rpc(graft=(topic,)))]

    def message(self, peer: PeerId, *messages: Message) -> list[GossipEffect]:
        return self.receive(peer, Rpc(publish=messages))

    def judge(self, message: Message, verdict: Verdict = Verdict.ACCEPT) -> list[GossipEffect]:
        return self.step(MessageValidated(message.id, verdict))

    def accept(self, peer: PeerId, *messages: Message) -> list[GossipEffect]:
        """Receive messages and accept them; the effects of the verdicts."""
        self.message(peer, *messages)
        return [effect for message in messages for effect in self.judge(message)]

    def publish(self, message: Message) -> list[GossipEffect]:
        return self.step(Published(message.topic, message.data))

    def subscribe(self, topic: str) -> list[GossipEffect]:
        return self.step(Subscribed(topic))

    def unsubscribe(self, topic: str) -> list[GossipEffect]:
        return self.step(Unsubscribed(topic))

    def heartbeat(self, count: int = 1) -> list[GossipEffect]:
        """Heartbeats in their time; the effects of the last one, without its timer."""
        effects: list[GossipEffect] = []
        for _ in range(count):
            self.now_ms += self.gossip.parameters.heartbeat_ms
            effects = self.step(TimerFired(HEARTBEAT))
        return [effect for effect in effects if not isinstance(effect, SetTimer)]


def sent(effects: list[GossipEffect]) -> dict[PeerId, Rpc]:
    """The RPC to each peer; at most one each."""
    rpcs = [effect for effect in effects if isinstance(effect, SendRpc)]
    assert len({effect.peer for effect in rpcs}) == len(rpcs)
    return {effect.peer: effect.rpc for effect in rpcs}


def receivers(effects: list[GossipEffect], message: Message) -> set[PeerId]:
    """Who is sent a message."""
    return {peer for peer, rpc in sent(effects).items() if message in rpc.publish}


def grafted(effects: list[GossipEffect], topic: str = T) -> set[PeerId]:
    """Who is sent GRAFT."""
    return {peer for peer, rpc in sent(effects).items() if topic in rpc.graft}


def pruned(effects: list[GossipEffect], topic: str = T) -> set[PeerId]:
    """Who is sent PRUNE."""
    return {
        peer
        for peer, rpc in sent(effects).items()
        if any(prune.topic == topic for prune in rpc.prune)
    }


def offered(effects: list[GossipEffect], message: Message) -> set[PeerId]:
    """Who is offered a message by IHAVE."""
    return {
        peer
        for peer, rpc in sent(effects).items()
        for ihave in rpc.ihave
        if ihave.topic == message.topic and message.id in ihave.ids
    }

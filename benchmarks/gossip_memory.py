"""What the gossip machine remembers of one peer, and of one message, in bytes.

    python -m benchmarks.gossip_memory [--json] [--rounds 8]

Without scores, which would show the hostile peer out. `idle_peer` takes part in five topics and
says nothing more. `hostile_peer` fills every table that a peer can fill, in each of some
heartbeats, while 1,200 messages a heartbeat come in, and never takes an RPC, so that everything due
to it waits: what is remembered more than of a peer that is silent. Messages that wait in its queue
are part of it (`hostile_queue`). `gone_peer` is what is left of it some heartbeats after it went.
`message` is one of 300 bytes in the caches, `seen_id` what remains of it later. Counted by
`tracemalloc`.
"""

import argparse
import gc
import json
import tracemalloc
from collections.abc import Callable
from typing import Final

from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rpc import (
    MESSAGE_ID_BYTES_MAX,
    TOPIC_BYTES_MAX,
    IHave,
    Message,
    MessageId,
    Prune,
    Rpc,
    RpcReceived,
    RpcSent,
    Subscription,
    decode_rpc,
    encode_rpc,
)
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip import (
    HEARTBEAT,
    Gossip,
    GossipInput,
    GossipParameters,
    MessageValidated,
    ScoreParameters,
    SendRpc,
    Subscribed,
    Validate,
    Verdict,
)

TOPICS: Final = tuple(
    f"/gigmesh/0badcafe/{name}/1" for name in ("ads", "blocks", "votes", "a", "b")
)
PEERS: Final = 50
MESSAGES: Final = 1_200
"""A heartbeat: more than the queue to a peer takes."""
DATA_BYTES: Final = 300
ROUNDS: Final = 8
HOSTILE: Final = PeerId(b"a hostile peer")


class Subject:
    """A machine with its clock; well-behaved peers take every RPC at once."""

    def __init__(self) -> None:
        unjudged = GossipParameters(scores=ScoreParameters(enabled=False))
        self.gossip = Gossip(PeerId(b"me"), unjudged, b"seed")
        self._now_ms = 1_000_000
        self.said: list[MessageId] = []
        """What can be asked for."""
        for topic in TOPICS:
            self.step(Subscribed(topic))

    def step(self, item: GossipInput) -> None:
        """An input, and what follows of it."""
        items = [item]
        while items:
            for effect in self.gossip.step(items.pop(), Millis(self._now_ms)):
                if isinstance(effect, SendRpc) and effect.peer != HOSTILE:
                    items.append(RpcSent(effect.peer))
                elif isinstance(effect, Validate):
                    items.append(MessageValidated(effect.message_id, Verdict.ACCEPT))

    def receive(self, peer: PeerId, rpc: Rpc) -> None:
        """An RPC as it comes from the wire: nothing in it is shared with the sender's."""
        self.step(RpcReceived(peer, decode_rpc(encode_rpc(rpc))))

    def connect(self, peer: PeerId) -> None:
        """A peer of all our topics."""
        self.step(PeerConnected(peer, outbound=False, address=""))
        self.receive(peer, Rpc(tuple(Subscription(True, topic) for topic in TOPICS)))

    def say(self, peer: PeerId, first: int) -> None:
        """`MESSAGES` distinct messages of a peer."""
        self.said.clear()
        for number in range(first, first + MESSAGES):
            message = Message(TOPICS[0], name(number, DATA_BYTES))
            self.said.append(message.id)
            self.receive(peer, Rpc(publish=(message,)))

    def beat(self, count: int = 1) -> None:
        """Heartbeats."""
        for _ in range(count):
            self._beat()

    def _beat(self) -> None:
        self._now_ms += self.gossip.parameters.heartbeat_ms
        self.step(TimerFired(HEARTBEAT))


def growth(work: Callable[[], object]) -> int:
    """Bytes that are still allocated after some work, and were not before."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def name(number: int, size: int) -> bytes:
    """Distinct bytes of a length."""
    return number.to_bytes(8).ljust(size, b"\xaa")


def attack(subject: Subject, first: int) -> None:
    """A heartbeat's worth of everything that makes us remember something; numbers are new."""
    parameters = subject.gossip.parameters
    own = ["x" * (TOPIC_BYTES_MAX - 8) + f"{first + n:08}" for n in range(200)]
    subject.receive(HOSTILE, Rpc(tuple(Subscription(True, topic) for topic in own)))
    unknown = [
        MessageId(name(first + n, MESSAGE_ID_BYTES_MAX))
        for n in range(parameters.idontwant_ids_max + 1)
    ]
    subject.receive(HOSTILE, Rpc(idontwant=tuple(unknown)))
    few = [MessageId(one) for one in unknown[:16]]
    subject.receive(HOSTILE, Rpc(ihave=tuple(IHave(topic, tuple(few)) for topic in TOPICS)))
    offered = [MessageId(name(first + n, 20)) for n in range(2 * parameters.ihave_ids_max)]
    subject.receive(HOSTILE, Rpc(ihave=(IHave(TOPICS[0], tuple(offered)),)))
    subject.receive(HOSTILE, Rpc(graft=TOPICS))
    subject.receive(HOSTILE, Rpc(prune=tuple(Prune(topic, 10**6) for topic in TOPICS)))
    subject.receive(HOSTILE, Rpc(iwant=tuple(subject.said)))


def meet(subject: Subject, peers: list[PeerId]) -> None:
    """Peers that keep to every rule."""
    for peer in peers:
        subject.connect(peer)


def remembered(rounds: int, *, attacked: bool) -> tuple[int, int, int]:
    """Bytes that some busy heartbeats left, and that are left when the peer is gone; its queue."""
    subject, peer = Subject(), PeerId(b"a peer")
    subject.connect(peer)

    def live() -> None:
        subject.connect(HOSTILE)
        for number in range(rounds):
            subject.beat()
            subject.say(peer, MESSAGES * number)
            if attacked:
                attack(subject, 10_000 * (number + 1))

    def part() -> None:
        subject.step(PeerDisconnected(HOSTILE))
        subject.beat(6)

    here = growth(live)
    queue = max(one.outbox.bytes for one in subject.gossip._neighbours.all())
    return here, here + growth(part), queue


def measure(rounds: int) -> dict[str, int]:
    """All figures by name, in bytes."""
    tracemalloc.start()
    try:
        subject, peers = Subject(), [PeerId(b"peer %03d" % number) for number in range(PEERS)]
        subject.connect(peers[0])
        idle = growth(lambda: meet(subject, peers[1:]))
        cached = growth(lambda: subject.say(peers[1], 0))
        let_go = -growth(lambda: subject.beat(6))
        honest, after_honest, _ = remembered(rounds, attacked=False)
        hostile, after_hostile, queue = remembered(rounds, attacked=True)
        return {
            "idle_peer": idle // (PEERS - 1),
            "hostile_peer": hostile - honest,
            "hostile_queue": queue,
            "gone_peer": after_hostile - after_honest,
            "message": cached // MESSAGES,
            "seen_id": (cached - let_go) // MESSAGES,
        }
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="heartbeats of an attack")
    args = parser.parse_args()
    figures = measure(args.rounds)
    if args.json:
        print(json.dumps(figures))
    else:
        for key, value in figures.items():
            print(f"{key:16} {value:10,} bytes")


if __name__ == "__main__":
    main()

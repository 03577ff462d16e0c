"""GossipSub v1.1 as a pure machine.

    RpcReceived --id seen?--yes--> duplicate
                     |no
                     v
                 Validate --ACCEPT--> forwarded to the mesh, kept for IHAVE / IWANT
                     |----REJECT--> every sender penalised
                     +----IGNORE--> dropped

A message is known by a digest of topic and data, so duplicates cost one digest and one look-up.
What is seen for the first time goes to the verifier and is forwarded when the verdict comes; our
own messages leave at once. Everything due to a peer collects in its outbox. At the end of every
step (or `flush_ms` later) each peer that has no RPC in flight gets one RPC with as much as fits;
`RpcSent` asks for the next. The heartbeat keeps the meshes in shape, offers recent messages to
peers outside them, and forgets what is old.

The parts: `mesh` (who), `outbox` (when), `cache` and `validations` (what), `lazy` (repair). Scoring
has its place, not yet its numbers: `score` is asked wherever v1.1 compares a score to a threshold.

Source: libp2p specs, pubsub/gossipsub/gossipsub-v1.0.md and gossipsub-v1.1.md.
"""

from collections.abc import Iterable
from typing import Final, assert_never

import msgspec

from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rejection import Reason
from p2p.model.rpc import (
    TOPIC_BYTES_MAX,
    Message,
    Rpc,
    RpcReceived,
    RpcSent,
    SendRpc,
    Subscription,
)
from p2p.primitives.draws import Draws
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip.cache import MessageCache, SeenIds
from p2p.protocol.gossip.counters import GossipCounters
from p2p.protocol.gossip.interface import (
    GossipEffect,
    GossipInput,
    MessageValidated,
    Published,
    Started,
    Subscribed,
    Unsubscribed,
    Validate,
    Verdict,
)
from p2p.protocol.gossip.lazy import LazyGossip
from p2p.protocol.gossip.mesh import Mesh
from p2p.protocol.gossip.neighbours import Neighbour, Neighbours, Score
from p2p.protocol.gossip.outbox import Outbox
from p2p.protocol.gossip.parameters import GossipParameters
from p2p.protocol.gossip.validations import Validations

HEARTBEAT: Final = "gossip/heartbeat"
FLUSH: Final = "gossip/flush"


def no_score(_: PeerId) -> int:
    """The score of every peer while scoring is not in use."""
    return 0


class Gossip:
    """One node's gossip. `seed` decides its draws; `score` is what it thinks of a peer."""

    def __init__(
        self, me: PeerId, parameters: GossipParameters, seed: bytes, score: Score = no_score
    ) -> None:
        draws = Draws(b"gossip", seed, me)
        self.me = me
        self.parameters = parameters
        self._draws = draws
        self._counters = GossipCounters()
        self._seen = SeenIds(parameters)
        self._cache = MessageCache(parameters)
        self._validations = Validations(parameters)
        self._neighbours = Neighbours(parameters, draws, score)
        self._mesh = Mesh(parameters, self._neighbours)
        self._lazy = LazyGossip(
            parameters,
            self._neighbours,
            seen=self._seen,
            cache=self._cache,
            draws=draws,
            counters=self._counters,
        )
        self._flush_is_set = False

    # ---- to be read by anyone

    @property
    def counters(self) -> GossipCounters:
        """A copy of the totals so far."""
        return msgspec.structs.replace(self._counters, dropped=tuple(self._neighbours.dropped))

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that we subscribe to."""
        return tuple(self._mesh.topics())

    def mesh(self, topic: str) -> tuple[PeerId, ...]:
        """The mesh peers of a topic, in the order in which they joined."""
        return tuple(self._mesh.links(topic))

    def peers(self, topic: str) -> tuple[PeerId, ...]:
        """The connected peers that subscribe to a topic."""
        return tuple(self._neighbours.of_topic(topic))

    def score(self, peer: PeerId) -> int:
        """What this node thinks of a peer; below 0 it stays out of every mesh."""
        return self._neighbours.score(peer)

    def sizes(self) -> dict[str, int]:
        """How full every table is, by name; each has its bound in the parameters."""
        outboxes = [neighbour.outbox for neighbour in self._neighbours.all()]
        return {
            "seen": len(self._seen),
            "history_messages": len(self._cache),
            "history_bytes": self._cache.bytes,
            "validations": len(self._validations),
            "validation_bytes": self._validations.bytes,
            "wanted_ids": self._lazy.asked,
            "peers": len(self._neighbours),
            "topics": len(self._mesh),
            "fanout_topics": len(self._mesh.fanout_topics()),
            "backoffs": len(self._mesh.backoffs),
            "topics_per_peer": max((len(one.topics) for one in self._neighbours.all()), default=0),
            "queue_messages": max((outbox.messages for outbox in outboxes), default=0),
            "queue_bytes": max((outbox.bytes for outbox in outboxes), default=0),
        }

    # ---- the step

    def step(self, input_: GossipInput, now_ms: Millis) -> list[GossipEffect]:
        """Take one input in.

        Raises:
            ValueError: our own mistake: a message too large or a topic too many. Whatever peers do
                raises nothing.
        """
        effects: list[GossipEffect] = []
        match input_:
            case RpcReceived():
                neighbour = self._neighbours.get(input_.peer)
                if neighbour is not None:
                    self._receive(neighbour, input_.rpc, now_ms, effects)
            case RpcSent():
                neighbour = self._neighbours.get(input_.peer)
                if neighbour is not None:
                    neighbour.outbox.in_flight = False
                    self._send(neighbour.outbox, effects)
            case MessageValidated():
                self._judge(input_, effects)
            case Published():
                self._publish(Message(input_.topic, input_.data), now_ms)
            case TimerFired():
                self._fire(input_.key, now_ms, effects)
            case PeerConnected():
                self._connect(input_.peer, outbound=input_.outbound)
            case PeerDisconnected():
                gone = self._neighbours.get(input_.peer)
                if gone is not None:
                    self._mesh.forget(gone)
                    self._neighbours.disconnect(input_.peer)
            case Subscribed():
                self._subscribe(input_.topic, now_ms)
            case Unsubscribed():
                self._unsubscribe(input_.topic, now_ms)
            case Started():
                # Drawn, so that nodes that start together do not beat together.
                first_ms = 1 + self._draws.below(self.parameters.heartbeat_ms)
                effects.append(SetTimer(HEARTBEAT, Millis(now_ms + first_ms)))
            case _:
                assert_never(input_)
        if self._neighbours.waiting:
            self._flush_or_wait(now_ms, effects)
        return effects

    def _fire(self, key: str, now_ms: Millis, effects: list[GossipEffect]) -> None:
        if key == FLUSH:
            self._flush_is_set = False
            self._flush(effects)
        elif key == HEARTBEAT:
            for neighbour in self._neighbours.all():
                neighbour.ihave_rpcs = neighbour.ids_asked = neighbour.ids_wanted = 0
            self._seen.expire(now_ms)
            self._counters.expired += self._validations.expire(now_ms)
            self._mesh.maintain(now_ms)
            self._lazy.emit(self._mesh)
            effects.append(SetTimer(HEARTBEAT, Millis(now_ms + self.parameters.heartbeat_ms)))

    # ---- peers and topics

    def _connect(self, peer: PeerId, *, outbound: bool) -> None:
        if self._neighbours.get(peer) is not None:
            return
        neighbour = self._neighbours.connect(peer, outbound=outbound)
        if neighbour is None:
            self._counters.peers_refused += 1
            return
        # gossipsub v1.0: ambient peer discovery: the hello announces our topics
        for topic in self._mesh.topics():
            neighbour.outbox.add_subscription(topic, subscribe=True)

    def _subscribe(self, topic: str, now_ms: int) -> None:
        if topic in self._mesh:
            return
        if len(self._mesh) >= self.parameters.topics_max:
            raise ValueError(f"more than {self.parameters.topics_max} topics")
        _check_topic(topic)
        for neighbour in self._neighbours.all():
            neighbour.outbox.add_subscription(topic, subscribe=True)
        self._mesh.join(topic, now_ms)

    def _unsubscribe(self, topic: str, now_ms: int) -> None:
        if topic not in self._mesh:
            return
        for neighbour in self._neighbours.all():
            neighbour.outbox.add_subscription(topic, subscribe=False)
        self._mesh.leave(topic, now_ms)

    # ---- what a peer sends

    def _receive(
        self, neighbour: Neighbour, rpc: Rpc, now_ms: int, effects: list[GossipEffect]
    ) -> None:
        score = self._neighbours.score(neighbour.peer)
        if score < self.parameters.graylist_threshold:
            return  # gossipsub v1.1: graylist: all RPCs of the peer are ignored
        faults: dict[Reason, str] = {}
        if rpc.subscriptions:
            self._note_subscriptions(neighbour, rpc.subscriptions, faults)
        for message in rpc.publish:
            self._receive_message(neighbour, message, now_ms, faults, effects)
        if faults:
            effects += [Penalize(neighbour.peer, *fault) for fault in faults.items()]
        if score >= self.parameters.gossip_threshold:
            if rpc.ihave:
                self._lazy.offered(neighbour, rpc.ihave, self._mesh)
            if rpc.iwant:
                self._lazy.wanted(neighbour, rpc.iwant, effects)
        # One entry a topic counts, however often it is repeated.
        if rpc.graft:
            for topic in dict.fromkeys(rpc.graft):
                self._mesh.grafted(topic, neighbour, now_ms, effects)
        if rpc.prune:
            for prune in {prune.topic: prune for prune in rpc.prune}.values():
                self._mesh.pruned(prune, neighbour, now_ms, effects)

    def _note_subscriptions(
        self,
        neighbour: Neighbour,
        subscriptions: Iterable[Subscription],
        faults: dict[Reason, str],
    ) -> None:
        for subscription in subscriptions:
            if not subscription.subscribe:
                self._mesh.forget_in(subscription.topic, neighbour)
                self._neighbours.unsubscribe(neighbour, subscription.topic)
            elif not self._neighbours.subscribe(neighbour, subscription.topic):
                faults[Reason.TOO_MANY] = "topics"

    def _receive_message(
        self,
        neighbour: Neighbour,
        message: Message,
        now_ms: int,
        faults: dict[Reason, str],
        effects: list[GossipEffect],
    ) -> None:
        self._counters.received += 1
        if message.topic not in self._mesh:
            self._counters.unwanted += 1
        elif message.signed:
            # pubsub README: StrictNoSign: author, seqno, signature and key must be absent
            self._counters.invalid += 1
            faults[Reason.MALFORMED] = "a signed message under StrictNoSign"
        elif len(message.data) > self.parameters.message_bytes_max:
            self._counters.invalid += 1
            faults[Reason.TOO_LARGE] = f"a message of {len(message.data)} bytes"
        elif message.id in self._seen or message.id in self._validations:
            self._receive_again(neighbour, message, faults)
        elif not self._validations.has_room(message, neighbour):
            # Not marked as seen: it may come again when there is room.
            self._counters.throttled += 1
        else:
            self._seen.add(message.id, now_ms)
            self._validations.add(message, neighbour, now_ms)
            effects.append(Validate(message.id, message.topic, message.data, neighbour.peer))

    def _receive_again(
        self, neighbour: Neighbour, message: Message, faults: dict[Reason, str]
    ) -> None:
        if self._seen.is_rejected(message.id):
            # gossipsub v1.1: invalid messages count against everyone who sends them
            self._counters.invalid += 1
            faults[Reason.MALFORMED] = "a message that was found false before"
            return
        self._counters.duplicates += 1
        neighbour.outbox.forget_message(message)
        pending = self._validations.get(message.id)
        if pending is not None:
            pending.senders[neighbour.peer] = None

    def _judge(self, verdict: MessageValidated, effects: list[GossipEffect]) -> None:
        pending = self._validations.pop(verdict.message_id)
        if pending is None:
            return  # too late, or published by ourselves meanwhile
        match verdict.verdict:
            case Verdict.ACCEPT:
                self._counters.delivered += 1
                message = pending.message
                if message.topic in self._mesh:
                    self._cache.put(message)
                    # gossipsub v1.0: message processing: to the mesh, not back to who sent it
                    for peer, neighbour in self._mesh.links(message.topic).items():
                        if peer not in pending.senders:
                            neighbour.outbox.add_message(message)
            case Verdict.REJECT:
                self._counters.invalid += 1
                self._seen.reject(verdict.message_id)
                effects += [Penalize(peer, verdict.reason) for peer in pending.senders]
            case Verdict.IGNORE:
                self._counters.ignored += 1
            case _:
                assert_never(verdict.verdict)

    # ---- what we send

    def _publish(self, message: Message, now_ms: int) -> None:
        """Our own message. Saying it again while neighbours are still offered it does nothing."""
        if len(message.data) > self.parameters.message_bytes_max:
            raise ValueError(f"a message of {len(message.data)} bytes is too large to publish")
        _check_topic(message.topic)
        if message.id in self._cache:
            return
        self._validations.pop(message.id)  # it came from others too: our word is the verdict
        if message.id not in self._seen:
            self._seen.add(message.id, now_ms)
        self._cache.put(message)
        self._counters.published += 1
        if len(message.data) <= self.parameters.flood_bytes_max:
            # gossipsub v1.1: flood publishing
            threshold = self.parameters.publish_threshold
            for peer, neighbour in self._neighbours.of_topic(message.topic).items():
                if self._neighbours.score(peer) >= threshold:
                    neighbour.outbox.add_message(message)
        else:
            for neighbour in self._mesh.publish_peers(message.topic, now_ms):
                neighbour.outbox.add_message(message)

    def _flush_or_wait(self, now_ms: int, effects: list[GossipEffect]) -> None:
        if not self.parameters.flush_ms:
            self._flush(effects)
        elif not self._flush_is_set:
            self._flush_is_set = True
            effects.append(SetTimer(FLUSH, Millis(now_ms + self.parameters.flush_ms)))

    def _flush(self, effects: list[GossipEffect]) -> None:
        """One RPC to every peer that has something due and none in flight."""
        for outbox in self._neighbours.waiting.values():
            if not outbox.in_flight:
                self._send(outbox, effects)
        self._neighbours.waiting.clear()

    def _send(self, outbox: Outbox, effects: list[GossipEffect]) -> None:
        rpc = outbox.take()
        if rpc is not None:
            outbox.in_flight = True
            self._counters.rpcs_sent += 1
            effects.append(SendRpc(outbox.peer, rpc))


def _check_topic(topic: str) -> None:
    if not 0 < len(topic.encode()) <= TOPIC_BYTES_MAX:
        raise ValueError(f"a topic's name has 1 to {TOPIC_BYTES_MAX} bytes of UTF-8")

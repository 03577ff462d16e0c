"""GossipSub v1.1, with IDONTWANT of v1.2, as a pure machine.

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

The parts: `incoming` (what peers send), `mesh` (who), `outbox` (when), `cache` and `validations`
(what), `lazy` and `promises` (repair), `scores` (who is worth it). docs/gossip.md tells the rest.

Source: libp2p specs, pubsub/gossipsub/gossipsub-v1.0.md, gossipsub-v1.1.md, gossipsub-v1.2.md.
"""

from typing import Final, assert_never

import msgspec

from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rejection import Reason
from p2p.model.rpc import TOPIC_BYTES_MAX, Message, RpcReceived, RpcSent, SendRpc
from p2p.primitives.draws import Draws
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip.cache import MessageCache, SeenIds
from p2p.protocol.gossip.counters import GossipCounters
from p2p.protocol.gossip.incoming import Incoming, Parts
from p2p.protocol.gossip.interface import (
    GossipEffect,
    GossipInput,
    MessageValidated,
    PeerRated,
    Published,
    Started,
    Subscribed,
    Unsubscribed,
)
from p2p.protocol.gossip.lazy import LazyGossip
from p2p.protocol.gossip.mesh import Mesh
from p2p.protocol.gossip.muteness import Muteness
from p2p.protocol.gossip.neighbours import Neighbours
from p2p.protocol.gossip.outbox import Outbox
from p2p.protocol.gossip.parameters import GossipParameters
from p2p.protocol.gossip.scores import ScoreReport, Scores
from p2p.protocol.gossip.validations import Validations

HEARTBEAT: Final = "gossip/heartbeat"
FLUSH: Final = "gossip/flush"
TIDY_HEARTBEATS: Final = 64
"""Between looks for scores' records that decayed to nothing."""


class Gossip:
    """One node's gossip. `seed` decides its draws."""

    def __init__(self, me: PeerId, parameters: GossipParameters, seed: bytes) -> None:
        draws = Draws(b"gossip", seed, me)
        self.me = me
        self.parameters = parameters
        self._draws = draws
        self._counters = GossipCounters()
        self._seen = SeenIds(parameters)
        self._cache = MessageCache(parameters)
        self._validations = Validations(parameters)
        self._scores = Scores(parameters)
        self._neighbours = Neighbours(parameters, draws, self._scores)
        self._mesh = Mesh(parameters, self._neighbours, self._counters)
        self._lazy = LazyGossip(
            parameters,
            self._neighbours,
            seen=self._seen,
            cache=self._cache,
            draws=draws,
            counters=self._counters,
        )
        self._muteness = Muteness(parameters, self._neighbours, self._mesh, self._cache)
        self._incoming = Incoming(
            Parts(
                parameters=parameters,
                counters=self._counters,
                neighbours=self._neighbours,
                mesh=self._mesh,
                lazy=self._lazy,
                seen=self._seen,
                cache=self._cache,
                validations=self._validations,
            )
        )
        self._beat_ms: int | None = None
        """When the last heartbeat was."""
        self._flush_is_set = False
        self._patient_ms = 0
        """When messages that wait for company leave next."""

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

    def score(self, peer: PeerId) -> float:
        """What this node thinks of a peer, connected or not; below 0 it stays out of every mesh."""
        neighbour = self._neighbours.get(peer)
        standing = neighbour.standing if neighbour else self._scores.remembered(peer)
        return 0.0 if standing is None else self._scores.fresh(standing)

    def rating(self, peer: PeerId) -> float:
        """What the application thinks of a peer by now (P5), in points."""
        neighbour = self._neighbours.get(peer)
        standing = neighbour.standing if neighbour else self._scores.remembered(peer)
        return 0.0 if standing is None else self._scores.rating(standing)

    def score_report(self, peer: PeerId) -> ScoreReport | None:
        """The score of a connected peer and its parts; None for others."""
        neighbour = self._neighbours.get(peer)
        return None if neighbour is None else self._scores.report(neighbour.standing)

    def connected(self) -> tuple[PeerId, ...]:
        """Every connected peer, in the order in which they came."""
        return tuple(neighbour.peer for neighbour in self._neighbours.all())

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
            "promises": len(self._lazy.promises),
            "retained_scores": self._scores.retained,
            "unwanted_ids": max((len(one.unwanted) for one in self._neighbours.all()), default=0),
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
                    self._incoming.receive(neighbour, input_.rpc, now_ms, effects)
            case RpcSent():
                neighbour = self._neighbours.get(input_.peer)
                if neighbour is not None:
                    neighbour.outbox.in_flight = False
                    self._send(neighbour.outbox, effects)
            case MessageValidated():
                self._incoming.judge(input_, now_ms, effects)
            case Published():
                self._publish(Message(input_.topic, input_.data), now_ms)
            case TimerFired():
                self._fire(input_.key, now_ms, effects)
            case PeerConnected() | PeerDisconnected() | PeerRated():
                self._note_peer(input_, now_ms)
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
        if self._incoming.declining:
            self._decline(effects)
        if self._neighbours.waiting or self._neighbours.patient:
            self._flush_or_wait(now_ms, effects)
        return effects

    def _fire(self, key: str, now_ms: Millis, effects: list[GossipEffect]) -> None:
        if key == FLUSH:
            self._flush_is_set = False
            self._flush(effects)
        elif key == HEARTBEAT:
            self._beat(now_ms, effects)
            effects.append(SetTimer(HEARTBEAT, Millis(now_ms + self.parameters.heartbeat_ms)))

    def _beat(self, now_ms: Millis, effects: list[GossipEffect]) -> None:
        """Gossipsub v1.0: heartbeat; v1.1: with scores brought to now before they are used."""
        parameters = self.parameters
        self._scores.beat(now_ms)
        if self._beat_ms is not None:
            late_ms = now_ms - self._beat_ms - parameters.heartbeat_ms
            if late_ms >= parameters.heartbeat_ms:
                self._lazy.promises.postpone(late_ms)
        self._beat_ms = now_ms
        self._lazy.hold_to_promises(now_ms)
        self._neighbours.beat(self._cache.window - parameters.idontwant_heartbeats)
        # Whom we do not listen to needs no connection either.
        effects += [
            Penalize(peer, Reason.GRAYLISTED)
            for peer, neighbour in self._neighbours.poor.items()
            if self._neighbours.score(neighbour) < parameters.scores.graylist_threshold
        ]
        self._seen.expire(now_ms)
        self._counters.expired += self._validations.expire(now_ms)
        self._muteness.beat(now_ms)
        self._mesh.maintain(now_ms)
        self._lazy.emit(self._mesh)
        if self._cache.window % TIDY_HEARTBEATS == 0:
            for neighbour in self._neighbours.all():
                self._scores.tidy(neighbour.standing)

    # ---- peers and topics

    def _note_peer(
        self, news: PeerConnected | PeerDisconnected | PeerRated, now_ms: Millis
    ) -> None:
        neighbour = self._neighbours.get(news.peer)
        match news:
            case PeerConnected():
                self._connect(news.peer, news.address, outbound=news.outbound)
            case PeerDisconnected():
                if neighbour is not None:
                    self._mesh.forget(neighbour)
                    self._neighbours.disconnect(news.peer, now_ms)
            case PeerRated():
                # gossipsub v1.1: P5, also of a peer that left
                standing = neighbour.standing if neighbour else self._scores.remembered(news.peer)
                if standing is not None:
                    self._scores.rated(standing, news.points)
            case _:
                assert_never(news)

    def _connect(self, peer: PeerId, address: str, *, outbound: bool) -> None:
        if self._neighbours.get(peer) is not None:
            return
        neighbour = self._neighbours.connect(peer, address, outbound=outbound)
        if neighbour is None:
            self._counters.peers_refused += 1
            return
        # gossipsub v1.0: ambient peer discovery: the hello announces our topics
        for topic in self._mesh.topics():
            neighbour.outbox.add_subscription(topic, subscribe=True)

    def _subscribe(self, topic: str, now_ms: int) -> None:
        if self._mesh.has(topic):
            return
        if len(self._mesh) >= self.parameters.topics_max:
            raise ValueError(f"more than {self.parameters.topics_max} topics")
        _check_topic(topic)
        for neighbour in self._neighbours.all():
            neighbour.outbox.add_subscription(topic, subscribe=True)
        self._mesh.join(topic, now_ms)

    def _unsubscribe(self, topic: str, now_ms: int) -> None:
        if not self._mesh.has(topic):
            return
        for neighbour in self._neighbours.all():
            neighbour.outbox.add_subscription(topic, subscribe=False)
        self._mesh.leave(topic, now_ms)

    # ---- what we send

    def _publish(self, message: Message, now_ms: int) -> None:
        """Our own message. Saying it again while neighbours are still offered it does nothing."""
        if len(message.data) > self.parameters.message_bytes_max:
            raise ValueError(f"a message of {len(message.data)} bytes is too large to publish")
        _check_topic(message.topic)
        if message.id in self._cache:
            return
        self._validations.pop(message.id)  # it came from others too: our word is the verdict
        if not self._seen.has(message.id):
            self._seen.add(message.id, now_ms)
        self._cache.put(message)
        self._counters.published += 1
        if len(message.data) <= self.parameters.flood_bytes_max:
            # gossipsub v1.1: flood publishing
            threshold = self.parameters.scores.publish_threshold
            for neighbour in self._neighbours.of_topic(message.topic).values():
                if self._neighbours.score(neighbour) >= threshold:
                    neighbour.outbox.add_message(message)
        else:
            for neighbour in self._mesh.publish_peers(message.topic, now_ms):
                neighbour.outbox.add_message(message)
            for neighbour in self._neighbours.direct.values():
                if message.topic in neighbour.topics:
                    neighbour.outbox.add_message(message)

    def _flush_or_wait(self, now_ms: int, effects: list[GossipEffect]) -> None:
        if self._neighbours.patient:
            self._gather(now_ms, effects)
        if not self._neighbours.waiting:
            return
        if not self.parameters.flush_ms:
            self._flush(effects)
        elif not self._flush_is_set:
            self._flush_is_set = True
            effects.append(SetTimer(FLUSH, Millis(now_ms + self.parameters.flush_ms)))

    def _gather(self, now_ms: int, effects: list[GossipEffect]) -> None:
        """Let what waits for company leave if it is time, else see to it that it will."""
        neighbours = self._neighbours
        if now_ms >= self._patient_ms:
            neighbours.waiting.update(neighbours.patient)
            neighbours.patient.clear()
            self._patient_ms = now_ms + self.parameters.patience_ms
        elif not self._flush_is_set:
            self._flush_is_set = True
            effects.append(SetTimer(FLUSH, Millis(self._patient_ms)))

    def _decline(self, effects: list[GossipEffect]) -> None:
        """Gossipsub v1.2: IDONTWANT leaves at once."""
        for neighbour in self._incoming.declining:
            if not neighbour.outbox.in_flight:
                self._neighbours.waiting.pop(neighbour.peer, None)
                self._send(neighbour.outbox, effects)
        self._incoming.declining.clear()

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

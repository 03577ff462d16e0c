"""What peers send: RPCs taken apart, messages told new from old, verdicts carried out.

Every message is looked up by its id before anything else. A new one goes to the verifier, one at a
time and bounded; forwarding waits for the verdict. What a peer's messages were worth goes to its
score: the first to bring a good one, those who brought it nearly as soon, and all who brought a
false one.
"""

from collections.abc import Iterable
from typing import assert_never

import msgspec

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import Message, MessageId, Rpc, Subscription
from p2p.primitives.units import PeerId
from p2p.protocol.gossip.cache import MessageCache, SeenIds
from p2p.protocol.gossip.counters import GossipCounters
from p2p.protocol.gossip.interface import GossipEffect, MessageValidated, Validate, Verdict
from p2p.protocol.gossip.lazy import LazyGossip
from p2p.protocol.gossip.mesh import Mesh
from p2p.protocol.gossip.neighbours import Neighbour, Neighbours
from p2p.protocol.gossip.parameters import GossipParameters
from p2p.protocol.gossip.validations import Pending, Validations


class Parts(msgspec.Struct, frozen=True):
    """The parts of a machine that what comes in concerns."""

    parameters: GossipParameters
    counters: GossipCounters
    neighbours: Neighbours
    mesh: Mesh
    lazy: LazyGossip
    seen: SeenIds
    cache: MessageCache
    validations: Validations


class Incoming:
    """Takes in RPCs and verdicts."""

    __slots__ = (
        "_cache",
        "_counters",
        "_lazy",
        "_mesh",
        "_neighbours",
        "_parameters",
        "_scores",
        "_seen",
        "_validations",
        "declining",
    )

    def __init__(self, parts: Parts) -> None:
        self._parameters = parts.parameters
        self._counters = parts.counters
        self._neighbours = parts.neighbours
        self._scores = parts.neighbours.scores
        self._mesh = parts.mesh
        self._lazy = parts.lazy
        self._seen = parts.seen
        self._cache = parts.cache
        self._validations = parts.validations
        self.declining: list[Neighbour] = []
        """Whom IDONTWANT is due to; it is not held back for company."""

    # ---- RPCs

    def receive(
        self, neighbour: Neighbour, rpc: Rpc, now_ms: int, effects: list[GossipEffect]
    ) -> None:
        """Take in what a peer sent."""
        standing = neighbour.standing
        is_fresh = standing.score_tick >= self._scores.tick
        score = standing.score if is_fresh else self._scores.of(standing)
        thresholds = self._parameters.scores
        if score < thresholds.graylist_threshold:
            # gossipsub v1.1: score thresholds: all RPCs of a graylisted peer are ignored
            self._counters.graylisted += 1
            return
        faults: dict[Reason, str] = {}
        if rpc.subscriptions:
            self._note_subscriptions(neighbour, rpc.subscriptions, faults)
        for message in rpc.publish:
            self._receive_message(neighbour, message, now_ms, faults, effects)
        if faults:
            effects += [Penalize(neighbour.peer, *fault) for fault in faults.items()]
        has_gossip = score >= thresholds.gossip_threshold
        if rpc.ihave and has_gossip:
            self._lazy.offered(neighbour, rpc.ihave, self._mesh, now_ms)
        if rpc.iwant:
            self._lazy.wanted(neighbour, rpc.iwant, effects, is_served=has_gossip)
        # One entry a topic counts, however often it is repeated.
        if rpc.graft:
            for topic in dict.fromkeys(rpc.graft):
                self._mesh.grafted(topic, neighbour, now_ms, effects)
        if rpc.prune:
            for prune in {prune.topic: prune for prune in rpc.prune}.values():
                self._mesh.pruned(prune, neighbour, now_ms, effects)
        if rpc.idontwant:
            self._note_unwanted(neighbour, rpc.idontwant)

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

    def _note_unwanted(self, neighbour: Neighbour, ids: tuple[MessageId, ...]) -> None:
        """Gossipsub v1.2: IDONTWANT, up to max_idontwant_messages a heartbeat."""
        self._counters.idontwant_received += len(ids)
        room = self._parameters.idontwant_ids_max - neighbour.unwanted_named
        neighbour.unwanted_named += len(ids)
        self._neighbours.busy[neighbour.peer] = neighbour
        if len(ids) > room:
            self._scores.misbehaved(neighbour.standing)
            ids = ids[: max(0, room)]
        unwanted, window = neighbour.unwanted, self._cache.window
        for message_id in ids:
            neighbour.outbox.forget_id(message_id)
            if len(unwanted) >= self._parameters.idontwant_ids_max:
                del unwanted[next(iter(unwanted))]
            unwanted[message_id] = window

    # ---- messages

    def _receive_message(
        self,
        neighbour: Neighbour,
        message: Message,
        now_ms: int,
        faults: dict[Reason, str],
        effects: list[GossipEffect],
    ) -> None:
        self._counters.received += 1
        message_id = message.id
        if not self._mesh.has(message.topic):
            self._counters.unwanted += 1
            return
        neighbour.spoke[message.topic] = None
        if message.signed:
            # pubsub README: StrictNoSign: author, seqno, signature and key must be absent
            self._blame(neighbour, message.topic)
            faults[Reason.MALFORMED] = "a signed message under StrictNoSign"
        elif len(message.data) > self._parameters.message_bytes_max:
            self._blame(neighbour, message.topic)
            faults[Reason.TOO_LARGE] = f"a message of {len(message.data)} bytes"
        elif self._seen.has(message_id) or self._validations.get(message_id) is not None:
            self._receive_again(neighbour, message, now_ms, faults)
        elif not self._validations.has_room(message, neighbour):
            # Not marked as seen: it may come again when there is room.
            self._counters.throttled += 1
            self._lazy.came(message_id)
        else:
            self._seen.add(message_id, now_ms)
            self._validations.add(message, neighbour, now_ms)
            self._lazy.came(message_id)
            effects.append(Validate(message_id, message.topic, message.data, neighbour.peer))
            if len(message.data) >= self._parameters.idontwant_bytes:
                self._decline_copies(message, neighbour)

    def _blame(self, neighbour: Neighbour, topic: str) -> None:
        """Gossipsub v1.1: P4."""
        self._counters.invalid += 1
        self._scores.delivered_invalid(neighbour.standing, topic)

    def _decline_copies(self, message: Message, source: Neighbour) -> None:
        """Gossipsub v1.2: IDONTWANT to the mesh at the first sight of a large message."""
        for neighbour in self._mesh.links(message.topic).values():
            if neighbour is not source:
                self._counters.idontwant_sent += 1
                neighbour.outbox.add_idontwant(message.id)
                self.declining.append(neighbour)

    def _receive_again(
        self, neighbour: Neighbour, message: Message, now_ms: int, faults: dict[Reason, str]
    ) -> None:
        message_id = message.id
        if message_id in self._seen.rejected:
            # gossipsub v1.1: invalid messages count against everyone who sends them
            self._blame(neighbour, message.topic)
            faults[Reason.MALFORMED] = "a message that was found false before"
            return
        self._counters.duplicates += 1
        if neighbour.outbox.messages:
            neighbour.outbox.forget_message(message)
        pending = self._validations.get(message_id)
        if pending is not None:
            pending.senders[neighbour.peer] = None
        elif self._cache.is_near_first(neighbour.peer, message_id, now_ms):
            # gossipsub v1.1: P3: near-first deliveries
            self._scores.delivered_too(neighbour.standing, message.topic)

    # ---- verdicts

    def judge(self, verdict: MessageValidated, now_ms: int, effects: list[GossipEffect]) -> None:
        """Carry out what the verifier said of a message."""
        pending = self._validations.pop(verdict.message_id)
        if pending is None:
            return  # too late, or published by ourselves meanwhile
        match verdict.verdict:
            case Verdict.ACCEPT:
                self._counters.delivered += 1
                if self._mesh.has(pending.message.topic):
                    self._reward(pending)
                    self._forward(pending, now_ms)
            case Verdict.REJECT:
                # gossipsub v1.1: extended validators: P4 for all who sent it
                self._counters.invalid += 1
                self._seen.reject(verdict.message_id)
                for peer in pending.senders:
                    self._blame_sender(peer, pending.message.topic)
                effects += [Penalize(peer, verdict.reason) for peer in pending.senders]
            case Verdict.IGNORE:
                self._counters.ignored += 1
            case _:
                assert_never(verdict.verdict)

    def _reward(self, pending: Pending) -> None:
        """Gossipsub v1.1: P2 for the first, P3 for all who sent it until now."""
        topic = pending.message.topic
        self._scores.observed(topic)
        self._scores.delivered_first(pending.first.standing, topic)
        if len(pending.senders) > 1:
            links = self._mesh.links(topic)
            for peer in pending.senders:
                link = links.get(peer)
                if link is not None and link is not pending.first:
                    self._scores.delivered_too(link.standing, topic)

    def _blame_sender(self, peer: PeerId, topic: str) -> None:
        connected = self._neighbours.get(peer)
        standing = connected.standing if connected else self._scores.remembered(peer)
        if standing is not None:
            self._scores.delivered_invalid(standing, topic)

    def _forward(self, pending: Pending, now_ms: int) -> None:
        """Gossipsub v1.0: message processing: to the mesh, not back to who sent it."""
        message, senders = pending.message, pending.senders
        window_ms = self._parameters.scores.of(message.topic).mesh_deliveries_window_ms
        for peer, neighbour in self._mesh.links(message.topic).items():
            # gossipsub v1.2: nor to whoever said that it has it
            if peer not in senders and message.id not in neighbour.unwanted:
                neighbour.outbox.add_message(message)
        for neighbour in self._neighbours.direct.values():
            # gossipsub v1.1: explicit peering agreements
            if neighbour.peer not in senders and message.topic in neighbour.topics:
                neighbour.outbox.add_message(message)
        self._cache.put(message, senders, now_ms + window_ms)

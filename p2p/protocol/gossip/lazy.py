"""Lazy gossip: what the mesh lost is offered by id and fetched on demand.

At every heartbeat some peers outside the mesh hear which messages we have (IHAVE); a peer that
lacks one asks for it (IWANT) and is sent it. This heals whatever queues dropped, links lost and
churn missed. Every answer is bounded per peer and heartbeat: asking costs the asker more than us.

Source: libp2p specs, gossipsub v1.0 (control messages, gossip emission) and v1.1 (adaptive gossip
dissemination, spam protection measures).
"""

from collections.abc import Mapping, Set
from typing import Final

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import MESSAGE_ID_BYTES, IHave, MessageId
from p2p.primitives.draws import Draws
from p2p.primitives.units import PeerId
from p2p.protocol.gossip.cache import MessageCache, SeenIds
from p2p.protocol.gossip.counters import GossipCounters
from p2p.protocol.gossip.interface import GossipEffect
from p2p.protocol.gossip.mesh import Mesh
from p2p.protocol.gossip.neighbours import Neighbour, Neighbours
from p2p.protocol.gossip.parameters import GossipParameters
from p2p.protocol.gossip.promises import Promises

OFFERED_MAX: Final = 16
"""Ids of a peer's offer that are remembered: in a quiet topic offers are most of the traffic."""


class LazyGossip:
    """IHAVE and IWANT, both ways."""

    __slots__ = (
        "_asked",
        "_cache",
        "_counters",
        "_draws",
        "_neighbours",
        "_parameters",
        "_seen",
        "promises",
    )

    def __init__(
        self,
        parameters: GossipParameters,
        neighbours: Neighbours,
        *,
        seen: SeenIds,
        cache: MessageCache,
        draws: Draws,
        counters: GossipCounters,
    ) -> None:
        self._parameters = parameters
        self._neighbours = neighbours
        self._seen = seen
        self._cache = cache
        self._draws = draws
        self._counters = counters
        self.promises = Promises(parameters, draws)
        self._asked: dict[MessageId, int] = {}
        """How many peers we asked for an id in this heartbeat."""

    @property
    def asked(self) -> int:
        """Distinct ids asked for in this heartbeat."""
        return len(self._asked)

    # ---- we lack something

    def offered(
        self, neighbour: Neighbour, ihaves: tuple[IHave, ...], mesh: Mesh, now_ms: int
    ) -> None:
        """A peer offers messages: ask for those that we have not seen, within the limits."""
        neighbour.ihave_rpcs += 1
        self._neighbours.busy[neighbour.peer] = neighbour
        # gossipsub v1.1: spam protection: IHAVE messages per heartbeat, then ids per heartbeat
        if neighbour.ihave_rpcs > self._parameters.ihave_rpcs_max:
            self._counters.ihave_ignored += 1
            return
        room = self._parameters.ihave_ids_max - neighbour.ids_asked
        if room <= 0:
            return
        wanted: dict[MessageId, None] = {}
        for ihave in ihaves:
            self._counters.ihave_received += len(ihave.ids)
            if mesh.has(ihave.topic):
                neighbour.spoke[ihave.topic] = None
                if len(ihave.ids) <= OFFERED_MAX:
                    neighbour.offered[ihave.topic] = ihave.ids
                for message_id in self._seen.lacks(ihave.ids):
                    if self._may_ask(message_id):
                        wanted[message_id] = None
        if not wanted:
            return
        # Drawn when there are too many, so that one peer does not choose what we never see.
        ids = list(wanted) if len(wanted) <= room else self._draws.sample(wanted, room)
        for message_id in ids:
            self._asked[message_id] = self._asked.get(message_id, 0) + 1
        neighbour.ids_asked += len(ids)
        self._counters.iwant_sent += len(ids)
        neighbour.outbox.add_iwant(ids)
        self.promises.made(neighbour.standing, ids, now_ms)

    def came(self, message_id: MessageId) -> None:
        """A message came: whoever promised it has kept its word, or does not need to."""
        if self.promises:
            self.promises.kept(message_id)

    def hold_to_promises(self, now_ms: int) -> None:
        """Gossipsub v1.1: spam protection: broken promises are misbehaviour (P7)."""
        for standing, count in self.promises.broken(now_ms):
            self._counters.promises_broken += count
            self._neighbours.scores.misbehaved(standing, float(count))

    def _may_ask(self, message_id: MessageId) -> bool:
        """Ids of another length are not ours; of ours, few peers are asked at once."""
        times = self._asked.get(message_id)
        if times is None:
            has_room = len(self._asked) < self._parameters.wanted_ids_max
            return has_room and len(message_id) == MESSAGE_ID_BYTES
        return times < self._parameters.iwant_peers_max

    # ---- a peer lacks something

    def wanted(
        self,
        neighbour: Neighbour,
        ids: tuple[MessageId, ...],
        effects: list[GossipEffect],
        *,
        is_served: bool,
    ) -> None:
        """A peer asks for messages: queue those that are still kept, within the limits.

        Who is not served, being below the gossip threshold, is held to the limits all the same.
        Else a flooder would rest there, neither heard nor shown out.
        """
        room = self._parameters.iwant_ids_max - neighbour.ids_wanted
        self._counters.iwant_received += len(ids)
        neighbour.ids_wanted += len(ids)
        self._neighbours.busy[neighbour.peer] = neighbour
        if len(ids) > room:
            self._neighbours.scores.misbehaved(neighbour.standing)
            effects.append(Penalize(neighbour.peer, Reason.TOO_MANY, "ids in IWANT"))
            ids = ids[: max(0, room)]
        again = 0
        for message_id in dict.fromkeys(ids):
            message = self._cache.get_for(neighbour.peer, message_id)
            if message is None:
                again += message_id in self._cache
            elif is_served:
                self._counters.iwant_served += 1
                neighbour.outbox.add_message(message)
        if again:
            # gossipsub v1.1: retransmissions are limited; beyond, asking is misbehaviour
            self._neighbours.scores.misbehaved(neighbour.standing)

    # ---- the heartbeat

    def emit(self, mesh: Mesh) -> None:
        """Offer each topic's recent messages to some peers, outside its mesh if possible."""
        # gossipsub v1.0: gossip emission, for each topic in mesh + fanout
        for topic in mesh.topics():
            self._emit_topic(topic, mesh.links(topic).keys())
        for topic in mesh.fanout_topics():
            self._emit_topic(topic, mesh.fanout(topic).keys())
        self._cache.shift()
        self._asked.clear()

    def _emit_topic(self, topic: str, inside: Set[PeerId]) -> None:
        ids = self._cache.gossip_ids(topic)
        if not ids:
            return
        able = self._able(topic)
        others = [neighbour for peer, neighbour in able.items() if peer not in inside]
        # gossipsub v1.1: adaptive gossip dissemination
        share = len(others) * self._parameters.gossip_percent // 100
        count = max(self._parameters.degree_lazy, share)
        chosen = self._neighbours.draw(others, count)
        # Beyond the specification: where few are outside, the mesh hears offers too. Else a small
        # network, which is all mesh, could not repair what a full queue dropped.
        if len(chosen) < count:
            members = [neighbour for peer, neighbour in able.items() if peer in inside]
            chosen = chosen + self._neighbours.draw(members, count - len(chosen))
        ids_max = self._parameters.ihave_ids_max
        offer = IHave(topic, tuple(ids[:ids_max]))
        window, newest = self._cache.window, self._cache.newest(topic)
        for neighbour in chosen:
            told = neighbour.told.get(topic, -1)
            neighbour.told[topic] = window
            if len(ids) > ids_max:
                # Other ones for every peer: together the peers hear of all.
                offer = IHave(topic, tuple(self._draws.sample(ids, ids_max)))
            elif told >= newest or _offered_all(neighbour, topic, offer.ids):
                # Beyond the specification: nothing in it is new to the peer. It heard of all by us
                # at an earlier heartbeat, or has just offered all of it itself.
                continue
            self._counters.ihave_sent += len(offer.ids)
            neighbour.outbox.add_ihave(offer)

    def _able(self, topic: str) -> Mapping[PeerId, Neighbour]:
        """Who may hear offers of a topic: explicit peers hear all anyway."""
        neighbours = self._neighbours
        able = neighbours.of_topic(topic)
        if not (neighbours.direct or neighbours.poor):
            return able
        threshold = self._parameters.scores.gossip_threshold
        return {
            peer: neighbour
            for peer, neighbour in able.items()
            if peer not in neighbours.direct and neighbours.score(neighbour) >= threshold
        }


def _offered_all(neighbour: Neighbour, topic: str, ids: tuple[MessageId, ...]) -> bool:
    offered = neighbour.offered.get(topic)
    return offered is not None and set(offered).issuperset(ids)

"""The mesh: for each of our topics, the few peers that get every message at once.

    outside --GRAFT sent or accepted--> in the mesh --PRUNE sent or received--> backoff --> outside

Both ends keep the link or neither: whoever takes a peer in says GRAFT, whoever lets one go says
PRUNE, and a GRAFT that is refused is answered by PRUNE. After a PRUNE neither end grafts until the
backoff is over. The heartbeat keeps the number of links between D_low and D_high and at least D_out
of them to peers that we dialled, lets peers below 0 go, and takes better ones in when the median is
poor. Topics that we publish to without subscribing have a fanout: peers that we send to, without a
link. Explicit peers are never in a mesh: they get everything anyway.

Source: libp2p specs, gossipsub v1.0 (topic membership, heartbeat) and v1.1 (explicit peering
agreements, backoff, outbound mesh quotas, opportunistic grafting, score thresholds).
"""

from collections.abc import Callable, Mapping
from typing import Final

from p2p.model.effects import Penalize
from p2p.model.rejection import Reason
from p2p.model.rpc import PeerInfo, Prune
from p2p.primitives.units import PeerId, div_ceil
from p2p.protocol.gossip.counters import GossipCounters
from p2p.protocol.gossip.interface import GossipEffect, SuggestPeers
from p2p.protocol.gossip.neighbours import Neighbour, Neighbours
from p2p.protocol.gossip.parameters import GossipParameters

_NOBODY: Final[Mapping[PeerId, Neighbour]] = {}


class _Fanout:
    """Peers that our messages of a topic go to while we do not subscribe to it."""

    __slots__ = ("peers", "published_ms")

    def __init__(self, now_ms: int) -> None:
        self.peers: dict[PeerId, Neighbour] = {}
        self.published_ms = now_ms


class Backoffs:
    """Until when a peer may not be grafted, by topic; outlives connections, bounded by topic."""

    __slots__ = ("_count_max", "_until_ms")

    def __init__(self, parameters: GossipParameters) -> None:
        self._count_max = parameters.backoffs_per_topic_max
        self._until_ms: dict[str, dict[PeerId, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._until_ms.values()))

    def until_ms(self, topic: str, peer: PeerId) -> int:
        """The end of the backoff, 0 when there is none."""
        peers = self._until_ms.get(topic)
        return peers.get(peer, 0) if peers else 0

    def extend(self, topic: str, peer: PeerId, until_ms: int) -> None:
        """Start a backoff, or make it longer."""
        peers = self._until_ms.setdefault(topic, {})
        if peer not in peers and len(peers) >= self._count_max:
            del peers[next(iter(peers))]
        peers[peer] = max(until_ms, peers.get(peer, 0))

    def expire(self, before_ms: int) -> None:
        """Forget what ended."""
        if not self._until_ms:
            return
        for topic, peers in list(self._until_ms.items()):
            for peer in [peer for peer, until_ms in peers.items() if until_ms <= before_ms]:
                del peers[peer]
            if not peers:
                del self._until_ms[topic]


class Mesh:
    """Links and fanout of every topic."""

    __slots__ = (
        "_counters",
        "_fanout",
        "_links",
        "_neighbours",
        "_opportunistic_ms",
        "_parameters",
        "_unsettled",
        "backoffs",
        "has",
    )

    def __init__(
        self, parameters: GossipParameters, neighbours: Neighbours, counters: GossipCounters
    ) -> None:
        self._parameters = parameters
        self._neighbours = neighbours
        self._counters = counters
        self._opportunistic_ms: int | None = None
        """When the meshes' medians are looked at next."""
        self._links: dict[str, dict[PeerId, Neighbour]] = {}
        self.has: Final[Callable[[str], bool]] = self._links.__contains__
        """Whether a topic is ours."""
        self._unsettled: dict[str, None] = {}
        """Topics whose links changed since the heartbeat found nothing to do about them."""
        self._fanout: dict[str, _Fanout] = {}
        self.backoffs = Backoffs(parameters)

    def __len__(self) -> int:
        return len(self._links)

    def topics(self) -> list[str]:
        """Our topics."""
        return list(self._links)

    def fanout_topics(self) -> list[str]:
        """Topics that we published to lately without subscribing."""
        return list(self._fanout)

    def links(self, topic: str) -> Mapping[PeerId, Neighbour]:
        """The mesh peers of a topic."""
        return self._links.get(topic, _NOBODY)

    def fanout(self, topic: str) -> Mapping[PeerId, Neighbour]:
        """The fanout peers of a topic."""
        fanout = self._fanout.get(topic)
        return fanout.peers if fanout else _NOBODY

    # ---- our own topics

    def join(self, topic: str, now_ms: int) -> None:
        """Subscribe: link the fanout's peers first, then others, up to D."""
        # gossipsub v1.0: topic membership, JOIN
        self._links[topic] = {}
        self._unsettled[topic] = None
        fanout = self._fanout.pop(topic, None)
        if fanout is not None:
            for neighbour in self._candidates(topic, now_ms, among=fanout.peers):
                self._graft(topic, neighbour)
        self._graft_some(topic, self._parameters.degree - len(self._links[topic]), now_ms)

    def leave(self, topic: str, now_ms: int) -> None:
        """Unsubscribe: let every mesh peer go, with the short backoff."""
        # gossipsub v1.0: topic membership, LEAVE; v1.1: unsubscribe backoff
        for neighbour in list(self._links[topic].values()):
            self._prune(topic, neighbour, now_ms, self._parameters.unsubscribe_backoff_ms)
        del self._links[topic]
        self._unsettled.pop(topic, None)
        self._neighbours.scores.left_topic(topic)

    # ---- news of peers

    def forget(self, neighbour: Neighbour) -> None:
        """The peer is gone."""
        for topic in list(neighbour.topics):
            self.forget_in(topic, neighbour)

    def forget_in(self, topic: str, neighbour: Neighbour) -> None:
        """The peer does not want the topic any more."""
        if topic in self._links:
            self._unlink(topic, neighbour)
        if topic in self._fanout:
            self._fanout[topic].peers.pop(neighbour.peer, None)

    def grafted(
        self, topic: str, neighbour: Neighbour, now_ms: int, effects: list[GossipEffect]
    ) -> None:
        """A peer took us into its mesh: take it into ours, or answer PRUNE."""
        links = self._links.get(topic)
        # gossipsub v1.1: spam protection: GRAFT for an unknown topic is not even answered
        if links is None or neighbour.peer in links:
            return
        self._counters.graft_received += 1
        backoff_ms = self._parameters.prune_backoff_ms
        if neighbour.standing.is_direct:
            # gossipsub v1.1: explicit peering agreements: it is an error to GRAFT on one
            self._prune(topic, neighbour, now_ms, backoff_ms)
        elif now_ms < self.backoffs.until_ms(topic, neighbour.peer):
            # gossipsub v1.1: backoff: prune at once, extend, and penalise
            if topic in neighbour.pruned:
                self._penalize_early_graft(neighbour, neighbour.pruned[topic], now_ms)
                effects.append(Penalize(neighbour.peer, Reason.BACKOFF, topic))
            # Else it was told over an earlier connection: an honest peer that crashed forgot it,
            # and one that crashes again and again must not be banned for that.
            self._prune(topic, neighbour, now_ms, backoff_ms)
        elif self._neighbours.score(neighbour) < 0:
            # gossipsub v1.1: score thresholds: nobody below 0 joins
            self._prune(topic, neighbour, now_ms, backoff_ms)
        elif len(links) >= self._parameters.degree_high and not neighbour.outbound:
            # gossipsub v1.1: outbound mesh quotas: a full mesh takes only peers that we dialled
            self._prune(topic, neighbour, now_ms, self._parameters.full_backoff_ms, suggest=True)
        elif self._neighbours.subscribe(neighbour, topic):
            self._link(topic, neighbour)
        else:
            self._prune(topic, neighbour, now_ms, backoff_ms)

    def _penalize_early_graft(self, neighbour: Neighbour, pruned_ms: int, now_ms: int) -> None:
        """Gossipsub v1.1: P7; twice at once after the PRUNE, which no slow link explains."""
        scores = self._neighbours.scores
        is_flood = now_ms - pruned_ms < self._parameters.scores.graft_flood_ms
        scores.misbehaved(neighbour.standing, 2.0 if is_flood else 1.0)

    def pruned(
        self, prune: Prune, neighbour: Neighbour, now_ms: int, effects: list[GossipEffect]
    ) -> None:
        """A peer let us go: so do we, and leave it alone until the backoff ends."""
        links = self._links.get(prune.topic)
        if links is None:
            return
        self._counters.prune_received += 1
        self._unlink(prune.topic, neighbour)
        # gossipsub v1.1: backoff: the pruning peer says how long; the default if it does not
        neighbour.pruned[prune.topic] = now_ms
        backoff_ms = min(prune.backoff_s * 1000, self._parameters.backoff_ms_max)
        until_ms = now_ms + (backoff_ms or self._parameters.prune_backoff_ms)
        self.backoffs.extend(prune.topic, neighbour.peer, until_ms)
        px_threshold = self._parameters.scores.px_threshold
        if prune.peers and self._neighbours.score(neighbour) >= px_threshold:
            # gossipsub v1.1: peer exchange, from well-scored peers alone
            suggested = tuple(info.peer for info in prune.peers[: self._parameters.px_peers])
            effects.append(SuggestPeers(neighbour.peer, prune.topic, suggested))

    # ---- publishing

    def publish_peers(self, topic: str, now_ms: int) -> list[Neighbour]:
        """Whom a message of our own goes to without flooding: the mesh, or the fanout."""
        if topic in self._links:
            return self._topped_up(topic, self._links[topic])
        fanout = self._fanout.get(topic)
        if fanout is None:
            # gossipsub v1.0: fanout; the oldest makes room
            if len(self._fanout) >= self._parameters.fanout_topics_max:
                del self._fanout[next(iter(self._fanout))]
            fanout = self._fanout[topic] = _Fanout(now_ms)
        fanout.published_ms = now_ms
        self._fill_fanout(topic, fanout)
        return list(fanout.peers.values())

    def _topped_up(self, topic: str, links: Mapping[PeerId, Neighbour]) -> list[Neighbour]:
        """Mesh peers, and while they are few also others: the mesh may not stand yet."""
        peers = list(links.values())
        if len(peers) < self._parameters.degree_low:
            others = self._publishable(topic, links)
            peers += self._neighbours.draw(others, self._parameters.degree - len(peers))
        return peers

    def _fill_fanout(self, topic: str, fanout: _Fanout) -> None:
        missing = self._parameters.degree - len(fanout.peers)
        if missing > 0:
            others = self._publishable(topic, fanout.peers)
            for neighbour in self._neighbours.draw(others, missing):
                fanout.peers[neighbour.peer] = neighbour

    def _publishable(self, topic: str, besides: Mapping[PeerId, Neighbour]) -> list[Neighbour]:
        score, threshold = self._neighbours.score, self._parameters.scores.publish_threshold
        return [
            neighbour
            for peer, neighbour in self._neighbours.of_topic(topic).items()
            if peer not in besides and score(neighbour) >= threshold
        ]

    # ---- the heartbeat

    def maintain(self, now_ms: int) -> None:
        """One heartbeat of every mesh and fanout."""
        self.backoffs.expire(now_ms - self._parameters.backoff_slack_ms)
        for peer, neighbour in self._neighbours.poor.items():
            # gossipsub v1.1: heartbeat maintenance: nobody below 0 stays
            for topic in [topic for topic, links in self._links.items() if peer in links]:
                self._prune(topic, neighbour, now_ms, self._parameters.prune_backoff_ms)
        for topic in list(self._unsettled):
            self._maintain_links(topic, self._links[topic], now_ms)
        self._improve(now_ms)
        for topic, fanout in list(self._fanout.items()):
            # gossipsub v1.0: fanout maintenance
            if now_ms - fanout.published_ms > self._parameters.fanout_ttl_ms:
                del self._fanout[topic]
            else:
                self._fill_fanout(topic, fanout)

    def _maintain_links(self, topic: str, links: dict[PeerId, Neighbour], now_ms: int) -> None:
        parameters = self._parameters
        del self._unsettled[topic]
        # gossipsub v1.0: mesh maintenance
        if len(links) < parameters.degree_low:
            self._graft_some(topic, parameters.degree - len(links), now_ms)
        elif len(links) > parameters.degree_high:
            kept = {neighbour.peer for neighbour in self._choose_survivors(links)}
            for neighbour in [links[peer] for peer in links if peer not in kept]:
                self._prune(topic, neighbour, now_ms, parameters.full_backoff_ms, suggest=True)
        if len(links) >= parameters.degree_low:
            # gossipsub v1.1: outbound mesh quotas
            missing = parameters.degree_out - sum([one.outbound for one in links.values()])
            if missing > 0:
                self._graft_some(topic, missing, now_ms, outbound=True)
                self._unsettled[topic] = None
        else:
            self._unsettled[topic] = None

    def _improve(self, now_ms: int) -> None:
        """Gossipsub v1.1: opportunistic grafting: a poor mesh takes better peers in."""
        if self._opportunistic_ms is None:
            self._opportunistic_ms = now_ms + self._parameters.opportunistic_ms
        if now_ms < self._opportunistic_ms:
            return
        self._opportunistic_ms = now_ms + self._parameters.opportunistic_ms
        for topic, links in self._links.items():
            if len(links) > 1:
                self._improve_links(topic, links, now_ms)

    def _improve_links(self, topic: str, links: dict[PeerId, Neighbour], now_ms: int) -> None:
        score = self._neighbours.score
        ranked = sorted(score(neighbour) for neighbour in links.values())
        median = ranked[len(ranked) // 2]
        if median >= self._parameters.scores.opportunistic_threshold:
            return
        able = self._candidates(topic, now_ms, among=self._neighbours.of_topic(topic))
        better = [neighbour for neighbour in able if score(neighbour) > median]
        for neighbour in self._neighbours.draw(better, self._parameters.opportunistic_peers):
            self._graft(topic, neighbour)

    def _choose_survivors(self, links: Mapping[PeerId, Neighbour]) -> list[Neighbour]:
        """D peers of a mesh that is too large: the best D_score, drawn ones, D_out outbound."""
        parameters = self._parameters
        drawn = self._neighbours.shuffle(list(links.values()))
        ranked = sorted(drawn, key=lambda one: -self._neighbours.score(one))
        best = ranked[: parameters.degree_score]
        order = best + [neighbour for neighbour in drawn if neighbour not in best]
        kept, others = order[: parameters.degree], order[parameters.degree :]
        missing = parameters.degree_out - sum(neighbour.outbound for neighbour in kept)
        spare = [neighbour for neighbour in others if neighbour.outbound]
        inbound = [index for index, neighbour in enumerate(kept) if not neighbour.outbound]
        for neighbour in spare[: max(0, missing)]:
            kept[inbound.pop()] = neighbour
        return kept

    def _graft_some(self, topic: str, count: int, now_ms: int, *, outbound: bool = False) -> None:
        if count <= 0:
            return
        candidates = self._candidates(topic, now_ms, among=self._neighbours.of_topic(topic))
        if outbound:
            candidates = [neighbour for neighbour in candidates if neighbour.outbound]
        for neighbour in self._neighbours.draw(candidates, count):
            self._graft(topic, neighbour)

    def _candidates(
        self, topic: str, now_ms: int, *, among: Mapping[PeerId, Neighbour]
    ) -> list[Neighbour]:
        """Who may be grafted: outside the mesh, not in backoff (with slack), score not below 0."""
        links, slack_ms = self._links[topic], self._parameters.backoff_slack_ms
        candidates = []
        for peer, neighbour in among.items():
            until_ms = self.backoffs.until_ms(topic, peer)
            is_free = not until_ms or now_ms >= until_ms + slack_ms
            if peer in links or not is_free or neighbour.standing.is_direct:
                continue
            if self._neighbours.score(neighbour) >= 0:
                candidates.append(neighbour)
        return candidates

    def _link(self, topic: str, neighbour: Neighbour) -> None:
        self._links[topic][neighbour.peer] = neighbour
        self._unsettled[topic] = None
        self._neighbours.scores.joined_mesh(neighbour.standing, topic)

    def _unlink(self, topic: str, neighbour: Neighbour) -> None:
        if self._links[topic].pop(neighbour.peer, None) is not None:
            self._unsettled[topic] = None
            self._neighbours.scores.left_mesh(neighbour.standing, topic)

    def _graft(self, topic: str, neighbour: Neighbour) -> None:
        self._link(topic, neighbour)
        self._counters.graft_sent += 1
        neighbour.outbox.add_graft(topic)

    def _prune(
        self,
        topic: str,
        neighbour: Neighbour,
        now_ms: int,
        backoff_ms: int,
        *,
        suggest: bool = False,
    ) -> None:
        """Let a peer go, or refuse it; both ends wait for the backoff, which is told in seconds."""
        self._unlink(topic, neighbour)
        self._counters.prune_sent += 1
        neighbour.pruned[topic] = now_ms
        backoff_s = div_ceil(backoff_ms, 1000)
        self.backoffs.extend(topic, neighbour.peer, now_ms + backoff_s * 1000)
        suggested = self._suggestions(topic, neighbour) if suggest else ()
        neighbour.outbox.add_prune(Prune(topic, backoff_s, suggested))

    def _suggestions(self, topic: str, pruned: Neighbour) -> tuple[PeerInfo, ...]:
        """Other peers of the topic, by id alone: their addresses are asked for elsewhere."""
        if self._neighbours.score(pruned) < 0:
            return ()  # gossipsub v1.1: score thresholds: no peer exchange towards peers below 0
        # gossipsub v1.1: peer exchange, never of peers below 0
        others = [
            neighbour
            for neighbour in self._neighbours.of_topic(topic).values()
            if neighbour is not pruned and self._neighbours.score(neighbour) >= 0
        ]
        drawn = self._neighbours.draw(others, self._parameters.px_peers)
        return tuple(PeerInfo(neighbour.peer) for neighbour in drawn)

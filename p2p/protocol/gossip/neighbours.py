"""The connected peers, what each subscribes to, and what is due to each."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from p2p.model.rpc import MessageId
from p2p.primitives.draws import Draws
from p2p.primitives.units import PeerId
from p2p.protocol.gossip.outbox import Outbox
from p2p.protocol.gossip.parameters import GossipParameters, Priority
from p2p.protocol.gossip.scores import Scores
from p2p.protocol.gossip.standing import Standing

_NOBODY: Final[Mapping[PeerId, "Neighbour"]] = {}


class Neighbour:
    """One connected peer. `validating` counts now, the others count this heartbeat."""

    __slots__ = (
        "ids_asked",
        "ids_wanted",
        "ihave_rpcs",
        "offered",
        "outbound",
        "outbox",
        "peer",
        "pruned",
        "spoke",
        "standing",
        "told",
        "topics",
        "unwanted",
        "unwanted_named",
        "validating",
    )

    def __init__(self, peer: PeerId, outbox: Outbox, standing: Standing, *, outbound: bool) -> None:
        self.peer = peer
        self.outbound = outbound
        self.outbox = outbox
        self.standing = standing
        """What it is judged by."""
        self.topics: dict[str, None] = {}
        self.pruned: dict[str, int] = {}
        """When either end sent the last PRUNE over this connection, by topic of ours."""
        self.unwanted: dict[MessageId, int] = {}
        """Messages that it has already, as it said (IDONTWANT), and the heartbeat of the word."""
        self.unwanted_named = 0
        """Ids that it named so."""
        self.validating = 0
        """Messages that it sent first and that are at the verifier."""
        self.told: dict[str, int] = {}
        """Window of the message cache up to which it was offered a topic's messages."""
        self.offered: dict[str, tuple[MessageId, ...]] = {}
        """What it offered last of a topic of ours, when that was little."""
        self.spoke: dict[str, None] = {}
        """Topics of ours that it said anything about lately."""
        self.ihave_rpcs = 0
        """RPCs in which it offered messages."""
        self.ids_asked = 0
        """Messages that we asked it for."""
        self.ids_wanted = 0
        """Ids that it asked for."""

    def renew_allowances(self, oldest: int) -> bool:
        """A heartbeat: what it may ask and say begins anew; whether that matters next time, too.

        Gossipsub v1.2: old entries of IDONTWANT, up to this window, are pruned.
        """
        self.ihave_rpcs = self.ids_asked = self.ids_wanted = self.unwanted_named = 0
        for message_id, window in list(self.unwanted.items()):
            if window > oldest:
                break
            del self.unwanted[message_id]
        return bool(self.unwanted)


class Neighbours:
    """Connected peers by id and by topic, in the order in which they came."""

    __slots__ = (
        "_by_topic",
        "_connected",
        "_draws",
        "_parameters",
        "busy",
        "direct",
        "dropped",
        "get",
        "patient",
        "poor",
        "scores",
        "waiting",
    )

    def __init__(self, parameters: GossipParameters, draws: Draws, scores: Scores) -> None:
        self._parameters = parameters
        self._draws = draws
        self._connected: dict[PeerId, Neighbour] = {}
        self.get: Final[Callable[[PeerId], Neighbour | None]] = self._connected.get
        """A connected peer, or None."""
        self._by_topic: dict[str, dict[PeerId, Neighbour]] = {}
        self.scores = scores
        self.direct: dict[PeerId, Neighbour] = {}
        """Explicit peers that are connected."""
        self.busy: dict[PeerId, Neighbour] = {}
        """Peers that used something of a heartbeat's allowances."""
        self.poor: dict[PeerId, Neighbour] = {}
        """Peers whose score was below 0 at the last heartbeat."""
        self.waiting: dict[PeerId, Outbox] = {}
        """Outboxes that have something new to send."""
        self.patient: dict[PeerId, Outbox] = {}
        """Outboxes that have something new which may wait for company."""
        self.dropped = [0 for _ in Priority]
        """What outboxes dropped, by class."""

    def __len__(self) -> int:
        return len(self._connected)

    def all(self) -> Iterable[Neighbour]:
        """Every connected peer."""
        return self._connected.values()

    def of_topic(self, topic: str) -> Mapping[PeerId, Neighbour]:
        """The peers that subscribe to a topic."""
        return self._by_topic.get(topic, _NOBODY)

    def score(self, neighbour: Neighbour) -> float:
        """What its behaviour is worth now; below 0 it stays out of every mesh."""
        standing = neighbour.standing
        if standing.score_tick >= self.scores.tick:
            return standing.score
        return self.scores.of(standing)

    def beat(self, oldest: int) -> None:
        """A heartbeat: allowances begin anew, and who is poor is known."""
        if self.busy:
            self.busy = {
                peer: one for peer, one in self.busy.items() if one.renew_allowances(oldest)
            }
        tick, score_of = self.scores.tick, self.scores.of
        poor = {}
        for peer, one in self._connected.items():
            standing = one.standing
            score = standing.score if standing.score_tick >= tick else score_of(standing)
            if score < 0:
                poor[peer] = one
        self.poor = poor

    def connect(self, peer: PeerId, address: str, *, outbound: bool) -> Neighbour | None:
        """Take a new peer in; None when it is known already or there are too many."""
        if peer in self._connected or len(self._connected) >= self._parameters.peers_max:
            return None
        outbox = Outbox(
            peer,
            self._parameters,
            waiting=self.waiting,
            patient=self.patient,
            dropped=self.dropped,
        )
        standing = self.scores.connected(peer, address)
        neighbour = self._connected[peer] = Neighbour(peer, outbox, standing, outbound=outbound)
        if standing.is_direct:
            self.direct[peer] = neighbour
        return neighbour

    def disconnect(self, peer: PeerId, now_ms: int) -> Neighbour | None:
        """Forget a peer and what was due to it, but not how it behaved."""
        neighbour = self._connected.pop(peer, None)
        if neighbour is not None:
            for known in (self.waiting, self.patient, self.direct, self.busy, self.poor):
                known.pop(peer, None)
            self.scores.disconnected(neighbour.standing, now_ms)
            for topic in list(neighbour.topics):
                self.unsubscribe(neighbour, topic)
        return neighbour

    def subscribe(self, neighbour: Neighbour, topic: str) -> bool:
        """Note that a peer wants a topic; False when it has too many."""
        if topic in neighbour.topics:
            return True
        if len(neighbour.topics) >= self._parameters.topics_per_peer_max:
            return False
        neighbour.topics[topic] = None
        self._by_topic.setdefault(topic, {})[neighbour.peer] = neighbour
        return True

    def unsubscribe(self, neighbour: Neighbour, topic: str) -> None:
        """Note that a peer wants a topic no more."""
        if topic not in neighbour.topics:
            return
        del neighbour.topics[topic]
        peers = self._by_topic[topic]
        del peers[neighbour.peer]
        if not peers:
            del self._by_topic[topic]

    def draw(self, candidates: list[Neighbour], count: int) -> list[Neighbour]:
        """Up to `count` of the candidates, drawn."""
        if count >= len(candidates):
            return candidates
        return self._draws.sample(candidates, count)

    def shuffle(self, candidates: list[Neighbour]) -> list[Neighbour]:
        """All the candidates, in drawn order."""
        return self._draws.sample(candidates, len(candidates))

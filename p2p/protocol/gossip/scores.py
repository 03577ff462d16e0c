"""Peer scoring: what each peer's behaviour is worth, computed when somebody asks.

    Score = TopicCap(sum over topics of weight * (P1 + P2 + P3 + P3b + P4)) + P5 + P6 + P7

    P1 time in the mesh      +   P2 first deliveries      +   P3 too few mesh deliveries  -
    P3b mesh failures        -   P4 false messages        -   P5 what the replica says   +-
    P6 many at one address   -   P7 misbehaviour          -

Events change counters; the heartbeat advances the tick, by which they decay. A score is computed
for peers that somebody asks about: anew after whatever speaks against the peer, at every tick while
it is below 0, and every `GOOD_TICKS` while it is not, so that good neighbours cost little. The
score of a peer that left is kept, so that coming back cleans nobody.

P3 departs from the specification: what a mesh peer must deliver is a share of what came at all, up
to the threshold. A fixed rate would blame everybody when nothing is said (docs/decisions/).

Source: libp2p specs, gossipsub v1.1, peer scoring.
"""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Final

import msgspec

from p2p.primitives.units import PeerId
from p2p.protocol.gossip.parameters import GossipParameters, TopicScore
from p2p.protocol.gossip.standing import (
    NEVER,
    STEADY,
    Standing,
    TopicStanding,
    decayed,
)

GOOD_TICKS: Final = 5
"""For how long a score that is not below 0 stands: what time alone takes from it is less than one
misdeed, and mesh deliveries that are owed are judged over minutes."""
_IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that name a household or a customer."""


class TopicReport(msgspec.Struct, frozen=True):
    """A peer's contributions in one topic, in points before the topic's weight."""

    time_in_mesh: float
    first_deliveries: float
    mesh_deliveries: float
    mesh_failures: float
    invalid: float

    @property
    def total(self) -> float:
        """The sum, before the topic's weight."""
        return (
            self.time_in_mesh
            + self.first_deliveries
            + self.mesh_deliveries
            + self.mesh_failures
            + self.invalid
        )


class ScoreReport(msgspec.Struct, frozen=True):
    """A peer's score and where it comes from, in points."""

    score: float
    topics: dict[str, TopicReport]
    application: float
    colocation: float
    behaviour: float


class _Observed:
    """Messages of a topic that came from anyone, as of `tick`; decays like mesh deliveries."""

    __slots__ = ("count", "tick", "total")

    def __init__(self, tick: int) -> None:
        self.count = 0.0
        self.tick = tick
        self.total = 0
        """The same without decay."""

    def at(self, tick: int, factor: float) -> float:
        """The count at a tick."""
        passed = tick - self.tick
        return decayed(self.count, factor, passed) if passed > 0 else self.count


class Scores:
    """The standing of every peer, connected or remembered."""

    __slots__ = (
        "_by_address",
        "_direct",
        "_observed",
        "_parameters",
        "_retained",
        "_since_ms",
        "tick",
    )

    def __init__(self, parameters: GossipParameters) -> None:
        self._parameters = parameters.scores
        self._direct = frozenset(parameters.direct_peers)
        self._retained: dict[PeerId, Standing] = {}
        """Peers that left, the longest gone first."""
        self._by_address: dict[str, dict[PeerId, Standing]] = {}
        self._observed: dict[str, _Observed] = {}
        self._since_ms: int | None = None
        """Up to when the tick has counted."""
        self.tick = 0
        """Decay intervals of this process's life, as of the last heartbeat."""

    @property
    def retained(self) -> int:
        """Peers that left and are remembered."""
        return len(self._retained)

    # ---- the score

    def of(self, standing: Standing) -> float:
        """The score, at most `GOOD_TICKS` old."""
        if standing.score_tick >= self.tick:
            return standing.score
        standing.score = total = self.fresh(standing)
        if not (standing.topics or standing.application or standing.behaviour):
            standing.score_tick = STEADY
        else:
            standing.score_tick = self.tick + GOOD_TICKS if total >= 0 else self.tick
        return total

    def fresh(self, standing: Standing) -> float:
        """The score of this moment; to look at it changes nothing."""
        parameters = self._parameters
        if standing.is_direct or not parameters.enabled:
            return 0.0
        total = 0.0
        for topic, one in standing.topics.items():
            rules = parameters.of(topic)
            total += rules.weight * self._in_topic(topic, one, rules)
        total = min(total, parameters.topics_cap)  # gossipsub v1.1: TopicCap
        if standing.application:
            application = standing.application_at(self.tick, parameters)
            total += parameters.application_weight * application
        if standing.address:
            total += self._colocation(standing)
        if standing.behaviour:
            total += self._behaviour(standing)
        return total

    def report(self, standing: Standing) -> ScoreReport:
        """The score now, and its parts."""
        application = standing.application_at(self.tick, self._parameters)
        return ScoreReport(
            score=self.fresh(standing),
            topics={
                topic: self._topic_report(topic, one) for topic, one in standing.topics.items()
            },
            application=self._parameters.application_weight * application,
            colocation=self._colocation(standing),
            behaviour=self._behaviour(standing),
        )

    def rating(self, standing: Standing) -> float:
        """What the application thinks of a peer, by now."""
        return standing.application_at(self.tick, self._parameters)

    def remembered(self, peer: PeerId) -> Standing | None:
        """What is known of a peer that left."""
        return self._retained.get(peer)

    def _in_topic(self, topic: str, one: TopicStanding, rules: TopicScore) -> float:
        """P1 to P4 of a topic, before its weight: the hot path of `_topic_report`."""
        passed = self.tick - one.tick
        total = 0.0
        if one.first:
            first = one.first
            if passed:
                first = decayed(first, rules.first_deliveries_decay, passed)
            total = rules.first_deliveries_weight * first
        if one.mesh_tick != NEVER:
            total += self._time_in_mesh(one, rules)
            deficit = self._deficit(topic, one, rules)
            total += rules.mesh_deliveries_weight * deficit * deficit
        if one.failures:
            failures = decayed(one.failures, rules.mesh_failure_decay, passed)
            total += rules.mesh_failure_weight * failures
        if one.invalid:
            invalid = decayed(one.invalid, rules.invalid_decay, passed)
            total += rules.invalid_weight * invalid * invalid
        return total

    def _topic_report(self, topic: str, one: TopicStanding) -> TopicReport:
        rules = self._parameters.of(topic)
        passed = self.tick - one.tick
        in_mesh = one.mesh_tick != NEVER
        deficit = self._deficit(topic, one, rules) if in_mesh else 0.0
        invalid = decayed(one.invalid, rules.invalid_decay, passed)
        return TopicReport(
            time_in_mesh=self._time_in_mesh(one, rules) if in_mesh else 0.0,
            first_deliveries=rules.first_deliveries_weight
            * decayed(one.first, rules.first_deliveries_decay, passed),
            mesh_deliveries=rules.mesh_deliveries_weight * deficit * deficit,
            mesh_failures=rules.mesh_failure_weight
            * decayed(one.failures, rules.mesh_failure_decay, passed),
            invalid=rules.invalid_weight * invalid * invalid,
        )

    def _time_in_mesh(self, one: TopicStanding, rules: TopicScore) -> float:
        """Gossipsub v1.1: P1, capped."""
        quanta = (
            (self.tick - one.mesh_tick) * self._parameters.decay_ms / rules.time_in_mesh_quantum_ms
        )
        return rules.time_in_mesh_weight * min(quanta, rules.time_in_mesh_cap)

    def _deficit(self, topic: str, one: TopicStanding, rules: TopicScore) -> float:
        """Gossipsub v1.1: P3: deliveries that a mesh peer owes us."""
        ticks = self.tick - one.mesh_tick
        if ticks * self._parameters.decay_ms <= rules.mesh_deliveries_activation_ms:
            return 0.0
        observed = self._observed.get(topic)
        if observed is None:
            return 0.0
        factor = rules.mesh_deliveries_decay
        came = observed.at(self.tick, factor) - decayed(one.observed, factor, ticks)
        owed = min(rules.mesh_deliveries_threshold, rules.mesh_deliveries_share * came)
        passed = self.tick - one.tick
        return max(0.0, owed - (decayed(one.mesh, factor, passed) if passed else one.mesh))

    def _colocation(self, standing: Standing) -> float:
        """Gossipsub v1.1: P6: the square of the surplus."""
        here = self._by_address.get(standing.address, ())
        surplus = max(0, len(here) - self._parameters.colocation_threshold)
        return self._parameters.colocation_weight * surplus * surplus

    def _behaviour(self, standing: Standing) -> float:
        """Gossipsub v1.1: P7: the square of what is above the threshold."""
        misdeeds = standing.behaviour_at(self.tick, self._parameters)
        surplus = max(0.0, misdeeds - self._parameters.behaviour_threshold)
        return self._parameters.behaviour_weight * surplus * surplus

    # ---- events: peers come and go

    def connected(self, peer: PeerId, address: str) -> Standing:
        """A peer is here, perhaps again."""
        standing = self._retained.pop(peer, None) or Standing(peer)
        standing.is_direct = peer in self._direct
        standing.address = _host_of(address)
        standing.score_tick = NEVER
        if standing.address:
            here = self._by_address.setdefault(standing.address, {})
            here[peer] = standing
            self._crowd_changed(here)
        return standing

    def disconnected(self, standing: Standing, now_ms: int) -> None:
        """A peer is gone; it is remembered as long as anything is known of it."""
        for topic in list(standing.topics):
            self.left_mesh(standing, topic)
        if standing.address:
            here = self._by_address[standing.address]
            del here[standing.peer]
            if here:
                self._crowd_changed(here)
            else:
                del self._by_address[standing.address]
            standing.address = ""
        standing.score_tick = NEVER
        self._drop_empty(standing)
        if standing.is_direct or not (
            standing.topics or standing.application or standing.behaviour
        ):
            return
        standing.left_ms = now_ms
        if len(self._retained) >= self._parameters.retained_max:
            best = max(self._retained.values(), key=self.of)
            if self.of(best) <= self.of(standing):
                return
            del self._retained[best.peer]
        self._retained[standing.peer] = standing

    def beat(self, now_ms: int) -> None:
        """A heartbeat: time has passed, and what was kept long enough is forgotten."""
        self.tick += self._intervals(now_ms)
        until_ms = now_ms - self._parameters.retain_ms
        while self._retained:
            first = next(iter(self._retained.values()))
            if first.left_ms > until_ms:
                break
            del self._retained[first.peer]

    def _intervals(self, now_ms: int) -> int:
        """Whole decay intervals since the last heartbeat; one, when the clock was set back."""
        if self._since_ms is None or now_ms < self._since_ms:
            self._since_ms = now_ms
            return 1
        passed = (now_ms - self._since_ms) // self._parameters.decay_ms
        self._since_ms += passed * self._parameters.decay_ms
        return passed

    def tidy(self, standing: Standing) -> None:
        """Drop what decayed to nothing; now and then, for each connected peer."""
        if standing.topics:
            self._drop_empty(standing)

    def _drop_empty(self, standing: Standing) -> None:
        zero = self._parameters.decay_to_zero
        for topic, one in list(standing.topics.items()):
            one.fold(self.tick, self._parameters.of(topic), zero)
            if one.is_empty:
                del standing.topics[topic]
        if not standing.behaviour_at(self.tick, self._parameters):
            standing.behaviour = 0.0
        if not standing.application_at(self.tick, self._parameters):
            standing.application = 0.0

    def _crowd_changed(self, here: dict[PeerId, Standing]) -> None:
        if len(here) >= self._parameters.colocation_threshold:
            for standing in here.values():
                standing.score_tick = NEVER

    # ---- events: mesh and messages

    def joined_mesh(self, standing: Standing, topic: str) -> None:
        """A link stands (P1 and P3 begin)."""
        one = self._topic(standing, topic)
        one.mesh_tick, one.mesh = self.tick, 0.0
        observed = self._observed.get(topic)
        factor = self._parameters.of(topic).mesh_deliveries_decay
        one.observed = 0.0 if observed is None else observed.at(self.tick, factor)

    def left_mesh(self, standing: Standing, topic: str) -> None:
        """A link is gone: a deficit stays with the peer (P3b)."""
        one = standing.topics.get(topic)
        if one is None or one.mesh_tick == NEVER:
            return
        one = self._topic(standing, topic)
        deficit = self._deficit(topic, one, self._parameters.of(topic))
        if deficit:
            one.failures += deficit * deficit
            standing.score_tick = NEVER
        one.mesh_tick, one.mesh, one.observed = NEVER, 0.0, 0.0

    def observed(self, topic: str) -> None:
        """A message of others was accepted: what the mesh owes grows."""
        seen = self._observed.get(topic)
        if seen is None:
            seen = self._observed[topic] = _Observed(self.tick)
        if seen.tick != self.tick:
            factor = self._parameters.of(topic).mesh_deliveries_decay
            seen.count, seen.tick = seen.at(self.tick, factor), self.tick
        seen.count += 1.0
        seen.total += 1

    def total(self, topic: str) -> int:
        """Messages of others that were accepted in a topic of ours."""
        seen = self._observed.get(topic)
        return 0 if seen is None else seen.total

    def fell_mute(self, standing: Standing, topic: str) -> None:
        """A mesh peer takes everything and says nothing (P3b)."""
        self._topic(standing, topic).failures += self._parameters.of(topic).mute_failure

    def left_topic(self, topic: str) -> None:
        """We do not listen any more."""
        self._observed.pop(topic, None)

    def delivered_first(self, standing: Standing, topic: str) -> None:
        """A peer was the first to bring a good message (P2, P3)."""
        one = self._topic(standing, topic)
        rules = self._parameters.of(topic)
        one.first = min(one.first + 1.0, rules.first_deliveries_cap)
        if one.mesh_tick != NEVER:
            one.mesh = min(one.mesh + 1.0, rules.mesh_deliveries_cap)

    def delivered_too(self, standing: Standing, topic: str) -> None:
        """A mesh peer brought a good message nearly first (P3)."""
        one = standing.topics.get(topic)
        if one is not None and one.mesh_tick != NEVER:
            if one.tick != self.tick:
                one = self._topic(standing, topic)
            one.mesh = min(one.mesh + 1.0, self._parameters.of(topic).mesh_deliveries_cap)

    def delivered_invalid(self, standing: Standing, topic: str) -> None:
        """A peer brought a false message (P4)."""
        self._topic(standing, topic).invalid += 1.0
        standing.score_tick = NEVER

    def misbehaved(self, standing: Standing, misdeeds: float = 1.0) -> None:
        """A peer broke a rule of the protocol (P7)."""
        standing.add_behaviour(misdeeds, self.tick, self._parameters)

    def rated(self, standing: Standing, points: float) -> None:
        """The application says what it thinks of a peer (P5)."""
        standing.set_application(points, self.tick)

    def _topic(self, standing: Standing, topic: str) -> TopicStanding:
        """A record to be changed, brought to now."""
        one = standing.topics.get(topic)
        if one is None:
            one = standing.topics[topic] = TopicStanding(self.tick)
        elif one.tick != self.tick:
            one.fold(self.tick, self._parameters.of(topic), self._parameters.decay_to_zero)
        if standing.score_tick == STEADY:
            standing.score_tick = self.tick
        return one

    def crowds(self) -> Iterator[tuple[str, int]]:
        """Hosts with more than one peer, and how many, for people."""
        return ((host, len(here)) for host, here in self._by_address.items() if len(here) > 1)


def _host_of(address: str) -> str:
    """What P6 counts of a multiaddr: an IPv4 address or an IPv6 prefix, but no loopback address."""
    parts = address.split("/", 3)
    if len(parts) < 3 or parts[1] not in ("ip4", "ip6"):
        return ""
    try:
        host = ip_address(parts[2].partition("%")[0])
    except ValueError:
        return ""
    if host.is_loopback:
        return ""
    if host.version == 4:
        return str(host)
    return str(ip_network((int(host), _IPV6_PREFIX), strict=False))

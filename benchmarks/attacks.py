"""Attacks on gossip from the literature, each with peer scoring and without.

    python -m benchmarks.attacks [--json] [--only mute,covert_flash] [--honest 100] [--attackers 30]

Honest nodes in the AWS regions run a chain and change their offers; each change is an ad, gossiped
to everybody. Attackers connect to all of them, or to one victim, and do their worst for
`attack_s`. Measured are the ads that honest nodes sent while the attack went on: the share that
reached the other honest nodes (in an eclipse: the victim) within 3 s, and the 99th percentile;
`late` is the share in the last third of the attack, `late 1 s` what came then within 1 s, by the
mesh and not by its repair.

`caught` is counted over pairs of an honest node and an attacker that it had to do with for 5 s of
the attack (of those that merely keep silent: that were in its mesh of the ads for 50 s), or judged
sooner: the share of pairs in which the node holds the attacker below the graylist threshold, or has
banned it, when the attack ends. `mesh` is the largest share of the mesh links of the receivers that
attackers held at once: it shows that the attack was one.
`harmed` counts honest nodes that another honest node holds below 0 at the end, or banned.

Without scoring every score is 0 and no fault is ever punished by a ban: GossipSub v1.0.

Source: Vyzovitis et al., GossipSub: Attack-Resilient Message Propagation (arXiv 2007.02754), and
the specification's list of spam protection measures.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from p2p.model.offer import Offer
from p2p.model.topic import Topic, topic_name
from p2p.primitives.units import AccountId, Millis, PeerId
from p2p.protocol.gossip import GossipParameters, ScoreParameters
from p2p.protocol.interface import AdLearned, ChangeOffer
from p2p.protocol.membership import MembershipParameters
from p2p.protocol.replica import NodeParameters
from sim_harness.adversaries import recruit
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World

SEED: Final = 5
VALIDATORS: Final = 4
WITHIN_MS: Final = 3_000
PROBES_PER_S: Final = 3
SETTLE_S: Final = 25
"""Before the attack: meshes stand, and every ad is known."""
JUDGED_S: Final = 5
"""An attacker that a node had to do with for so long is one that it should have judged; for those
that do nothing but keep silent, `SILENT_S` in its mesh."""
SILENT_S: Final = 50
PROMPT_MS: Final = 1_000
"""Sooner than gossip's heartbeat repairs what a mesh full of silent peers loses."""
IHAVE_IDS: Final = 400
"""Five times a second: all that a node takes of a peer in a heartbeat (`ihave_ids_max`)."""
NEVER_BANNED: Final = 1_000_000_000


class Attack(msgspec.Struct, frozen=True):
    """Who attacks, and how. `victim`: the index of the only node that they attack."""

    kind: str
    options: dict[str, int] = {}
    victim: int = -1
    attackers_first: bool = False
    attack_s: int = 70


ATTACKS: Final = {
    "eclipse": Attack("mute", {"begin_s": SETTLE_S}, victim=60),
    "cold_boot": Attack("mute", attackers_first=True),
    "covert_flash": Attack("mute", {"begin_s": SETTLE_S + 20}),
    "ihave_spam": Attack("ihave_spammer", {"begin_s": SETTLE_S, "ids": IHAVE_IDS}, attack_s=20),
    "iwant_flood": Attack("iwant_flooder", {"begin_s": SETTLE_S}, attack_s=20),
    "graft_flood": Attack("graft_flooder", {"begin_s": SETTLE_S}),
    "invalid_spam": Attack("invalid_spammer", {"begin_s": SETTLE_S}, attack_s=20),
    "mute": Attack("mute", {"begin_s": SETTLE_S}),
}


class Row(msgspec.Struct, frozen=True):
    """What one attack came to."""

    attack: str
    scoring: bool
    delivered: float
    p99_ms: int
    late: float
    """Of the last third of the attack."""
    late_prompt: float
    """The same within 1 s: by the mesh."""
    taken: float
    caught: float
    judged: int
    deeds: dict[str, int]
    harmed: int
    banned_honest: int
    messages: int
    cpu_s: float

    @property
    def holds(self) -> bool:
        """Whether the honest got through, the attackers did not, and nobody honest was hurt."""
        return self.delivered >= 0.99 and self.caught >= 0.99 and not self.banned_honest


def parameters_with(scoring: bool) -> NodeParameters:
    """The product's, or without judgement."""
    product = NodeParameters()
    if scoring:
        return product
    gossip: GossipParameters = msgspec.structs.replace(
        product.gossip, scores=ScoreParameters(enabled=False)
    )
    return NodeParameters(gossip=gossip, membership=MembershipParameters(penalty_max=NEVER_BANNED))


class Probe:
    """Honest nodes change their offers; who learned of it, and when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draws = world.stream("probe")
        self._price = 0

    def run(self) -> None:
        """Send until nobody calls for events any more."""
        self._world.heap.after(MICROS_PER_MS * 1_000 // PROBES_PER_S, "probe", self._send)

    def _send(self) -> bytes:
        self.run()
        able = [one for one in self._world.honest if one.is_up]
        if not able:
            return b""
        node = self._draws.choice(able)
        self._price += 1
        offer = Offer(accepting=True, blob_bytes_max=1_000_000 + self._price)
        node.ask(lambda ticket: ChangeOffer(ticket, offer), lambda _: None)
        return b"%d" % node.index


def arrivals(
    world: World, receivers: list[VirtualNode], first_ms: int, last_ms: int
) -> Iterator[int | None]:
    """Milliseconds from each ad of an honest node to each receiver; None: not within the run."""
    learned: dict[int, dict[tuple[AccountId, int], int]] = {}
    sent: list[tuple[int, VirtualNode, int]] = []
    for node in world.honest:
        mine = learned.setdefault(node.index, {})
        for at_ms, event in node.events:
            if isinstance(event, AdLearned):
                mine.setdefault((AccountId(event.provider), event.seq), at_ms)
                if event.provider == node.key.account and first_ms <= at_ms < last_ms:
                    sent.append((at_ms, node, event.seq))
    for sent_ms, node, seq in sent:
        for receiver in receivers:
            if receiver is node:
                continue
            seen = learned[receiver.index].get((node.key.account, seq))
            yield None if seen is None else seen - sent_ms


def share_within(delays: list[int | None], within_ms: int = WITHIN_MS) -> float:
    """The share that came in time."""
    return sum(one is not None and one <= within_ms for one in delays) / max(1, len(delays))


def percentile(delays: list[int | None], share: float) -> int:
    """Of all, the lost ones as late as can be; -1 for a lost one."""
    ordered = sorted(math.inf if one is None else one for one in delays)
    found = ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0
    return -1 if math.isinf(found) else int(found)


def is_out(judge: VirtualNode, peer: PeerId) -> bool:
    """Whether a node listens to a peer no more."""
    if judge.replica is None:
        return False
    threshold = judge.replica.gossip.parameters.scores.graylist_threshold
    if judge.replica.gossip.score(peer) < threshold:
        return True
    return judge.replica.membership.is_banned(peer, judge.clock.now_ms())


class Meetings:
    """Which honest node had to do with which attacker, looked at once a second of the attack."""

    def __init__(self, world: World, judges: list[VirtualNode], *, in_mesh: bool) -> None:
        self._world, self._judges, self._in_mesh = world, judges, in_mesh
        self._ads = topic_name(Topic.ADS, world.genesis.chain_id)
        self._lasted_s: dict[tuple[int, PeerId], int] = {}
        self.taken = 0.0
        """The largest share of the judges' mesh links that attackers held at once."""

    def begin(self, at_ms: int) -> None:
        """Look from then on."""
        self._world.heap.after((at_ms - self._world.now_ms) * MICROS_PER_MS, "look", self._look)

    def _look(self) -> bytes:
        self._world.heap.after(1_000 * MICROS_PER_MS, "look", self._look)
        links = held = 0
        for node in self._judges:
            if node.replica is None:
                continue
            gossip = node.replica.gossip
            mesh = gossip.mesh(self._ads)
            links += len(mesh)
            held += sum(self._is_liar(peer) for peer in mesh)
            for peer in mesh if self._in_mesh else gossip.connected():
                if self._is_liar(peer):
                    pair = node.index, peer
                    self._lasted_s[pair] = self._lasted_s.get(pair, 0) + 1
        self.taken = max(self.taken, held / max(1, links))
        return b""

    def _is_liar(self, peer: PeerId) -> bool:
        return not self._world.is_honest(self._world.by_peer[peer])

    def caught(self, enough_s: int) -> tuple[float, int]:
        """Of the pairs that met for long enough, or where the node judged sooner: how many are out.

        The share, and the number of pairs.
        """
        out = {pair for pair in self._lasted_s if is_out(self._world.nodes[pair[0]], pair[1])}
        judged = {pair for pair, lasted_s in self._lasted_s.items() if lasted_s >= enough_s} | out
        return len(out) / max(1, len(judged)), len(judged)


def harmed(world: World) -> int:
    """Honest nodes that another honest node holds below 0."""
    found = set()
    for judge in world.honest:
        if judge.replica is not None:
            for peer in judge.connected:
                other = world.by_peer[peer]
                if world.is_honest(other) and judge.replica.gossip.score(peer) < 0:
                    found.add(other.index)
    return len(found)


def run(name: str, *, scoring: bool, honest: int, attackers: int, seed: int = SEED) -> Row:
    """One attack, from the start to the verdict."""
    attack = ATTACKS[name]
    began_s = time.process_time()
    world = World(
        seed=seed,
        nodes=honest + attackers,
        validators=VALIDATORS,
        node_parameters=parameters_with(scoring),
    )
    options: dict[str, object] = {**attack.options, "reach": honest}
    victim = min(attack.victim, honest - 1)
    if victim >= 0:
        options["victim"] = victim
    ring = recruit(world, attack.kind, attackers, options)
    begin_s = max(SETTLE_S, attack.options.get("begin_s", 0))
    receivers = [world.nodes[victim]] if victim >= 0 else world.honest
    only_silent = attack.kind == "mute"
    meetings = Meetings(world, receivers, in_mesh=only_silent)
    meetings.begin(world.now_ms + 1_000 * attack.options.get("begin_s", 0))
    Probe(world).run()
    if attack.attackers_first:
        world.start(*[liar.node for liar in ring])
        world.start(*world.honest, within=seconds(20))
    else:
        world.start()
    world.run_for(seconds(begin_s))
    first_ms = world.now_ms
    world.run_for(seconds(attack.attack_s))
    last_ms = Millis(world.now_ms - 2 * WITHIN_MS)
    delays = list(arrivals(world, receivers, first_ms, last_ms))
    third_ms = Millis(last_ms - (last_ms - first_ms) // 3)
    late = list(arrivals(world, receivers, third_ms, last_ms))
    share_caught, judged = meetings.caught(SILENT_S if only_silent else JUDGED_S)
    return Row(
        attack=name,
        scoring=scoring,
        delivered=share_within(delays),
        p99_ms=percentile(delays, 0.99),
        late=share_within(late),
        late_prompt=share_within(late, PROMPT_MS),
        taken=meetings.taken,
        caught=share_caught,
        judged=judged,
        deeds=dict(sum((liar.deeds for liar in ring), Counter[str]())),
        harmed=harmed(world),
        banned_honest=len(world.bans),
        messages=len(delays),
        cpu_s=round(time.process_time() - began_s, 1),
    )


HEADER: Final = (
    "attack        scoring  within 3 s   p99 ms     late  late 1 s   mesh  caught  pairs  harmed"
    "  bans  cpu s"
)


def line(row: Row) -> str:
    """A row for people."""
    return (
        f"{row.attack:13} {'on' if row.scoring else 'off':7} {row.delivered:11.2%} {row.p99_ms:8}"
        f" {row.late:8.2%} {row.late_prompt:9.2%} {row.taken:6.0%} {row.caught:7.1%}"
        f" {row.judged:6} {row.harmed:7} {row.banned_honest:5} {row.cpu_s:6.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", default=",".join(ATTACKS), help="attacks, by comma")
    parser.add_argument("--honest", type=int, default=100)
    parser.add_argument("--attackers", type=int, default=30)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scoring", choices=("both", "on", "off"), default="both")
    given = parser.parse_args()
    size = {"honest": given.honest, "attackers": given.attackers, "seed": given.seed}
    modes = {"both": (True, False), "on": (True,), "off": (False,)}[given.scoring]
    rows = []
    if not given.json:
        print(HEADER)
    for name in given.only.split(","):
        for scoring in modes:
            rows.append(run(name, scoring=scoring, **size))
            if not given.json:
                print(line(rows[-1]), flush=True)
    if given.json:
        print(json.dumps([{**msgspec.to_builtins(row), "holds": row.holds} for row in rows]))
    return 0 if all(row.holds for row in rows if row.scoring) else 1


if __name__ == "__main__":
    sys.exit(main())

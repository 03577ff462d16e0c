"""A whole scenario from a seed: who there is, what goes wrong, who lies, and what is bought.

Swarm testing: not only the faults are drawn but also how likely each kind is, so that some seeds
are all partitions, others all crashes, and most leave something out. What is left out is what lets
the rest bite. A drawn scenario is an ordinary one: it can be written to a file and read back.

Source: Groce et al., "Swarm testing", ISSTA 2012; TigerBeetle's VOPR draws every probability, too.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from p2p.model.blob import WINDOW_BYTES
from p2p.primitives.units import KIB, MIB, Millis
from sim_harness.adversaries.table import ADVERSARIES
from sim_harness.scenario import schema
from sim_harness.scenario.schema import AdversarySpec, Expect, Fault, Load, Network, Scenario
from sim_harness.swarm import ambush
from sim_harness.swarm.words import WORDS
from sim_harness.virtual.regions import REGIONS
from sim_harness.virtual.spans import millis, seconds

VALIDATORS: Final = (1, 4, 4, 4, 5, 6, 7, 7, 8, 10, 13)
"""Small networks find most: with 4, every node matters."""
OTHERS_MAX: Final = 6
LARGE: Final = 0.04
"""How many networks have many nodes that do not vote."""
LARGE_OTHERS: Final = (16, 28)
FAULTS_MAX: Final = 12
DURATIONS: Final = (12, 16, 20, 30, 45)
"""Seconds of faults. Mistakes need an unlucky moment more often than a long time."""
AMBUSHES: Final = 0.35
"""How many scenarios are made for consensus alone."""
RECOVERY: Final = seconds(120)
"""Rounds that grew long under faults, a clock that ran ahead, and liars that go on lying."""
OPTIONS: Final[dict[str, tuple[tuple[tuple[str, int | str | bool | float], ...], ...]]] = {
    "equivocator": ((), (("nils", False),), (("proposals", False),), (("shuffled", True),)),
    "withholder": ((), (("few", 2),), (("ballots", 1), ("blocks", True), ("few", 2))),
    "amnesiac": ((), (("valid_value", False),)),
    "flooder": ((), (("burst", 2),)),
    "replayer": ((), (("age_ms", 2_000),)),
}
"""Ways of lying that differ, by kind."""


def draw_scenario(seed: int) -> Scenario:
    """The scenario of a seed; equal seeds, equal scenarios, in any process."""
    draws = Random(f"swarm {seed}")
    if draws.random() < AMBUSHES:
        return _ambush(draws, seed)
    validators = draws.choice(VALIDATORS)
    if draws.random() < LARGE:
        others = draws.randint(*LARGE_OTHERS)
    else:
        others = draws.randint(0 if validators > 1 else 1, OTHERS_MAX)
    network = _network(draws, validators, validators + others)
    duration = seconds(draws.choice(DURATIONS))
    parameters = _parameters(draws)
    liars = _adversaries(draws, validators, others)
    load = _load(draws, others)
    return Scenario(
        name=f"swarm {seed}",
        about="Drawn from a seed.",
        duration=duration,
        network=network,
        parameters=parameters,
        load=load,
        faults=_faults(draws, network, load, duration, voting_liars(liars, others)),
        adversaries=liars,
        expect=Expect(heights=2, recovers_within=RECOVERY),
    )


def _ambush(draws: Random, seed: int) -> Scenario:
    network = ambush.network(draws)
    liars = ambush.liars(draws, network.validators)
    lying = voting_liars(liars, network.nodes - network.validators)
    return Scenario(
        name=f"swarm {seed}",
        about="Drawn from a seed, as an ambush for consensus.",
        duration=ambush.DURATION,
        network=network,
        parameters=ambush.parameters(draws),
        load=ambush.load(draws),
        faults=ambush.faults(draws, network, lying),
        adversaries=liars,
        expect=Expect(heights=2, recovers_within=RECOVERY),
    )


def voting_liars(liars: tuple[AdversarySpec, ...], others: int) -> int:
    """How many validators these take: kinds that need no vote take other nodes first."""
    count = 0
    for spec in liars:
        wanted = spec.nodes if isinstance(spec.nodes, int) else 0
        if ADVERSARIES[spec.kind].wants_vote:
            count += wanted
        else:
            spare = max(0, wanted - others)
            others -= wanted - spare
            count += spare
    return count


# ---- who there is ------------------------------------------------------------------------------


def _network(draws: Random, validators: int, nodes: int) -> Network:
    distances: tuple[Callable[[], schema.Distance], ...] = (
        schema.Regions,
        lambda: schema.Regions(tuple(draws.sample(REGIONS, draws.randint(1, 5)))),
        lambda: schema.Constant(millis(draws.choice((1, 5, 20, 40, 120, 250)))),
    )
    return Network(
        nodes=nodes,
        validators=validators,
        distance=draws.choice(distances)(),
        # Without jitter many events are at one moment: what order they have must not matter.
        jitter=millis(draws.choice((0, 0, 2, 2, 10, 60))),
        bandwidth=draws.choice((100_000_000, 100_000_000, 20_000_000, 4_000_000)),
    )


def _parameters(draws: Random) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {"epoch_ms": draws.choice((500, 1_000, 1_000, 2_000, 4_000))}
    if draws.random() < 0.7:
        # Timeouts of one size: slow, usual, or so short that rounds go by.
        vote_ms = draws.choice((150, 300, 300, 600, 1_000))
        found["propose_timeout_ms"] = vote_ms * draws.choice((1, 2, 3))
        found["prevote_timeout_ms"] = vote_ms
        found["precommit_timeout_ms"] = vote_ms
        found["timeout_delta_ms"] = draws.choice((200, 500, 500))
    if draws.random() < 0.3:
        found["gossip.flush_ms"] = draws.choice((5, 20, 100))
    if draws.random() < 0.2:
        found["receipt_late_epochs"] = draws.choice((1, 3, 6))
    return tuple(sorted(found.items()))


def _load(draws: Random, others: int) -> Load:
    consumers = min(draws.choice((0, 1, 1, 2, 3)), max(1, others))
    adds = draws.choice((0, 0, 20, 60)) if consumers else 0
    return Load(
        consumers=consumers,
        receipts_per_minute=draws.choice((30, 60, 150)),
        transfers_per_minute=draws.choice((0, 0, 30, 120)),
        adds_per_minute=adds,
        blob_bytes=draws.choice(((4 * KIB, MIB), (1, 64 * KIB), (MIB, 4 * MIB))),
        replicas=draws.choice((1, 2, 3)),
        window_bytes=draws.choice((256 * KIB, MIB, WINDOW_BYTES)),
    )


# ---- who lies ----------------------------------------------------------------------------------


def _adversaries(draws: Random, validators: int, others: int) -> tuple[AdversarySpec, ...]:
    """Liars with less than a third of the power, and others beside them."""
    power_left = (validators - 1) // 3
    spare_left = others // 2
    liars: list[AdversarySpec] = []
    eagerness = draws.random()
    if not power_left and not spare_left:
        return ()
    while draws.random() < eagerness and len(liars) < 3:
        voters = [kind for kind, one in ADVERSARIES.items() if one.wants_vote and power_left]
        kinds = sorted(voters) + sorted(
            kind for kind, one in ADVERSARIES.items() if not one.wants_vote and spare_left
        )
        if not kinds:
            break
        kind = draws.choice(kinds)
        is_voter = ADVERSARIES[kind].wants_vote
        # Mostly as many as there may be: liars in league do the worst.
        room = power_left if is_voter else spare_left
        count = room if draws.random() < 0.6 else draws.randint(1, room)
        if is_voter:
            power_left -= count
        else:
            spare_left -= count
        liars.append(AdversarySpec(kind, count, draws.choice(OPTIONS.get(kind, ((),)))))
    return tuple(liars)


# ---- what goes wrong ---------------------------------------------------------------------------


def _faults(
    draws: Random, network: Network, load: Load, duration: Millis, liars: int
) -> tuple[Fault, ...]:
    eagerness = draws.choice((0.08, 0.2, 0.5))
    found: list[Fault] = []
    for word in WORDS:
        likely = draws.random()
        if draws.random() >= likely * eagerness * 2:
            continue
        count = draws.choice((1, 1, 2, 3))
        found += [word(draws, network, load, duration, liars) for _ in range(count)]
    draws.shuffle(found)
    return tuple(sorted(found[:FAULTS_MAX], key=lambda fault: (fault.at, fault.kind)))

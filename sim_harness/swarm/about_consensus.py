"""Scenarios about consensus alone: committees of 4 to 13, nothing stored, all that hurts a vote.

Three sorts, a third each: ambushes (short crashes, cuts that liars bridge), faults drawn freely
from those that consensus feels, and blows: everybody dies at once, a quorum is cut this way and
that in turns, whoever proposes next is killed again and again. Less than a third of the power lies.
"""

from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from p2p.primitives.units import Millis
from sim_harness.scenario import schema
from sim_harness.scenario.schema import AdversarySpec, Expect, Fault, Load, Network, Scenario
from sim_harness.swarm import ambush, words
from sim_harness.virtual.regions import REGIONS
from sim_harness.virtual.spans import millis, seconds

VALIDATORS: Final = (4, 4, 4, 5, 6, 7, 7, 8, 10, 13)
LIARS: Final[tuple[tuple[str, ambush.Options], ...]] = (
    *ambush.LIARS,
    ("equivocator", (("proposals", False),)),
    ("amnesiac", (("valid_value", False),)),
    ("withholder", (("few", 2),)),
    ("replayer", (("age_ms", 2_000),)),
    ("forger", ()),
    ("flooder", (("burst", 2),)),
    ("silent", ()),
)
"""Those who vote, or speak of votes."""
WORDS: Final = (
    words.kill,
    words.restart,
    words.pause,
    words.disconnect,
    words.partition,
    words.partition,
    words.delay,
    words.loss,
    words.slow_disk,
    words.torn_write,
    words.slow_cpu,
    words.clock_skew,
)
KINDS: Final = tuple(dict.fromkeys(word.__name__ for word in WORDS))
"""Of faults that are drawn here."""
FAULTS_MAX: Final = 8
SHORT: Final = (100, 300, 1_000, 3_000)
"""Milliseconds at most of a fault drawn freely."""
RECOVERY: Final = seconds(120)


def draw_about_consensus(seed: int) -> Scenario:
    """The scenario of a seed; equal seeds, equal scenarios, in any process."""
    draws = Random(f"swarm about consensus {seed}")
    network, load = _network(draws), Load(consumers=0, transfers_per_minute=draws.choice((0, 60)))
    duration = seconds(draws.choice((12, 16, 24)))
    liars = _liars(draws, network)
    lying = sum(one.nodes for one in liars if isinstance(one.nodes, int))
    sort = draws.choice((_ambush, _freely, _blows))
    return Scenario(
        name=f"swarm about consensus {seed}",
        about="Drawn from a seed, for consensus alone.",
        duration=ambush.DURATION if sort is _ambush else duration,
        network=network,
        parameters=_parameters(draws),
        load=load,
        faults=sort(draws, network, duration, lying),
        adversaries=liars,
        expect=Expect(heights=2, recovers_within=RECOVERY),
    )


# ---- who there is ------------------------------------------------------------------------------


def _network(draws: Random) -> Network:
    validators = draws.choice(VALIDATORS)
    distances: tuple[Callable[[], schema.Distance], ...] = (
        lambda: schema.Constant(millis(draws.choice((1, 5, 20, 40, 120, 250)))),
        lambda: schema.Regions(tuple(draws.sample(REGIONS, draws.randint(1, 5)))),
    )
    return Network(
        nodes=validators + draws.choice((0, 0, 1)),
        validators=validators,
        distance=draws.choice(distances)(),
        jitter=millis(draws.choice((0, 2, 10, 60))),
    )


def _parameters(draws: Random) -> tuple[tuple[str, int], ...]:
    vote_ms = draws.choice((150, 300, 300, 600))
    found = {
        "epoch_ms": draws.choice((500, 1_000, 2_000)),
        "propose_timeout_ms": vote_ms * draws.choice((1, 2, 3)),
        "prevote_timeout_ms": vote_ms,
        "precommit_timeout_ms": vote_ms,
        "timeout_delta_ms": draws.choice((100, 200, 500)),
    }
    return tuple(sorted(found.items()))


def _liars(draws: Random, network: Network) -> tuple[AdversarySpec, ...]:
    """As many validators as may lie, of one kind or several, or nobody."""
    left = (network.validators - 1) // 3
    # Who needs no vote takes other seats first: so there the liars are fewer, never more.
    found: list[AdversarySpec] = []
    while left and draws.random() < 0.7:
        kind, options = draws.choice(LIARS)
        count = left if draws.random() < 0.5 else draws.randint(1, left)
        found.append(AdversarySpec(kind, count, options))
        left -= count
    return tuple(found)


# ---- what goes wrong ---------------------------------------------------------------------------


def _ambush(draws: Random, network: Network, duration: Millis, lying: int) -> tuple[Fault, ...]:
    return ambush.faults(draws, network, lying)


def _freely(draws: Random, network: Network, duration: Millis, lying: int) -> tuple[Fault, ...]:
    nobody_buys = Load(consumers=0)
    chosen = [draws.choice(WORDS) for _ in range(draws.randint(1, FAULTS_MAX))]
    faults = [_short(draws, word(draws, network, nobody_buys, duration, lying)) for word in chosen]
    return tuple(sorted(faults, key=lambda fault: (fault.at, fault.kind)))


def _short(draws: Random, fault: Fault) -> Fault:
    """So short that heights go on beside it: who is down for long tests nothing here."""
    lasts = min(fault.lasts or SHORT[-1], draws.choice(SHORT))
    return msgspec.structs.replace(fault, lasts=Millis(lasts))


def _blows(draws: Random, network: Network, duration: Millis, lying: int) -> tuple[Fault, ...]:
    """One of three blows that hit all or most, with a few faults beside it."""
    blow = draws.choice((_all_at_once, _alternating, _proposers))
    beside = _freely(draws, network, duration, lying)[:2]
    return tuple(sorted((*blow(draws, network), *beside), key=lambda one: (one.at, one.kind)))


def _all_at_once(draws: Random, network: Network) -> list[Fault]:
    at = Millis(draws.randrange(2_000, 5_000, 10))
    lasts, every = millis(draws.choice((50, 500, 1_500))), millis(draws.choice((2_500, 4_000)))
    return [schema.Kill(at=at, lasts=lasts, every=every, nodes="all")]


def _alternating(draws: Random, network: Network) -> list[Fault]:
    """Two cuts take turns; neither side of either is a quorum, if halves can be so."""
    half, all_ = network.validators // 2, range(network.validators)
    every = millis(draws.choice((4_000, 6_000)))
    found: list[Fault] = []
    for turn in range(2):
        inside = sorted(draws.sample(all_, half))
        side = ", ".join(f"validators[{index}]" for index in inside)
        start = Millis(1_500 + turn * every // 2)
        lasts = Millis(every // 2 - draws.choice((100, 400, 1_000)))
        found.append(schema.Partition(at=start, lasts=lasts, every=every, groups=(side, "rest")))
    return found


def _proposers(draws: Random, network: Network) -> list[Fault]:
    """Whoever is to propose dies, or freezes, over and over."""
    kind = draws.choice((schema.Kill, schema.Pause, schema.Disconnect))
    at, lasts = Millis(draws.randrange(1_500, 3_000, 10)), millis(draws.choice((100, 400, 1_200)))
    return [kind(at=at, lasts=lasts, every=Millis(lasts + 700), nodes="proposer")]

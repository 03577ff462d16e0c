"""The hunt: one drawing of scenarios from seeds, run on a broken build until a checker sees it.

Every build gets the same scenarios, and so does the product as it stands, which must pass them all:
a checker that cries at anything catches every canary, too.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from random import Random
from typing import Final

import msgspec

from p2p.model.parameters import Parameters
from p2p.primitives.units import Millis
from sim_harness.adversaries import recruit
from sim_harness.canaries.build import Build, plant
from sim_harness.virtual.bounds import memory_bounded
from sim_harness.virtual.checkers import nobody_banned
from sim_harness.virtual.conditions import height_at_least, height_max
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import millis, seconds
from sim_harness.virtual.workload import Trade
from sim_harness.virtual.world import SafetyViolated, World

SPAN: Final = seconds(16)
"""Of faults; liveness comes after."""
RECOVERY: Final = seconds(60)
LIARS: Final[tuple[tuple[str, dict[str, object]], ...]] = (
    ("equivocator", {}),
    ("equivocator", {"shuffled": True, "nils": False}),
    ("equivocator", {"shuffled": True, "nils": False}),
    ("withholder", {"few": 2, "ballots": 1, "blocks": True}),
    ("twin", {}),
    ("amnesiac", {}),
    ("lying_syncer", {}),
    ("lying_syncer", {"lies": ["alone"]}),
)
"""Those who can do harm to a build with a mistake in it, with their options; drawn alike."""


class Crash(msgspec.Struct, frozen=True):
    """A process dies, and starts again on its disk."""

    at_ms: int
    node: int
    for_ms: int


class Cut(msgspec.Struct, frozen=True):
    """Some nodes are cut off from the others, but not from liars."""

    at_ms: int
    nodes: tuple[int, ...]
    for_ms: int


class Provocation(msgspec.Struct, frozen=True):
    """A scenario drawn from a seed."""

    seed: int
    validators: int
    others: int
    epoch_ms: int
    latency_us: int
    liars: tuple[str, int, dict[str, object]]
    crashes: tuple[Crash, ...]
    cuts: tuple[Cut, ...]


class Caught(msgspec.Struct, frozen=True):
    """A build was caught: at which seed, after how many, and by what."""

    build: str
    seed: int
    seeds: int
    finding: str


def provocation(seed: int) -> Provocation:
    """The scenario of a seed."""
    draws = Random(f"provocation {seed}")
    validators, others = draws.choice((4, 4, 7)), draws.randint(1, 2)
    liars = (validators - 1) // 3
    kind, options = draws.choice(LIARS)
    honest = [*range(validators - liars), *range(validators, validators + others)]
    crashes = tuple(
        Crash(draws.randint(0, SPAN), draws.choice(honest), int(10 ** draws.uniform(1, 3.5)))
        for _ in range(draws.choice((0, 0, 2, 6, 12)))
    )
    cuts = tuple(
        Cut(
            draws.randint(0, SPAN),
            tuple(draws.sample(honest, draws.randint(1, len(honest) - 1))),
            draws.randint(200, 4_000),
        )
        for _ in range(draws.randint(0, 4))
    )
    return Provocation(
        seed=seed,
        validators=validators,
        others=others,
        epoch_ms=draws.choice((500, 1_000, 2_000)),
        latency_us=draws.choice((5_000, 40_000, 120_000)),
        liars=(kind, liars, options),
        crashes=crashes,
        cuts=cuts,
    )


def stage(drawn: Provocation, build: Build | None = None) -> World:
    """The world of a scenario, of the product or of a broken build, not yet started."""
    world = World(
        seed=drawn.seed,
        nodes=drawn.validators + drawn.others,
        validators=drawn.validators,
        parameters=Parameters(
            epoch_ms=Millis(drawn.epoch_ms),
            propose_timeout_ms=Millis(800),
            prevote_timeout_ms=Millis(300),
            precommit_timeout_ms=Millis(300),
            timeout_delta_ms=Millis(200),
        ),
        latency=lambda source, target: drawn.latency_us,
    )
    kind, count, options = drawn.liars
    recruit(world, kind, count, options)
    if build is not None:
        plant(world, build)
    return world


def play(world: World, drawn: Provocation) -> None:
    """Faults, then healing. Raises SafetyViolated; and Expired when heights rise no more."""
    world.start(within=millis(200))
    Trade(world, world.honest[0], world.honest[1])
    start_ms = world.now_ms
    for at_ms, act in sorted(_timeline(world, drawn), key=lambda entry: entry[0]):
        world.run_for(Millis(max(0, start_ms + at_ms - world.now_ms)))
        act()
    world.check()
    goal = height_max(world.honest) + 2
    world.run_until(height_at_least(goal, world.honest), within=RECOVERY)
    world.check()
    world.check(nobody_banned, memory_bounded)


def hunt(build: Build, seeds: Iterable[int]) -> Caught | None:
    """Play scenario after scenario until a checker sees the mistake; None: nobody did."""
    for count, seed in enumerate(seeds, start=1):
        drawn = provocation(seed)
        try:
            play(stage(drawn, build), drawn)
        except SafetyViolated as violation:
            return Caught(build.name, seed, count, str(violation))
        except (AssertionError, KeyError):
            # The broken core tripped over itself, or stopped: a find, but no checker's.
            continue
    return None


# ---- the timeline ------------------------------------------------------------------------------

Act = Callable[[], object]


def _timeline(world: World, drawn: Provocation) -> Iterator[tuple[int, Act]]:
    for crash in drawn.crashes:
        yield from _crash(world, world.nodes[crash.node], crash)
    for cut in drawn.cuts:
        inside = [world.nodes[index] for index in cut.nodes]
        outside = [node for node in world.honest if node not in inside]
        yield from _cut(world.partition(inside, outside), cut)
    yield SPAN, lambda: None


def _crash(world: World, node: VirtualNode, crash: Crash) -> Iterator[tuple[int, Act]]:
    yield crash.at_ms, lambda: world.crash(node)
    yield crash.at_ms + crash.for_ms, lambda: world.start(node, within=millis(0))


def _cut(partition: AbstractContextManager[None], cut: Cut) -> Iterator[tuple[int, Act]]:
    yield cut.at_ms, partition.__enter__
    yield cut.at_ms + cut.for_ms, lambda: partition.__exit__(None, None, None)

"""Ways to make a scenario smaller: each step yields candidates, the boldest first.

Candidates may make no sense (a selector that matches nobody any more): whoever tries them asks
`fitting` first, which gives such faults other victims, and drops what comes after the end.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, TypeVar

import msgspec

from p2p.primitives.units import Millis
from sim_harness.scenario import schema
from sim_harness.scenario.reading import population_of
from sim_harness.scenario.schema import AdversarySpec, Fault, Load, Scenario
from sim_harness.scenario.selectors import Population, check_selector, select
from sim_harness.swarm.draw import voting_liars
from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.spans import millis

T = TypeVar("T")
Step = Callable[[Scenario], Iterator[Scenario]]

DURATION_MIN: Final = 500
ROUGH: Final = 100
NARROWER: Final = ("validators[0]", "validators[1]", "validators[0:2]", "validators")


def fitting(scenario: Scenario) -> Scenario | None:
    """With faults that happen, to somebody; None when the liars are too many."""
    network, load = scenario.network, scenario.load
    if not 0 < network.validators <= network.nodes or load.consumers >= network.nodes:
        return None
    population = population_of(network, load)
    if _are_too_many(scenario, population):
        return None
    faults = [_within(fault, scenario.duration) for fault in scenario.faults]
    kept = [one for one in faults if one is not None]
    hurting = tuple(one if _matches(one, population) else _of_the_first(one) for one in kept)
    return _replace(scenario, faults=hurting)


def ended_at(at_ms: int) -> Step:
    """End soon after a moment: what comes later has no part in a failure then."""

    def step(scenario: Scenario) -> Iterator[Scenario]:
        for spare_ms in (0, 500, 2_000):
            end_ms = -(-(at_ms + spare_ms) // ROUGH) * ROUGH
            if DURATION_MIN <= end_ms < scenario.duration:
                yield _replace(scenario, duration=Millis(end_ms))

    return step


def less_time(scenario: Scenario) -> Iterator[Scenario]:
    """A shorter first phase."""
    for part in (8, 4, 2):
        end_ms = scenario.duration // part // ROUGH * ROUGH
        if end_ms >= DURATION_MIN:
            yield _replace(scenario, duration=Millis(end_ms))
    for less_ms in (2_000, 500):
        if scenario.duration - less_ms >= DURATION_MIN:
            yield _replace(scenario, duration=Millis(scenario.duration - less_ms))


def fewer_faults(scenario: Scenario) -> Iterator[Scenario]:
    """Without some of the faults: all, halves, quarters, and so on down to one."""
    for kept in _subsets(scenario.faults):
        yield _replace(scenario, faults=kept)


def fewer_liars(scenario: Scenario) -> Iterator[Scenario]:
    """Without some of the adversaries, or with fewer nodes each, or with plain ones."""
    for kept in _subsets(scenario.adversaries):
        yield _replace(scenario, adversaries=kept)
    for place, spec in enumerate(scenario.adversaries):
        if isinstance(spec.nodes, int):
            for count in range(1, spec.nodes):
                yield _with_liar(scenario, place, msgspec.structs.replace(spec, nodes=count))
        if spec.options:
            yield _with_liar(scenario, place, msgspec.structs.replace(spec, options=()))


def less_load(scenario: Scenario) -> Iterator[Scenario]:
    """No consumers, fewer consumers, no transfers."""
    load = scenario.load
    yield _replace(scenario, load=Load())
    yield _replace(scenario, load=msgspec.structs.replace(load, transfers_per_minute=0))
    if load.adds_per_minute:
        yield _replace(scenario, load=msgspec.structs.replace(load, adds_per_minute=0))
        yield _replace(scenario, load=msgspec.structs.replace(load, receipts_per_minute=0))
        yield _replace(scenario, load=msgspec.structs.replace(load, replicas=1))
    for consumers in range(load.consumers):
        yield _replace(scenario, load=msgspec.structs.replace(load, consumers=consumers))


def fewer_nodes(scenario: Scenario) -> Iterator[Scenario]:
    """Fewer that vote, and fewer that do not; consumers make room, too."""
    network = scenario.network
    others = network.nodes - network.validators
    sizes = [
        (voters, beside)
        for voters in _fewer(network.validators)
        for beside in _fewer(others)
        if (voters, beside) != (network.validators, others)
    ]
    for voters, beside in sorted(sizes, key=lambda one: (sum(one), one)):
        if voters:
            smaller = msgspec.structs.replace(network, nodes=voters + beside, validators=voters)
            consumers = min(scenario.load.consumers, smaller.nodes - 1)
            load = msgspec.structs.replace(scenario.load, consumers=consumers)
            yield _replace(scenario, network=smaller, load=load)


def plainer(scenario: Scenario) -> Iterator[Scenario]:
    """Usual parameters, one distance, no jitter, wide uplinks; no wishes that failure ignores."""
    network = scenario.network
    yield _replace(scenario, parameters=())
    for kept in _subsets(scenario.parameters):
        yield _replace(scenario, parameters=kept)
    for latency in (20, 100):
        plain = schema.Network(
            nodes=network.nodes,
            validators=network.validators,
            distance=schema.Constant(millis(latency)),
            jitter=millis(0),
        )
        yield _replace(scenario, network=plain)
        distance = schema.Constant(millis(latency))
        yield _replace(scenario, network=msgspec.structs.replace(network, distance=distance))
    usual = schema.Network()
    yield _replace(scenario, network=msgspec.structs.replace(network, bandwidth=usual.bandwidth))
    yield _replace(scenario, network=msgspec.structs.replace(network, jitter=millis(0)))
    expect = msgspec.structs.replace(scenario.expect, sometimes=())
    yield _replace(scenario, expect=expect)


def simpler_faults(scenario: Scenario) -> Iterator[Scenario]:
    """Once instead of again and again, shorter, of fewer nodes, and both ways."""
    for place, fault in enumerate(scenario.faults):
        for simpler in _simpler(fault):
            faults = (*scenario.faults[:place], simpler, *scenario.faults[place + 1 :])
            yield _replace(scenario, faults=faults)


def earlier(scenario: Scenario) -> Iterator[Scenario]:
    """Everything sooner, and the end with it."""
    if not scenario.faults:
        return
    first_ms = min(fault.at for fault in scenario.faults)
    for less_ms in (first_ms, first_ms // 2 // ROUGH * ROUGH):
        if less_ms and scenario.duration - less_ms >= DURATION_MIN:
            faults = tuple(
                msgspec.structs.replace(fault, at=Millis(fault.at - less_ms))
                for fault in scenario.faults
            )
            duration = Millis(scenario.duration - less_ms)
            yield _replace(scenario, faults=faults, duration=duration)


STEPS: Final[tuple[Step, ...]] = (
    fewer_faults,
    fewer_liars,
    less_load,
    fewer_nodes,
    less_time,
    earlier,
    plainer,
    simpler_faults,
)
"""In turn, until none helps any more. What saves the most time comes first."""


# ---- parts -------------------------------------------------------------------------------------


def _simpler(fault: Fault) -> Iterator[Fault]:
    if fault.every is not None:
        yield msgspec.structs.replace(fault, every=None)
    for part in (4, 2):
        if fault.lasts is not None and (lasts := fault.lasts // part // ROUGH * ROUGH) >= ROUGH:
            yield msgspec.structs.replace(fault, lasts=Millis(lasts))
    if isinstance(fault, schema.Partition):
        if len(fault.groups) > 2:
            yield msgspec.structs.replace(fault, groups=(fault.groups[0], "rest"))
        for one in NARROWER:
            yield msgspec.structs.replace(fault, groups=(one, "rest"))
    else:
        for one in NARROWER:
            yield msgspec.structs.replace(fault, nodes=one)
    if isinstance(fault, schema.Partition | schema.Delay | schema.Loss):
        yield msgspec.structs.replace(fault, direction=Direction.BOTH)


def _subsets(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Nothing, then all without a run of them: half of them, a quarter, down to one."""
    if not items:
        return
    yield ()
    length = len(items)
    while (length := length // 2) > 0:
        for start in range(0, len(items), length):
            kept = (*items[:start], *items[start + length :])
            if kept:
                yield kept
        if length == 1:
            return


def _fewer(count: int) -> list[int]:
    """0, a few, a half, one less, and the same."""
    steps = {0, 1, 2, 3, 4, count // 2, count - 2, count - 1, count}
    return sorted(one for one in steps if 0 <= one <= count)


def _within(fault: Fault, duration: Millis) -> Fault | None:
    if fault.at >= duration:
        return None
    if fault.lasts is not None and fault.at + fault.lasts > duration:
        return msgspec.structs.replace(fault, lasts=Millis(duration - fault.at))
    return fault


def _matches(fault: Fault, population: Population) -> bool:
    groups = fault.groups if isinstance(fault, schema.Partition) else (fault.nodes,)
    try:
        for group in groups:
            check_selector(group, population)
    except ValueError:
        return False
    return True


def _of_the_first(fault: Fault) -> Fault:
    """The same harm to a node that is always there."""
    if isinstance(fault, schema.Partition):
        return msgspec.structs.replace(fault, groups=("validators[0]", "rest"))
    return msgspec.structs.replace(fault, nodes="validators[0]")


def _are_too_many(scenario: Scenario, population: Population) -> bool:
    """Whether liars hold a third of the power, or are nowhere: then any failure is their right."""
    network, counted, named = scenario.network, [], 0
    for spec in scenario.adversaries:
        if isinstance(spec.nodes, int):
            counted.append(spec)
            continue
        try:
            check_selector(spec.nodes, population)
        except ValueError:
            return True
        chosen = select(spec.nodes, population, Random(0))
        named += sum(index < network.validators for index in chosen)
    others = network.nodes - network.validators
    voters = named + voting_liars(tuple(counted), others)
    seats = sum(one.nodes for one in counted if isinstance(one.nodes, int))
    return bool(voters and 3 * voters >= network.validators) or seats >= network.nodes


def _with_liar(scenario: Scenario, place: int, spec: AdversarySpec) -> Scenario:
    liars = (*scenario.adversaries[:place], spec, *scenario.adversaries[place + 1 :])
    return _replace(scenario, adversaries=liars)


def _replace(scenario: Scenario, **changes: object) -> Scenario:
    return msgspec.structs.replace(scenario, **changes)

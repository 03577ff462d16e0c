"""What node processes are told of their scenario: distances, places, parameters, who lies."""

from pathlib import Path
from random import Random
from typing import assert_never

from p2p.node.errors import UserError
from sim_harness.live.evidence import Evidence
from sim_harness.live.setup import Seat, Setup
from sim_harness.scenario.matrices import read_matrix
from sim_harness.scenario.schema import Constant, Matrix, Regions, Scenario
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.regions import one_way_us


def setup_of(scenario: Scenario, seed: int) -> Setup:
    """What node processes have in common, but for who lies. Raises UserError."""
    network = scenario.network
    rows: list[list[int]]
    match network.distance:
        case Regions(names=names):
            rows = [[one_way_us(source, target) for target in names] for source in names]
            places = [index % len(names) for index in range(network.nodes)]
        case Constant(millis=millis):
            rows, places = [[millis * MICROS_PER_MS]], [0] * network.nodes
        case Matrix(path=path):
            try:
                rows = [list(row) for row in read_matrix(Path(scenario.directory) / path)]
            except (OSError, ValueError) as error:
                raise UserError(f"cannot read {path}: {error}") from None
            places = places_in(len(rows), network.nodes, seed)
        case _:
            assert_never(network.distance)
    return Setup(
        seed=seed,
        nodes=network.nodes,
        validators=network.validators,
        rows_us=tuple(tuple(row) for row in rows),
        places=tuple(places),
        jitter_us=network.jitter * MICROS_PER_MS,
        bytes_per_second=max(1, network.bandwidth // 8),
        parameters=scenario.parameters,
    )


def places_in(size: int, nodes: int, seed: int) -> list[int]:
    """Where each node is, as in the virtual world: different places as long as there are some."""
    order = list(range(size))
    Random(seed).shuffle(order)
    return [order[index % size] for index in range(nodes)]


def seats_of(evidence: Evidence, scenario: Scenario) -> tuple[Seat, ...]:
    """Who was recruited for each league of the scenario."""
    left = list(evidence.seated)
    seats = []
    for spec in scenario.adversaries:
        ring = left[0].ring if left else []
        seats.append(Seat(spec.kind, tuple(one.node.index for one in ring), dict(spec.options)))
        left = left[len(ring) :]
    return tuple(seats)

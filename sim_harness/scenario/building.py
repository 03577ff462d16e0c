"""A world as a scenario describes it, with its liars and its load, ready to start."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import assert_never

import msgspec

from p2p.model.proposer import advance
from p2p.primitives.units import BASIS_POINTS, Millis
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.table import corrupt, recruit
from sim_harness.scenario import schema
from sim_harness.scenario.faults import BITS
from sim_harness.scenario.matrices import read_matrix
from sim_harness.scenario.overrides import node_parameters_of, parameters_of
from sim_harness.scenario.reading import population_of
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.selectors import Population, select
from sim_harness.virtual.adding import Adding, AddingPlan
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.links import Latency
from sim_harness.virtual.machine import own_cores
from sim_harness.virtual.regions import latencies_of
from sim_harness.virtual.spans import minutes
from sim_harness.virtual.workload import Trade, Transfers
from sim_harness.virtual.world import World

Holders = Callable[[int | None], list[int]]
"""Who holds a file, by its number; None: the newest."""


def build_world(scenario: Scenario, seed: int, *, real_signatures: bool = False) -> World:
    """The nodes and links of a scenario; nothing runs yet."""
    network = scenario.network
    world = World(
        seed=seed,
        nodes=network.nodes,
        validators=network.validators,
        parameters=parameters_of(scenario.parameters),
        latency=_latency(scenario, seed),
        jitter_us=network.jitter * MICROS_PER_MS,
        real_signatures=real_signatures,
        node_parameters=node_parameters_of(scenario.parameters),
    )
    world.links.bytes_per_second = max(1, network.bandwidth // BITS)
    if scenario.cpu is not None:
        own_cores(world, scenario.cpu / BASIS_POINTS)
    return world


def population_in(world: World, scenario: Scenario, holders: Holders) -> Population:
    """Whom the scenario's selectors mean in a world: who proposes next, who holds what."""
    found = population_of(scenario.network, scenario.load)

    def proposer() -> int:
        running = [node for node in world.nodes if node.replica is not None]
        if not running:
            return 0
        replica = max(running, key=lambda node: (node.height, -node.index)).replica
        assert replica is not None, "it runs"
        _, account = advance(replica.state.priorities, replica.state.validators)
        return next(node.index for node in world.nodes if node.key.account == account)

    return msgspec.structs.replace(found, proposer=proposer, holders=holders)


def recruit_all(world: World, scenario: Scenario, population: Population) -> list[Adversary]:
    """Let the scenario's adversaries take their seats."""
    ring: list[Adversary] = []
    for spec in scenario.adversaries:
        options = dict(spec.options)
        if isinstance(spec.nodes, int):
            ring += recruit(world, spec.kind, spec.nodes, options)
        else:
            chosen = select(spec.nodes, population, world.stream("adversaries"))
            ring += corrupt(world, spec.kind, [world.nodes[index] for index in chosen], options)
    return ring


class Market:
    """The load of a scenario: trades of consumers with one provider each, transfers, and files."""

    def __init__(self, world: World, load: schema.Load, population: Population) -> None:
        draws = world.stream("market")
        buying = population.members("consumers")
        selling = [node for node in world.honest if node.index not in buying]
        self.trades: list[Trade] = []
        self.transfers: Transfers | None = None
        self.adding: Adding | None = None
        if load.receipts_per_minute and selling:
            every = Millis(minutes(1) // load.receipts_per_minute)
            self.trades = [
                Trade(world, world.nodes[index], draws.choice(selling), every=every)
                for index in buying
                if world.is_honest(world.nodes[index])
            ]
        if load.transfers_per_minute:
            every = Millis(max(1, minutes(1) // load.transfers_per_minute))
            self.transfers = Transfers(world, every=every)
        adders = [world.nodes[index] for index in buying if world.is_honest(world.nodes[index])]
        if load.adds_per_minute and selling and adders:
            low, high = load.blob_bytes
            plan = AddingPlan(
                every=Millis(max(1, minutes(1) // load.adds_per_minute)),
                bytes_min=low,
                bytes_max=high,
                replicas=load.replicas,
                epochs=load.blob_epochs,
                window_bytes=load.window_bytes,
            )
            self.adding = Adding(world, plan, adders, selling, population.regions)

    def holders(self, number: int | None) -> list[int]:
        """Who holds a file; None: the newest that anybody holds."""
        return [] if self.adding is None else self.adding.holders(number)

    def close(self) -> None:
        """No new work; what was done is still settled."""
        for trade in self.trades:
            trade.is_paused = True
        if self.transfers is not None:
            self.transfers.is_paused = True
        if self.adding is not None:
            self.adding.close()

    def is_settled(self) -> bool:
        """Whether the ledger paid all that consumers signed for."""
        paid = all(
            trade.settled >= trade.accepted for trade in self.trades if trade.channel is not None
        )
        return paid and (self.adding is None or self.adding.is_settled())


def _latency(scenario: Scenario, seed: int) -> Latency:
    distance = scenario.network.distance
    match distance:
        case schema.Regions(names=names):
            return latencies_of(names)
        case schema.Constant(millis=millis):
            return lambda one, other: millis * MICROS_PER_MS
        case schema.Matrix(path=path):
            rows = read_matrix(Path(scenario.directory) / path)
            places = _places(len(rows), scenario.network.nodes, seed)
            return lambda one, other: rows[places[one]][places[other]]
        case _:
            assert_never(distance)


def _places(size: int, nodes: int, seed: int) -> list[int]:
    """Where each node is: different places as long as there are some."""
    order = list(range(size))
    Random(seed).shuffle(order)
    return [order[index % size] for index in range(nodes)]

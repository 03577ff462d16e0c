"""How large a scenario is: what one must keep in mind to understand a run of it, times its length.

size = (nodes + faults + liars + buyers + overrides) x seconds

Seconds are those of the first phase, or until the failure if that comes later, while all heals.
"""

from typing import Final

import msgspec

from sim_harness.scenario import schema
from sim_harness.scenario.schema import Scenario

WIDE: Final = ("all", "nodes", "rest")


class Size(msgspec.Struct, frozen=True):
    """The parts of a scenario, counted."""

    nodes: int
    faults: int
    liars: int
    buyers: int
    """Consumers, and one more when there are transfers, and one when files are added."""
    overrides: int
    """Parameters, and what of the network is not as usual."""
    duration_ms: int
    detail: int
    """How long faults last, and how many words they have; it only breaks ties."""

    @property
    def things(self) -> int:
        """All but time."""
        return self.nodes + self.faults + self.liars + self.buyers + self.overrides

    @property
    def total(self) -> float:
        """Things times seconds."""
        return self.things * self.duration_ms / 1_000

    @property
    def order(self) -> tuple[int, int]:
        """What shrinking makes smaller at every step."""
        return self.things * self.duration_ms, self.detail

    @property
    def text(self) -> str:
        """In a line."""
        parts = [
            f"{self.nodes} nodes",
            f"{self.faults} faults",
            f"{self.liars} liars",
            f"{self.buyers} buyers",
            f"{self.overrides} overrides",
        ]
        return f"{', '.join(parts)}, {self.duration_ms / 1_000:g} s: size {self.total:g}"


def size_of(scenario: Scenario, failed_ms: int | None = None) -> Size:
    """Count a scenario, which failed at a moment or never did."""
    network, load = scenario.network, scenario.load
    usual = schema.Network()
    odd = [
        not isinstance(network.distance, schema.Constant),
        network.jitter not in (usual.jitter, 0),
        network.bandwidth != usual.bandwidth,
    ]
    return Size(
        nodes=network.nodes,
        faults=len(scenario.faults),
        liars=sum(one.nodes if isinstance(one.nodes, int) else 1 for one in scenario.adversaries),
        buyers=load.consumers + bool(load.transfers_per_minute) + bool(load.adds_per_minute),
        overrides=len(scenario.parameters) + sum(odd),
        duration_ms=max(int(scenario.duration), failed_ms or 0),
        detail=_detail(scenario),
    )


def _detail(scenario: Scenario) -> int:
    """Ties: votes, lengths of faults, repeated faults, wide selectors, options, other loads."""
    load = scenario.load
    detail = 1_000 * scenario.network.validators + scenario.network.jitter
    rates = load.receipts_per_minute + load.transfers_per_minute + load.adds_per_minute
    detail += (rates + 100 * load.replicas) * bool(load.consumers)
    detail += sum(1_000 * len(spec.options) for spec in scenario.adversaries)
    detail += 1_000 * len(scenario.expect.sometimes)
    for fault in scenario.faults:
        detail += (fault.lasts or scenario.duration) + 5_000 * (fault.every is not None)
        groups = fault.groups if isinstance(fault, schema.Partition) else (fault.nodes,)
        detail += sum(200 * (group in WIDE) + 10 * len(group) for group in groups)
        if isinstance(fault, schema.Partition | schema.Delay | schema.Loss):
            detail += 100 * (fault.direction.value != "both")
    return detail

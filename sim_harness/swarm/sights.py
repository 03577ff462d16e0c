"""What ought to happen in some seed of a swarm; what never does was not tested.

A sight is a name and a look at a finished run. Each kind of fault and of adversary is one, too.
"""

from collections.abc import Callable
from typing import Final

from p2p.model.requests import Blocks
from p2p.protocol.interface import (
    EquivocationFound,
    ReplicaEffect,
    ReplicaInput,
    ResponseArrived,
    RoundStarted,
)
from sim_harness.adversaries.table import ADVERSARIES
from sim_harness.scenario.measures import furthest, reward_rows
from sim_harness.scenario.results import Result
from sim_harness.scenario.run import Run
from sim_harness.scenario.schema import FAULTS
from sim_harness.swarm.about_consensus import KINDS, LIARS
from sim_harness.virtual.checkers import stored_chain
from sim_harness.virtual.node import VirtualNode

LONG_MS: Final = 10_000
OF_CONSENSUS: Final = (
    "a round above 0 was entered",
    "a block was decided in a round above 0",
    "a value was proposed again in a later round",
    "a node synced blocks",
    "a node was five heights behind",
    "the chain stood still for 10 s",
    "everybody was down at once",
    "an equivocation was found",
    "a liar was slashed",
    "a transfer was committed",
    "a torn write happened",
    "a packet was lost",
)
"""Sights of scenarios about consensus, beside their faults and liars."""


class Watch:
    """Notes what leaves no trace in a node: put over its behaviour, it changes nothing."""

    def __init__(self, run: Run) -> None:
        self.synced = False
        for node in run.world.honest:
            node.behaviour = self._see

    def _see(
        self, node: VirtualNode, item: ReplicaInput, effects: list[ReplicaEffect]
    ) -> list[ReplicaEffect]:
        if type(item) is ResponseArrived:
            found = item.response.value
            self.synced = self.synced or (isinstance(found, Blocks) and bool(found.blocks))
        return effects


Look = Callable[[Run, Result, Watch], bool]


def _late(run: Run, result: Result, watch: Watch) -> bool:
    return any(row.height > row.epoch + 1 for row in reward_rows(furthest(run.world)))


def _torn(run: Run, result: Result, watch: Watch) -> bool:
    """A process ended while power failed, without a word and without a full disk."""
    lives = [
        (node.index, end_ms)
        for node in result.nodes
        for _, end_ms in node.lives_ms
        if end_ms is not None
    ]
    return any(
        index in fault.nodes and fault.at_ms <= end_ms <= (fault.until_ms or result.end_ms)
        for fault in result.faults
        if fault.kind == "torn_write"
        for index, end_ms in lives
    )


def _event(kind: type, wanted: Callable[[object], bool] = lambda event: True) -> Look:
    return lambda run, result, watch: any(
        isinstance(event, kind) and wanted(event)
        for node in run.world.honest
        for _, event in node.events
    )


SIGHTS: Final[dict[str, Look]] = {
    "a round above 0 was entered": _event(RoundStarted),
    "a block was decided in a round above 0": lambda run, result, watch: any(
        commit.round > 0 for commit in result.commits
    ),
    "a value was proposed again in a later round": lambda run, result, watch: bool(
        run.world.book.carried
    ),
    "a node synced blocks": lambda run, result, watch: watch.synced,
    "a node was five heights behind": lambda run, result, watch: any(
        sample.lag >= 5 for sample in result.samples
    ),
    "the chain stood still for 10 s": lambda run, result, watch: any(
        sample.idle >= LONG_MS // 1_000 for sample in result.samples
    ),
    "everybody was down at once": lambda run, result, watch: any(
        sample.up == 0 for sample in result.samples
    ),
    "an equivocation was found": _event(EquivocationFound),
    "a liar was slashed": lambda run, result, watch: any(
        committed.block.evidence for committed in stored_chain(furthest(run.world))
    ),
    "a receipt settled": lambda run, result, watch: any(one.settled for one in result.trades),
    "a receipt settled late": _late,
    "a transfer was committed": lambda run, result, watch: (
        run.scenario.load.transfers_per_minute > 0
        and any(commit.transactions > 0 for commit in result.commits)
    ),
    "a file found all its replicas": lambda run, result, watch: any(
        one.placed_ms is not None for one in result.files
    ),
    "a transfer of a file broke off": lambda run, result, watch: any(
        one.breaks for one in result.dealings
    ),
    "a torn write happened": _torn,
    "damage on a disk was found and mended": lambda run, result, watch: any(
        node.mended for node in run.world.honest
    ),
    "a full disk stopped a node": lambda run, result, watch: any(
        node.stops for node in result.nodes
    ),
    "a packet was lost": lambda run, result, watch: result.retransmissions > 0,
    **{
        f"fault {kind}": lambda run, result, watch, kind=kind: any(  # type: ignore[misc]
            fault.kind == kind and fault.nodes for fault in result.faults
        )
        for kind in FAULTS
    },
    **{
        f"adversary {kind}": lambda run, result, watch, kind=kind: any(  # type: ignore[misc]
            liar.kind == kind for liar in result.adversaries
        )
        for kind in ADVERSARIES
    },
}


def sights_of(about: str | None) -> list[str]:
    """What a swarm ought to see: all, or what its subject can show."""
    if about is None:
        return list(SIGHTS)
    drawn = {f"fault {fault}" for fault in KINDS} | {f"adversary {kind}" for kind, _ in LIARS}
    return [name for name in SIGHTS if name in drawn or name in OF_CONSENSUS]


def seen(run: Run, result: Result, watch: Watch) -> list[str]:
    """The sights of a finished run."""
    return [name for name, look in SIGHTS.items() if look(run, result, watch)]

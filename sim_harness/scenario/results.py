"""What a run found, as plain values: one JSON object, and all that a report is drawn from.

Moments are milliseconds of virtual time since the start. The first five keys are the answer.
"""

from typing import Final, Literal

import msgspec

from sim_harness.scenario.faults import FaultRecord
from sim_harness.scenario.statements import Sample

PERCENTILES: Final = (50, 95, 99)


class Violation(msgspec.Struct, frozen=True):
    """A promise that was broken, and what happened around it."""

    name: str
    detail: str
    at_ms: int
    around: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    """One expectation, and what was measured."""

    name: str
    wanted: str
    measured: str
    holds: bool


class Coverage(msgspec.Struct, frozen=True):
    """Something that ought to happen in some runs, and when it first did in this one."""

    text: str
    first_ms: int | None


class Distribution(msgspec.Struct, frozen=True):
    """Of measured milliseconds."""

    count: int = 0
    p50: int = 0
    p95: int = 0
    p99: int = 0
    max: int = 0


class Commit(msgspec.Struct, frozen=True):
    """One height: dated by its proposer, committed first and last by honest nodes, in a round."""

    height: int
    block_ms: int
    first_ms: int
    last_ms: int
    nodes: int
    round: int
    transactions: int
    receipts: int


class NodeResult(msgspec.Struct, frozen=True):
    """One node at the end of the run."""

    index: int
    name: str
    """`validator`, `node`, `consumer`, or the kind of adversary."""
    region: str
    height: int
    crashes: int
    stops: tuple[str, ...]
    peers: int
    bytes_sent: int
    bytes_by_topic: dict[str, int]
    messages_heard: int
    duplicates: int
    dropped: int
    paid: int
    """As a consumer, in micro-tokens settled."""
    received: int
    """As a provider, from settlements."""
    change: int
    """All that it owns, compared with genesis."""
    lives_ms: tuple[tuple[int, int | None], ...]
    """From when to when its processes ran; None: still running."""
    commits_ms: tuple[int, ...]
    rounds_ms: tuple[int, ...]
    """When it entered a round above 0."""


class AdversaryResult(msgspec.Struct, frozen=True):
    """What one liar did, and what its owner made of it in micro-tokens."""

    node: int
    kind: str
    deeds: dict[str, int]
    profit: int | None


class TradeResult(msgspec.Struct, frozen=True):
    """One consumer and its provider, in micro-tokens."""

    consumer: int
    provider: int
    delivered: int
    promised: int
    settled: int
    window: int
    """The price of one window: what either side can lose at most."""


class FileResult(msgspec.Struct, frozen=True):
    """One file that a consumer added."""

    number: int
    consumer: int
    size_bytes: int
    at_ms: int
    wanted: int
    """Replicas."""
    holders: tuple[int, ...]
    placed_ms: int | None
    """How long until the last replica was paid for; None: not all of them are."""


class DealingResult(msgspec.Struct, frozen=True):
    """A consumer and a provider of its files, in micro-tokens."""

    consumer: int
    provider: int
    files: int
    """Stored there."""
    breaks: int
    """Transfers that ended early."""
    delivered: int
    promised: int
    settled: int


class Result(msgspec.Struct, frozen=True):
    """One run of one scenario from one seed."""

    verdict: Literal["pass", "fail"]
    digest: str
    heights: tuple[int, ...]
    violations: tuple[Violation, ...]
    replay: str
    name: str
    about: str
    seed: int
    signatures: str
    world: str
    nodes_count: int
    validators_count: int
    faults_end_ms: int
    """When the first phase ended."""
    healed_ms: int | None
    """The last repair; None: nothing was ever broken."""
    recovered_ms: int | None
    """How long after it every honest node had committed a new height."""
    end_ms: int
    events: int
    checks: tuple[Check, ...]
    coverage: tuple[Coverage, ...]
    faults: tuple[FaultRecord, ...]
    commit_latency: Distribution
    """From a block's own time to its commit, each node and height."""
    decide_latency: Distribution
    """From a block's own time to its first commit."""
    ad_latency: Distribution
    """From an ad's publishing to its arrival, each node that was up."""
    ad_delivery: float | None
    """Share of those arrivals that came; None: no ad could be judged."""
    commits: tuple[Commit, ...]
    nodes: tuple[NodeResult, ...]
    adversaries: tuple[AdversaryResult, ...]
    trades: tuple[TradeResult, ...]
    files: tuple[FileResult, ...]
    dealings: tuple[DealingResult, ...]
    samples: tuple[Sample, ...]
    burned: int
    retransmissions: int
    last_events: tuple[str, ...] = ()
    """What happened last, when an expectation was not met in the end."""


def distribution(values: list[int]) -> Distribution:
    """Percentiles by rank: the smallest value that so many percent do not exceed."""
    if not values:
        return Distribution()
    ordered = sorted(values)
    p50, p95, p99 = (ordered[-(-len(ordered) * percent // 100) - 1] for percent in PERCENTILES)
    return Distribution(len(ordered), p50, p95, p99, ordered[-1])

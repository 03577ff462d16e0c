"""What a live run found: the virtual world's result, and what only real processes have."""

import msgspec

from sim_harness.scenario.results import Distribution, Result


class WorkResult(msgspec.Struct, frozen=True):
    """One kind of load, as it was asked for, open loop, and what came of it."""

    kind: str
    asked: int
    done: int
    failed: int
    took: Distribution
    bytes: int
    paid: int
    why: tuple[str, ...] = ()
    """The most frequent reasons of failures."""


class ResourcePoint(msgspec.Struct, frozen=True):
    """All processes at a moment."""

    at_ms: int
    pss_mib: float
    cpu_percent: float
    """Of all nodes together since the point before; 100 is one core."""
    harness_percent: float
    descriptors_max: int


class NodeCost(msgspec.Struct, frozen=True):
    """What one node took."""

    index: int
    cpu_percent: float
    """Mean while it was watched; 100 is one core."""
    rss_mib: float
    """The most seen."""
    descriptors: int


class LiveResult(Result, frozen=True, kw_only=True):
    """One run of one scenario on real processes."""

    peak_memory_mib: float
    """The most that all nodes and their parent took together, shared pages once."""
    bring_up_s: float
    """From the start of the harness to a network that is meshed and has a block everywhere."""
    started_s: float
    """Until every node served."""
    rss_sum_mib: float
    cpu_percent_node: float
    """Mean over nodes and the time of the run."""
    cpu_percent_total: float
    machine: str
    load_average: float
    dropped: int
    """Messages of nodes to the harness that found no room."""
    run_directory: str
    interrupted: bool
    work: tuple[WorkResult, ...]
    resources: tuple[ResourcePoint, ...]
    costs: tuple[NodeCost, ...]

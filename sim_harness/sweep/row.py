"""One run of a sweep as a row of numbers."""

from typing import Final

import msgspec

from sim_harness.scenario.results import Distribution, Result
from sim_harness.sweep.grid import Job, Setting

MEASURES: Final[dict[str, str]] = {
    "decide_p50": "ms until the first node commits a block, median",
    "decide_p95": "ms until the first node commits a block, 95 %",
    "commit_p50": "ms until a node commits a block, median",
    "commit_p95": "ms until a node commits a block, 95 %",
    "commit_p99": "ms until a node commits a block, 99 %",
    "ad_p50": "ms until an ad arrives at a node, median",
    "ad_p95": "ms until an ad arrives at a node, 95 %",
    "ad_p99": "ms until an ad arrives at a node, 99 %",
    "ad_delivery": "share of ads that arrived",
    "recovered_ms": "ms from the last repair until all committed something new",
    "heights": "blocks that all committed",
    "bytes_per_node_s": "bytes of gossip sent by a node in a second",
    "bring_up_s": "seconds until the network was up (live)",
    "peak_memory_mib": "MiB of memory of all processes (live)",
    "cpu_percent_node": "percent of a core that a node took (live)",
    "wall_s": "seconds of real time that the run took",
}
"""Names of the columns that are measured, and what they say."""


class Row(msgspec.Struct, frozen=True):
    """What one run came to."""

    job: str
    settings: dict[str, Setting]
    seed: int
    world: str
    verdict: str
    """`pass`, `fail`, or `error` when the run itself broke."""
    commit: str
    """Of the code that ran."""
    measures: dict[str, float | None]
    failed: tuple[str, ...] = ()
    """Checks that did not hold, or the error."""


def row_of(job: Job, result: Result, *, wall_s: float, commit: str) -> Row:
    """The row of a run that ended."""
    seconds, nodes = max(0.001, result.end_ms / 1000), max(1, len(result.nodes))
    sent = sum(node.bytes_sent for node in result.nodes)
    measures: dict[str, float | None] = {
        "recovered_ms": result.recovered_ms,
        "heights": min(result.heights, default=0),
        "ad_delivery": result.ad_delivery,
        "bytes_per_node_s": round(sent / nodes / seconds, 1),
        "wall_s": round(wall_s, 2),
    }
    for name, found in (
        ("decide", result.decide_latency),
        ("commit", result.commit_latency),
        ("ad", result.ad_latency),
    ):
        measures |= _percentiles(name, found)
    for name in ("bring_up_s", "peak_memory_mib", "cpu_percent_node"):
        measures[name] = getattr(result, name, None)
    return Row(
        job.name,
        dict(job.settings),
        job.seed,
        job.world,
        result.verdict,
        commit,
        {name: measures.get(name) for name in MEASURES},
        tuple(check.name for check in result.checks if not check.holds)
        + tuple(one.name for one in result.violations),
    )


def _percentiles(name: str, found: Distribution) -> dict[str, float | None]:
    if not found.count:
        return dict.fromkeys((f"{name}_p50", f"{name}_p95", f"{name}_p99"))
    return {f"{name}_p50": found.p50, f"{name}_p95": found.p95, f"{name}_p99": found.p99}


def flat(row: Row) -> dict[str, Setting | float | None]:
    """As columns of a table."""
    return {
        "job": row.job,
        **row.settings,
        "seed": row.seed,
        "world": row.world,
        "verdict": row.verdict,
        "commit": row.commit,
        **row.measures,
        "failed": ", ".join(row.failed),
    }

"""One run of a sweep as a row of numbers."""

from typing import Final

import msgspec

from sim_harness.scenario.results import Distribution, Result
from sim_harness.sweep.grid import Job, Setting

MEASURES: Final[dict[str, tuple[str, str]]] = {
    "decide_p50": ("first commit of a block, median", "ms"),
    "decide_p95": ("first commit of a block, 95 %", "ms"),
    "commit_p50": ("commit of a block at a node, median", "ms"),
    "commit_p95": ("commit of a block at a node, 95 %", "ms"),
    "commit_p99": ("commit of a block at a node, 99 %", "ms"),
    "ad_p50": ("way of an ad to a node, median", "ms"),
    "ad_p95": ("way of an ad to a node, 95 %", "ms"),
    "ad_p99": ("way of an ad to a node, 99 %", "ms"),
    "ad_delivery": ("ads that arrived", "share"),
    "recovered_ms": ("recovery after the last repair", "ms"),
    "heights": ("blocks that all committed", "blocks"),
    "bytes_per_node_s": ("gossip sent by a node", "B/s"),
    "bring_up_s": ("bring-up of the network", "s"),
    "peak_memory_mib": ("memory of all processes", "MiB"),
    "cpu_percent_node": ("processor of a node", "% of a core"),
    "wall_s": ("real time that a run took", "s"),
}
"""Names of the columns that are measured, what they are, and their units."""


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
    digest: str = ""
    """Of every event: equal seeds of one code have one. Live runs have none."""
    worker: str = ""
    """The address of the cluster's worker that ran it; nothing for this machine."""


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
        result.digest,
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
        "digest": row.digest,
        "worker": row.worker,
    }

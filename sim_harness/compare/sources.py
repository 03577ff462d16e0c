"""What is compared: one run's report, a directory of runs, or a sweep's rows.

Every source comes to samples by measure. A run's are its heights and its nodes; those of several
runs are the runs' medians, and where both sides ran equal settings and seeds they are paired.
"""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import structs

from sim_harness.sweep.directory import ROWS, SweepError, read_plan, read_rows
from sim_harness.sweep.row import Row

LOWER_IS_BETTER: Final = {
    "first commit": "ms",
    "last commit": "ms",
    "commit latency": "ms",
    "ad latency": "ms",
    "recovery": "ms",
    "gossip sent": "kB/s a node",
    "processor": "% of a core a node",
    "memory": "MiB",
    "bring-up": "s",
}
"""Measures, and their units."""
_OF_ROWS: Final = {
    "decide_p50": "first commit",
    "commit_p50": "commit latency",
    "ad_p50": "ad latency",
    "recovered_ms": "recovery",
    "bytes_per_node_s": "gossip sent",
    "cpu_percent_node": "processor",
    "peak_memory_mib": "memory",
    "bring_up_s": "bring-up",
}


class Key(NamedTuple):
    """What makes two runs of two sweeps the same run."""

    world: str
    settings: str
    seed: int


class SourceError(Exception):
    """Something that cannot be compared; in a sentence."""


class _Commit(msgspec.Struct):
    block_ms: int
    first_ms: int
    last_ms: int


class _Node(msgspec.Struct):
    bytes_sent: int


class _Spread(msgspec.Struct):
    count: int = 0
    p50: int = 0
    p95: int = 0
    p99: int = 0


class _Cost(msgspec.Struct):
    cpu_percent: float
    rss_mib: float


class Report(msgspec.Struct):
    """The parts of a report that are compared."""

    verdict: str
    name: str
    seed: int
    world: str
    end_ms: int
    commits: tuple[_Commit, ...]
    nodes: tuple[_Node, ...]
    commit_latency: _Spread
    ad_latency: _Spread
    recovered_ms: int | None = None
    peak_memory_mib: float | None = None
    bring_up_s: float | None = None
    costs: tuple[_Cost, ...] = ()


class Source(msgspec.Struct):
    """One side of a comparison."""

    name: str
    runs: int
    failed: int
    samples: dict[str, list[float]]
    by_key: dict[str, dict[Key, float]] = {}
    """Of several runs: a value a run, by settings and seed."""
    commit: str = ""
    """Of the code that ran, where it is known."""
    scenario: str = ""
    """A digest of the scenario, where it is known."""
    title: str = ""
    """Of runs: what their scenarios are called."""


def read_source(path: Path) -> Source:
    """A report.json, a directory with one, a directory of runs, or a sweep's directory.

    Raises SourceError.
    """
    if path.is_file():
        return _of_reports(str(path), [_report(path)])
    if (path / ROWS).exists():
        try:
            rows, plan = read_rows(path), read_plan(path)
            if not rows:
                raise SourceError(f"{path} is a sweep without a row")
            return structs.replace(
                _of_rows(str(path), rows), scenario="" if plan is None else plan.scenario
            )
        except SweepError as error:
            raise SourceError(str(error)) from None
    if (path / "report.json").exists():
        return _of_reports(str(path), [_report(path / "report.json")])
    found = sorted(path.glob("*/report.json"))
    if not found:
        raise SourceError(f"{path} holds no report.json, no runs and no sweep")
    return _of_reports(str(path), [_report(one) for one in found])


def _report(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise SourceError(f"{path} is no report of a run: {error}") from None


def _of_reports(name: str, reports: list[Report]) -> Source:
    samples: dict[str, list[float]] = {one: [] for one in LOWER_IS_BETTER}
    for one in reports:
        seconds = max(0.001, one.end_ms / 1000)
        samples["first commit"] += [max(0, at.first_ms - at.block_ms) for at in one.commits]
        samples["last commit"] += [max(0, at.last_ms - at.block_ms) for at in one.commits]
        samples["gossip sent"] += [node.bytes_sent / seconds / 1000 for node in one.nodes]
        samples["processor"] += [cost.cpu_percent for cost in one.costs]
        samples["memory"] += [cost.rss_mib for cost in one.costs]
        if len(reports) > 1:
            samples["commit latency"].append(one.commit_latency.p50)
            samples["ad latency"].append(one.ad_latency.p50)
        if one.recovered_ms is not None:
            samples["recovery"].append(one.recovered_ms)
        if one.bring_up_s is not None:
            samples["bring-up"].append(one.bring_up_s)
    failed = sum(one.verdict != "pass" for one in reports)
    measured = {key: one for key, one in samples.items() if one}
    titles = ", ".join(sorted({one.name for one in reports}))
    return Source(name, len(reports), failed, measured, title=titles)


def _of_rows(name: str, rows: list[Row]) -> Source:
    samples: dict[str, list[float]] = {}
    by_key: dict[str, dict[Key, float]] = {}
    for row in rows:
        words = [f"{name} {value}" for name, value in sorted(row.settings.items())]
        key = Key(row.world, ", ".join(words), row.seed)
        for column, measure in _OF_ROWS.items():
            value = row.measures.get(column)
            if value is None:
                continue
            scaled = value / 1000 if measure == "gossip sent" else value
            samples.setdefault(measure, []).append(scaled)
            by_key.setdefault(measure, {})[key] = scaled
    failed = sum(row.verdict != "pass" for row in rows)
    commit = ", ".join(sorted({row.commit for row in rows}))
    return Source(name, len(rows), failed, samples, by_key, commit)

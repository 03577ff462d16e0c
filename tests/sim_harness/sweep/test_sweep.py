"""A sweep runs every cell once, takes up where it stopped, and is the same on a cluster."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import polars
import pytest
from typer.testing import CliRunner

from sim_harness.cli import app
from sim_harness.scenario.sections import ScenarioError
from sim_harness.sweep.grid import Axis, Job, jobs_of, parse_axis, with_settings
from sim_harness.sweep.page import page
from sim_harness.sweep.row import Row
from sim_harness.sweep.runner import (
    ROWS,
    SweepError,
    on_cluster,
    on_this_machine,
    read_rows,
    run_sweep,
)
from sim_harness.sweep.work import run_job

STORY = """
name = "tiny"
duration = "3s"

[network]
nodes = 4
validators = 4
latency = "5ms"

[parameters]
epoch_ms = 500

[[fault]]
kind = "delay"
add = "5ms"
nodes = "all"
at = "1s"
for = "1s"

[expect]
recovers_within = "20s"
"""


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(STORY)
    return path


def test_faults_of_the_kernel_are_runs_of_their_own(tmp_path: Path) -> None:
    story = tmp_path / "tiny.toml"
    story.write_text(STORY)
    one, other = (
        jobs_of(story, [], repeat=1, seed=1, world="live", kernel=kernel)[0]
        for kernel in (False, True)
    )
    assert one.name != other.name
    for words, why in (
        (["--faults", "kernel"], "--world live"),
        (["--faults", "dice", "--world", "live"], "transport or kernel, not 'dice'"),
    ):
        found = CliRunner().invoke(app, ["sweep", str(story), *words])
        assert (found.exit_code, why in found.output) == (2, True), found.output


def test_values_are_tomls_and_what_is_none_is_a_text() -> None:
    assert parse_axis("network.nodes=50, 100") == Axis("network.nodes", (50, 100))
    assert parse_axis("network.latency=20ms") == Axis("network.latency", ("20ms",))
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_axis("nodes")


def test_settings_reach_tables_and_tables_of_arrays() -> None:
    text = with_settings(STORY, [("network.nodes", 5), ("fault.0.add", "9ms"), ("load.x", 1)])
    assert "nodes = 5" in text
    assert 'add = "9ms"' in text
    with pytest.raises(ScenarioError, match="fault"):
        with_settings(STORY, [("fault.3.add", 1)])


def test_a_combination_that_makes_no_sense_is_refused_before_anything_runs(story: Path) -> None:
    with pytest.raises(ScenarioError, match="validators"):
        jobs_of(story, [Axis("network.nodes", (4, 2))], repeat=1, seed=1, world="virtual")


class Counting:
    """Runs in this process, and counts; ends after so many, as a sweep that is killed."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Row]:
        for job in jobs:
            if not self.left:
                return
            self.left -= 1
            yield run_job(job)


def test_a_sweep_goes_on_where_it_stopped_and_its_table_has_every_run(
    story: Path, tmp_path: Path
) -> None:
    jobs = jobs_of(story, [Axis("network.nodes", (4, 5))], repeat=2, seed=7, world="virtual")
    assert len({job.name for job in jobs}) == 4
    directory = tmp_path / "out"
    run_sweep(jobs, directory, Counting(1))
    with (directory / ROWS).open("ab") as file:
        file.write(b'{"job": "cut o')
    rest = Counting(100)
    rows = run_sweep(jobs, directory, rest)
    assert rest.left == 97
    assert [(row.settings["network.nodes"], row.seed) for row in rows] == [
        (4, 7),
        (4, 8),
        (5, 7),
        (5, 8),
    ]
    assert {row.verdict for row in rows} == {"pass"}
    table = polars.read_parquet(directory / "results.parquet")
    assert table["network.nodes"].to_list() == [4, 4, 5, 5]
    assert table["commit_p50"].to_list() == [row.measures["commit_p50"] for row in rows]
    text = page("tiny", rows)
    assert "4 runs over network.nodes" in text
    assert text.count("<svg") >= 5
    (directory / ROWS).write_bytes(b"nonsense\n" + (directory / ROWS).read_bytes())
    with pytest.raises(SweepError, match="no row"):
        read_rows(directory)


def test_runs_in_processes_of_their_own_come_to_the_same(story: Path) -> None:
    jobs = jobs_of(story, [], repeat=2, seed=1, world="virtual")
    rows = sorted(on_this_machine(2)(jobs), key=lambda row: row.seed)
    here = [run_job(job) for job in jobs]
    for found, expected in zip(rows, here, strict=True):
        found.measures["wall_s"] = expected.measures["wall_s"] = None
        assert msgspec.structs.replace(found, commit="") == msgspec.structs.replace(
            expected, commit=""
        )


@pytest.mark.live
def test_a_cluster_runs_the_same_sweep_and_a_lost_workers_run_is_run_again(story: Path) -> None:
    """Given two workers; when one is killed at work; then every run still comes back."""
    from distributed import LocalCluster

    jobs = jobs_of(story, [], repeat=4, seed=1, world="virtual")
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as cluster:
        rows: list[Row] = []
        for row in on_cluster(cluster.scheduler_address)(jobs):
            if not rows:
                # Kill the process of a worker, as a machine that is gone.
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
            rows.append(row)
    assert sorted(row.seed for row in rows) == [1, 2, 3, 4]
    assert {row.verdict for row in rows} == {"pass"}


def test_the_command_writes_a_table_and_a_page(story: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ["sweep", str(story), "--set", "network.nodes=4", "--output", str(output)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert (output / "report.html").exists()
    assert (output / "results.parquet").exists()
    bad = CliRunner().invoke(app, [*words[:2], "--set", "nodes", "--output", str(output)])
    assert bad.exit_code == 2
    assert "KEY=VALUE" in bad.output

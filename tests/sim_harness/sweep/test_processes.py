"""Sweeps over processes: Ctrl-C, a kill, another commit, and a cluster that loses a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sim_harness.swarm.swarm import commit
from sim_harness.sweep.directory import ROWS, SweepError
from sim_harness.sweep.grid import Job, jobs_of
from sim_harness.sweep.row import Row
from sim_harness.sweep.runner import KEY, at_commit, on_cluster
from sim_harness.sweep.work import run_job
from tests.sim_harness.sweep.test_sweep import STORY

pytestmark = pytest.mark.live

SLOW = STORY.replace("nodes = 4", "nodes = 20").replace('"3s"', '"60s"')
DEADLINE_S = 240.0


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    path = tmp_path / "slow.toml"
    path.write_text(SLOW)
    return path


def children_of(process: int) -> list[int]:
    """Processes whose parent it is."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rows_in(directory: Path) -> int:
    file = directory / ROWS
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_leaves_no_process_and_goes_on_where_it_was(
    slow: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out"
    words = ["sweep", str(slow), "--repeat", "5", "--jobs", "2", "--output", str(output)]
    command = [sys.executable, "-m", "sim_harness.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_until(lambda: rows_in(output) and children_of(process.pid), "a row")
        runs = children_of(process.pid)
        process.send_signal(number)
        told, _ = process.communicate(timeout=DEADLINE_S)
    wait_until(lambda: not any(map(is_running, runs)), "the runs to end")
    done = rows_in(output)
    assert done < 5
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert "the same command goes on from" in told
    again = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True, timeout=DEADLINE_S
    )
    assert f"{done} of 5 runs are there already" in again.stderr
    assert [row["seed"] for row in json.loads(again.stdout)["rows"]] == [1, 2, 3, 4, 5]
    assert rows_in(output) == 5


@pytest.mark.skipif(commit() is None, reason="no repository")
def test_another_commit_runs_from_its_own_files_and_its_rows_carry_it(
    slow: Path, tmp_path: Path
) -> None:
    jobs = jobs_of(slow, [], repeat=1, seed=1, world="virtual")
    (row,) = at_commit("HEAD", tmp_path, 1)(jobs)
    assert row.verdict == "pass"
    assert row.commit == (commit() or "").removesuffix("-dirty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow.toml"]
    with pytest.raises(SweepError, match="--at nonsense: no commit"):
        at_commit("nonsense", tmp_path, 1)


def seed_of(key: str, jobs: list[Job]) -> int:
    (job,) = (job for job in jobs if key.startswith(f"{KEY}-{job.name}-"))
    return job.seed


def test_a_lost_workers_run_is_run_again_from_its_seed_with_the_same_digest(slow: Path) -> None:
    """Given two workers; when one is killed at work; then its run comes from the other one."""
    from distributed import Client, LocalCluster

    jobs = jobs_of(slow, [], repeat=4, seed=1, world="virtual")
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as cluster:
        rows: dict[int, Row] = {}
        lost, gone, runs = 0, "", []
        with Client(cluster) as client:  # type: ignore[no-untyped-call]
            for row in on_cluster(cluster.scheduler_address)(jobs):
                if not rows:
                    # The process of a worker that is at work, as a machine that is gone.
                    gone, process = next(
                        (address, cluster.workers[name].pid)
                        for name, address in addresses(cluster).items()
                        if client.processing()[address]
                    )
                    lost = seed_of(client.processing()[gone][0], jobs)
                    runs = children_of(process)
                    os.kill(process, signal.SIGKILL)
                rows[row.seed] = row
        assert sorted(rows) == [1, 2, 3, 4]
        assert {row.verdict for row in rows.values()} == {"pass"}
        assert rows[lost].worker != gone
        assert rows[lost].digest == run_job(jobs[lost - 1]).digest != ""
        wait_until(lambda: not any(map(is_running, runs)), "the lost worker's run to end")


def addresses(cluster: object) -> dict[object, str]:
    """Of the workers, by their names."""
    return {name: nanny.worker_address for name, nanny in cluster.workers.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_goes_away_leaves_no_run_on_the_cluster(
    slow: Path, tmp_path: Path, number: signal.Signals
) -> None:
    from distributed import LocalCluster

    output = tmp_path / "out"
    words = ["sweep", str(slow), "--repeat", "4", "--output", str(output)]
    command = [sys.executable, "-m", "sim_harness.cli", *words, "--dask"]
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as cluster:
        (nanny,) = cluster.workers.values()
        with subprocess.Popen([*command, cluster.scheduler_address]) as process:
            wait_until(lambda: rows_in(output) and children_of(nanny.pid), "a row, and a run")
            process.send_signal(number)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        wait_until(lambda: not children_of(nanny.pid), "the run under way to end")


def test_a_scheduler_that_is_lost_is_said_in_a_sentence(slow: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    output = tmp_path / "out"
    words = ["sweep", str(slow), "--repeat", "4", "--output", str(output)]
    command = [sys.executable, "-m", "sim_harness.cli", *words, "--dask"]
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as cluster:
        address = cluster.scheduler_address
        process = subprocess.Popen(
            [*command, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_until(lambda: rows_in(output), "a row")
    _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "Traceback" not in told
    assert f"sim-harness: the Dask scheduler at {address} is gone" in told


@pytest.mark.parametrize(
    ("address", "why"),
    [("nonsense", "expected an address"), ("tcp://127.0.0.1:9", "no Dask scheduler answers")],
)
def test_a_cluster_that_is_not_there_is_said_in_a_sentence(
    slow: Path, address: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim_harness.sweep.runner.CONNECT_S", 1)
    jobs = jobs_of(slow, [], repeat=1, seed=1, world="virtual")
    with pytest.raises(SweepError, match=why):
        list(on_cluster(address)(jobs))

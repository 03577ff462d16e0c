"""A sweep on a Dask cluster that loses a worker: its run is run again, and comes to the same.

    python examples/dask_sweep.py [--runs 6] [--seed 1] [--nodes 40] [--json]

A scheduler and two workers are started as processes of their own, as on three machines; whoever has
a cluster already gives its address: `sim-harness sweep FILE --dask tcp://HOST:PORT`. Once a row has
come, a worker at work gets SIGKILL. Exit code 0: every run came back, the lost one from the other
worker and with the digest of a run on this machine, and no process is left; 1: not.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from distributed import Client

from sim_harness.sweep.directory import ROWS, read_rows
from sim_harness.sweep.grid import Job, jobs_of
from sim_harness.sweep.row import Row
from sim_harness.sweep.runner import KEY
from sim_harness.sweep.work import run_job

FILE: Final = Path(__file__).parent / "scenarios" / "minority_partition.toml"
DEADLINE_S: Final = 600.0
LOOK_S: Final = 0.05
WORKERS: Final = ("one", "two")
LAUNCH: Final = """
import runpy, sys
from sim_harness.live.zygote_process import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
runpy.run_module("dask", run_name="__main__")
"""
"""`python -m dask`, which ends with this process, also when that gets SIGKILL."""


class NotSo(Exception):
    """What was to be shown is not so; in a sentence."""


class Found(msgspec.Struct):
    """What happened."""

    runs: int
    rows_when_killed: int
    killed: str
    """The worker's address."""
    lost_seed: int
    run_again_by: str
    digest: str
    digest_here: str
    passed: int
    processes_left: int


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """A scheduler's address, and two workers by name; all end with it."""
    file = folder / "scheduler.json"
    dask = [sys.executable, "-c", LAUNCH, str(os.getpid())]
    local = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (folder / f"{words[-1]}.log").open("wb") as log:
            process = subprocess.Popen([*dask, *words[:-1]], stdout=log, stderr=log)
        processes.append(process)
        return process

    try:
        start("scheduler", *local, "--port", "0", "scheduler")
        wait_until(file.exists, "the scheduler")
        workers = {
            name: start(
                *("worker", *local, "--name", name, "--nthreads", "1", "--no-nanny"),
                *("--local-directory", str(folder / name), name),
            )
            for name in WORKERS
        }
        yield json.loads(file.read_bytes())["address"], workers
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def sweeping(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The sweep; it ends with the block."""
    with subprocess.Popen(command, stdout=sys.stderr) as sweep:
        try:
            yield sweep
        except BaseException:
            sweep.terminate()
            raise


def wait_until(holds: Callable[[], Any], what: str) -> Any:
    """What it comes to, once it is true. Raises NotSo."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := holds()):
        if time.monotonic() > deadline_s:
            raise NotSo(f"waited {DEADLINE_S:.0f} s for {what}")
        time.sleep(LOOK_S)
    return found


def workers_of(client: Client) -> dict[str, str]:
    """Addresses by name."""
    told = client.scheduler_info(n_workers=-1)["workers"]
    return {str(one["name"]): address for address, one in told.items()}


def at_work(client: Client, jobs: list[Job], workers: dict[str, str]) -> tuple[str, int] | None:
    """A worker by name, and the seed of the run that it is at."""
    busy = client.processing()  # type: ignore[no-untyped-call]
    for name, address in workers.items():
        # The first of its tasks is under way; what follows waits for its turn.
        for key in busy.get(address, ())[:1]:
            (seed,) = (job.seed for job in jobs if str(key).startswith(f"{KEY}-{job.name}-"))
            return name, seed
    return None


def descendants(process: int) -> list[int]:
    """Its children and theirs, who are alive."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def show(asked: argparse.Namespace) -> Found:
    """Start the cluster, sweep, kill, and hold the rows against one another. Raises NotSo."""
    with tempfile.TemporaryDirectory(prefix="gigmesh-dask-") as scratch:
        folder = Path(scratch)
        scenario = folder / "partition.toml"
        text = FILE.read_text(encoding="utf-8").replace("nodes = 11", f"nodes = {asked.nodes}")
        scenario.write_text(text, encoding="utf-8")
        jobs = jobs_of(scenario, [], repeat=asked.runs, seed=asked.seed, world="virtual")
        output = folder / "sweep"
        with cluster(folder) as (address, processes):
            words = ["sweep", str(scenario), "--repeat", str(asked.runs), "--dask", address]
            words += ["--seed", str(asked.seed), "--output", str(output)]
            with Client(address, timeout=60) as client:  # type: ignore[no-untyped-call]
                wait_until(lambda: len(workers_of(client)) == len(WORKERS), "the workers")
                workers = workers_of(client)
                command = [sys.executable, "-m", "sim_harness.cli", *words]
                with sweeping(command) as sweep:
                    wait_until(lambda: rows_in(output), "a first row")
                    killed, lost = wait_until(lambda: at_work(client, jobs, workers), "a worker")
                    before = rows_in(output)
                    runs = descendants(processes[killed].pid)
                    os.kill(processes[killed].pid, signal.SIGKILL)
                    print(f"killed worker {killed} at seed {lost}", file=sys.stderr)
                    sweep.wait(timeout=DEADLINE_S)
                wait_until(lambda: not any(map(alive, runs)), "the lost worker's run to end")
        rows = {row.seed: row for row in read_rows(output)}
        if sorted(rows) != [job.seed for job in jobs]:
            raise NotSo(f"rows of seeds {sorted(rows)} alone")
        here = run_job(next(job for job in jobs if job.seed == lost))
        return judged(rows, here, before=before, gone=workers[killed])


def judged(rows: dict[int, Row], here: Row, *, before: int, gone: str) -> Found:
    """Raises NotSo when the lost run is not what it is on this machine."""
    again = rows[here.seed]
    found = Found(
        runs=len(rows),
        rows_when_killed=before,
        killed=gone,
        lost_seed=here.seed,
        run_again_by=again.worker,
        digest=again.digest,
        digest_here=here.digest,
        passed=sum(row.verdict == "pass" for row in rows.values()),
        processes_left=len(descendants(os.getpid())),
    )
    if again.worker == gone:
        raise NotSo(f"seed {here.seed} came from the worker that was killed")
    if not again.digest or again.digest != here.digest:
        raise NotSo(f"seed {here.seed} came to {again.digest}, and here to {here.digest}")
    if found.processes_left:
        raise NotSo(f"{found.processes_left} processes are left")
    return found


def rows_in(directory: Path) -> int:
    """How many have come."""
    file = directory / ROWS
    return file.read_bytes().count(b"\n") if file.exists() else 0


def alive(process: int) -> bool:
    """Whether it runs, and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args()
    # What was started ends with this, too, when somebody says so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        found = show(asked)
    except NotSo as error:
        print(f"not so: {error}", file=sys.stderr)
        return 1
    if asked.json:
        print(msgspec.json.encode(found).decode())
        return 0
    print(f"{found.passed} of {found.runs} runs passed, {found.rows_when_killed} before the kill")
    print(f"seed {found.lost_seed} was lost with {found.killed} and run again by", end=" ")
    print(f"{found.run_again_by}")
    print(f"digest there {found.digest[:16]}..., here {found.digest_here[:16]}...: the same")
    print("no process is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())

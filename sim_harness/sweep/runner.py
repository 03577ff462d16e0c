"""Runs the jobs of a sweep, keeps rows as they come, and goes on where an earlier one stopped."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Final, Protocol
from uuid import uuid4

import msgspec

from sim_harness.sweep.code import commit_named, unpacked
from sim_harness.sweep.directory import TABLE, Plan, SweepError, opened, write_table
from sim_harness.sweep.grid import Job
from sim_harness.sweep.row import Row
from sim_harness.sweep.work import failed_row, run_apart, run_bytes

CONNECT_S: Final = 30
KEY: Final = "gigmesh-run"
"""What the cluster's tasks are called: this, the job and something that no other sweep has."""


class ClusterLost(SweepError):
    """A cluster that was there, and is not any more."""


class Runner(Protocol):
    """Runs jobs in any order."""

    def __call__(self, jobs: Sequence[Job]) -> Generator[Row, None, None]: ...


def on_this_machine(count: int, code: Path | None = None) -> Runner:
    """So many runs at a time, a process each; of the code in another folder, if one is given.

    Whoever closes the iterator early ends the runs that are under way.
    """

    def run(jobs: Sequence[Job]) -> Generator[Row, None, None]:
        is_over = Event()
        pool = ThreadPoolExecutor(count)
        try:
            waiting = {
                pool.submit(run_apart, job, is_wanted=lambda: not is_over.is_set(), code=code)
                for job in jobs
            }
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            is_over.set()
            pool.shutdown(wait=True, cancel_futures=True)

    return run


def at_commit(name: str, directory: Path, count: int) -> Runner:
    """The same of the code of a commit. Raises SweepError."""
    told = commit_named(name)

    def run(jobs: Sequence[Job]) -> Generator[Row, None, None]:
        with (
            unpacked(name, directory) as code,
            closing(on_this_machine(count, code)(jobs)) as rows,
        ):
            for row in rows:
                # Code that was taken out of its repository does not know its commit.
                yield msgspec.structs.replace(row, commit=told)

    return run


def on_cluster(address: str) -> Runner:
    """On a Dask cluster; a run whose worker is lost is run again elsewhere. Raises SweepError."""
    try:
        from distributed import Client, as_completed
        from distributed.comm.addressing import parse_host_port
    except ImportError:
        raise SweepError(
            "--dask needs the package 'distributed': pip install 'gigmesh[dask]'"
        ) from None
    try:
        parse_host_port(address.rpartition("://")[2])
    except ValueError:
        raise SweepError(f"--dask {address}: expected an address as tcp://HOST:PORT") from None

    def run(jobs: Sequence[Job]) -> Generator[Row, None, None]:
        if not jobs:
            return
        try:
            client = Client(address, timeout=CONNECT_S)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError, ValueError) as error:
            raise SweepError(f"no Dask scheduler answers at {address}: {error}") from None
        with client:
            job_of = {f"{KEY}-{job.name}-{uuid4().hex}": job for job in jobs}
            futures = [
                client.submit(_on_worker, msgspec.json.encode(job), key=key, pure=False)
                for key, job in job_of.items()
            ]
            for future in as_completed(futures):  # type: ignore[no-untyped-call]
                try:
                    fault = future.exception()
                    data = future.result() if fault is None else b""
                except CancelledError:
                    raise ClusterLost(
                        f"the Dask scheduler at {address} is gone; the same command goes on"
                    ) from None
                if fault is None:
                    yield msgspec.json.decode(data, type=Row)
                else:
                    # Several workers in turn were lost with it, or cannot run it at all.
                    why = f"the cluster could not run it: {fault}"
                    yield failed_row(job_of[future.key], why, "unknown")

    return run


def _on_worker(data: bytes) -> bytes:
    """On a worker: run a job, for as long as the scheduler wants it."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing"

    row = msgspec.json.decode(run_bytes(data, is_wanted=is_wanted), type=Row)
    return msgspec.json.encode(msgspec.structs.replace(row, worker=worker.address))


def run_sweep(
    jobs: Sequence[Job],
    directory: Path,
    runner: Runner,
    *,
    plan: Plan,
    heard: Callable[[Row | None, int, int], None] = lambda row, done, count: None,
) -> list[Row]:
    """Run what is not there yet; all rows, in the order of the jobs.

    `heard` gets each row as it comes, how many are done, and of how many; first None, with what
    was there already.

    Raises SweepError, OSError.
    """
    with opened(directory, plan) as kept:
        known = {name: row for name, row in kept.known.items() if row.verdict != "error"}
        todo = [job for job in jobs if job.name not in known]
        done = len(jobs) - len(todo)
        heard(None, done, len(jobs))
        # Closed whatever happens: what is under way then ends before the directory is given back.
        with closing(runner(todo)) as rows:
            for row in rows:
                kept.add(row)
                done += 1
                heard(row, done, len(jobs))
        ordered = [kept.known[job.name] for job in jobs if job.name in kept.known]
        write_table(ordered, directory / TABLE)
    return ordered

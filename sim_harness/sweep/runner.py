"""Runs the jobs of a sweep, keeps every row as it comes, and takes up where an earlier one stopped.

rows.jsonl       a row a line, added when its run ended: what is there is not run again
results.parquet  all rows as a table         report.html  one page with plots
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, Protocol

import msgspec

from sim_harness.sweep.grid import Job
from sim_harness.sweep.row import Row, flat
from sim_harness.sweep.work import run_apart, run_bytes

ROWS: Final = "rows.jsonl"
TABLE: Final = "results.parquet"
RETRIES: Final = 3
"""Of a run whose worker was lost: it is run again from its seed."""


class SweepError(Exception):
    """A sweep that cannot be run; in a sentence."""


class Runner(Protocol):
    """Runs jobs in any order."""

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Row]: ...


def on_this_machine(count: int) -> Runner:
    """So many runs at a time, a process each."""

    def run(jobs: Sequence[Job]) -> Iterator[Row]:
        pool = ThreadPoolExecutor(count)
        try:
            waiting = {pool.submit(run_apart, job) for job in jobs}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return run


def on_cluster(address: str) -> Runner:
    """On a Dask cluster; a run whose worker is lost is run again elsewhere. Raises SweepError."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise SweepError(
            "--dask needs the package 'distributed': pip install 'gigmesh[dask]'"
        ) from None

    def run(jobs: Sequence[Job]) -> Iterator[Row]:
        try:
            client = Client(address, timeout="10s")  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError) as error:
            raise SweepError(f"no scheduler answers at {address}: {error}") from None
        with client:
            futures = [
                client.submit(run_bytes, msgspec.json.encode(job), retries=RETRIES, pure=False)
                for job in jobs
            ]
            for future in as_completed(futures):  # type: ignore[no-untyped-call]
                yield msgspec.json.decode(future.result(), type=Row)

    return run


def read_rows(directory: Path) -> list[Row]:
    """Rows of runs that ended. Raises SweepError."""
    file = directory / ROWS
    if not file.exists():
        return []
    rows = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            rows.append(msgspec.json.decode(line, type=Row))
        except msgspec.DecodeError:
            # The last line of a sweep that was killed may be cut off: its run is run again.
            if number < len(file.read_bytes().splitlines()):
                raise SweepError(f"{file}:{number} is no row of a sweep") from None
    return rows


def run_sweep(
    jobs: Sequence[Job],
    directory: Path,
    runner: Runner,
    heard: Callable[[Row, int, int], None] = lambda row, done, count: None,
) -> list[Row]:
    """Run what is not there yet; all rows, in the order of the jobs.

    `heard` gets each row as it comes, how many are done, and of how many.

    Raises SweepError, OSError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    known = {row.job: row for row in read_rows(directory) if row.verdict != "error"}
    rows = {job.name: known[job.name] for job in jobs if job.name in known}
    todo = [job for job in jobs if job.name not in rows]
    # Written anew, so that a line that was cut off does not stay in the middle.
    with (directory / ROWS).open("wb") as file:
        for row in known.values():
            file.write(msgspec.json.encode(row) + b"\n")
        file.flush()
        for row in runner(todo) if todo else ():
            rows[row.job] = row
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            heard(row, len(rows), len(jobs))
    ordered = [rows[job.name] for job in jobs if job.name in rows]
    write_table(ordered, directory / TABLE)
    return ordered


def write_table(rows: Sequence[Row], path: Path) -> None:
    """As Parquet. Raises SweepError."""
    try:
        import polars
    except ImportError:
        raise SweepError(
            "Parquet needs the package 'polars': pip install 'gigmesh[sweep]'"
        ) from None
    table = [flat(row) for row in rows]
    polars.DataFrame(table, infer_schema_length=None).write_parquet(path)

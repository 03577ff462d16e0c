"""One run of a sweep in a process of its own: `python -m sim_harness.sweep.work < job > row`.

A process of its own, so that a run may use signals, trio's main thread and as much memory as it
likes, under a pool of threads as under a worker of a cluster. It ends when whoever waits for it
ends, however that happens, and takes its nodes and files with it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from sim_harness.scenario.sections import ScenarioError
from sim_harness.sweep.grid import Job
from sim_harness.sweep.row import Row, row_of

DEADLINE_S: Final = 4 * 3600.0
LOOK_S: Final = 0.5
"""Between two looks whether a run is still wanted."""
END_S: Final = 20.0
"""For a live run to end its nodes."""


class Unwanted(Exception):
    """A run that was ended, since nobody waits for its row."""


def main() -> None:
    """Run the job of standard input; print its row."""
    from sim_harness.live.zygote_process import die_with_parent

    signal.signal(signal.SIGTERM, _end)
    die_with_parent(int(sys.argv[1]), signal.SIGTERM)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    row = run_job(job)
    sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")


def _end(number: int, _frame: object) -> NoReturn:
    """What is open is closed on the way out, which a signal's own end would not do."""
    raise SystemExit(128 + number)


def run_job(job: Job) -> Row:
    """Run a job in this process."""
    from sim_harness.live.failures import Failed
    from sim_harness.live.kernel.offer import KernelLacks
    from sim_harness.swarm.swarm import commit

    began_s, code = time.monotonic(), commit() or "unknown"
    try:
        if job.world == "live":
            result = _live(job)
        else:
            from sim_harness.scenario.run import run_scenario

            result = run_scenario(job.scenario(), job.seed)
    except (Failed, KernelLacks, ScenarioError) as error:
        return failed_row(job, str(error), code)
    return row_of(job, result, wall_s=time.monotonic() - began_s, commit=code)


def _live(job: Job):  # type: ignore[no-untyped-def]
    from sim_harness.live.failures import run_to_end
    from sim_harness.live.kernel.offer import require_offer
    from sim_harness.live.run import LivePlan, run_live

    with tempfile.TemporaryDirectory(prefix="gigmesh-sweep-") as runs:
        plan = LivePlan(
            scenario=job.scenario(),
            seed=job.seed,
            runs=Path(runs),
            kernel=require_offer() if job.kernel else None,
        )
        result = run_to_end(lambda: run_live(plan))
    if result.interrupted:
        raise SystemExit(128 + signal.SIGTERM)
    return result


def failed_row(job: Job, why: str, code: str) -> Row:
    """The row of a run that broke."""
    return Row(job.name, dict(job.settings), job.seed, job.world, "error", code, {}, (why[:500],))


def run_apart(
    job: Job, *, is_wanted: Callable[[], bool] = lambda: True, code: Path | None = None
) -> Row:
    """Run a job in a process of its own. Raises Unwanted."""
    data = run_bytes(msgspec.json.encode(job), is_wanted=is_wanted, code=code)
    return msgspec.json.decode(data, type=Row)


def run_bytes(
    data: bytes, *, is_wanted: Callable[[], bool] = lambda: True, code: Path | None = None
) -> bytes:
    """The same, of bytes and to bytes: what travels to a worker of a cluster.

    Args:
        data: a job.
        is_wanted: asked now and then; the run is ended when it is not.
        code: a folder with the code to run, instead of this one's.

    Raises:
        Unwanted: it was ended.
    """
    folders = [str(code)] if code else []
    paths = [*folders, *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        # A group of its own: Ctrl-C is its parent's business. Its session, and so its share of the
        # processors, is that of whoever started the sweep.
        [sys.executable, "-m", "sim_harness.sweep.work", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        cwd=code,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        out, errors = _communicate(process, data, is_wanted)
    except subprocess.TimeoutExpired:
        _put_an_end_to(process)
        return _broken(data, f"the run took longer than {DEADLINE_S / 3600:g} hours")
    except BaseException:
        _put_an_end_to(process)
        raise
    if process.returncode != 0 or not out:
        tail = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        return _broken(data, f"the run's process ended with {process.returncode}: {tail[0]}")
    return out


def _broken(data: bytes, why: str) -> bytes:
    return msgspec.json.encode(failed_row(msgspec.json.decode(data, type=Job), why, "unknown"))


def _communicate(
    process: subprocess.Popen[bytes], data: bytes, is_wanted: Callable[[], bool]
) -> tuple[bytes, bytes]:
    deadline_s = time.monotonic() + DEADLINE_S
    to_send: bytes | None = data
    while True:
        try:
            return process.communicate(to_send, timeout=LOOK_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline_s:
                raise
            to_send = None  # It is under way already.
        if not is_wanted():
            raise Unwanted


def _put_an_end_to(process: subprocess.Popen[bytes]) -> None:
    """In the run's own order; after a while at once."""
    process.terminate()
    try:
        process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    main()

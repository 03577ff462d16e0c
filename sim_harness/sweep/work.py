"""One run of a sweep in a process of its own: `python -m sim_harness.sweep.work < job > row`.

A process of its own, so that a run may use signals, trio's main thread and as much memory as it
likes, under a pool of threads as under a worker of a cluster.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.scenario.sections import ScenarioError
from sim_harness.sweep.grid import Job
from sim_harness.sweep.row import Row, row_of

DEADLINE_S: Final = 4 * 3600.0


def main() -> None:
    """Run the job of standard input; print its row."""
    # Progress of libraries belongs to standard error.
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    row = run_job(job)
    sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")


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
        return run_to_end(lambda: run_live(plan))


def failed_row(job: Job, why: str, code: str) -> Row:
    """The row of a run that broke."""
    return Row(job.name, dict(job.settings), job.seed, job.world, "error", code, {}, (why[:500],))


def run_apart(job: Job) -> Row:
    """Run a job in a process of its own; for pools and clusters."""
    return msgspec.json.decode(run_bytes(msgspec.json.encode(job)), type=Row)


def run_bytes(data: bytes) -> bytes:
    """The same, of bytes and to bytes: what travels to a worker of a cluster.

    The process has a group of its own, and ends with this one when that is told to end.
    """
    command = [sys.executable, "-m", "sim_harness.sweep.work"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(data, timeout=DEADLINE_S)
    except BaseException:
        # Whoever waits was interrupted: the run ends in its own order, or after a while at once.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        raise
    if process.returncode != 0 or not out:
        job = msgspec.json.decode(data, type=Job)
        tail = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        why = f"the run's process ended with {process.returncode}: {tail[0]}"
        return msgspec.json.encode(failed_row(job, why, "unknown"))
    return out


if __name__ == "__main__":
    main()

"""Processes of a swarm: complete answers, and nobody left however it ends."""

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sim_harness.exploring import EXIT_INTERRUPTED
from sim_harness.swarm.pool import run_all

DEADLINE_S = 30


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A swarm whose two workers compute for ever."""
    command = [sys.executable, "-m", "tests.sim_harness.swarm.endless", str(tmp_path)]
    # A shell ignores Ctrl-C for what it runs in the background, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        signal.signal(signal.SIGINT, before)
        try:
            until_s = time.monotonic() + DEADLINE_S
            while len(list(tmp_path.iterdir())) < 2:
                assert process.poll() is None
                assert time.monotonic() < until_s
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_swarm(
    swarm: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    workers = [psutil.Process(int(file.name)) for file in tmp_path.iterdir()]
    others = psutil.Process(swarm.pid).children(recursive=True)
    try:
        swarm.send_signal(number)
        _, errors = swarm.communicate(timeout=DEADLINE_S)
        _, left = psutil.wait_procs({*workers, *others}, timeout=DEADLINE_S)
        assert left == []
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()
    if number is not signal.SIGKILL:
        assert swarm.returncode == EXIT_INTERRUPTED
        assert errors == b""


def test_closing_early_abandons_what_is_under_way() -> None:
    answers = run_all(time.sleep, [0, 2 * DEADLINE_S, 2 * DEADLINE_S], jobs=2)
    assert next(answers) == (0, None)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    began_s = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began_s < DEADLINE_S
    assert not any(worker.is_alive() for worker in workers)

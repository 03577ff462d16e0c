"""SIGKILL for the harness itself at random moments: nobody is orphaned, no port stays, no file.

    python examples/kill_harness.py [--times 10] [--nodes 12] [--seed 3] [--json]

Each time a live run with faults is started and killed somewhere between its first process and its
end. Then every process that it had must go by itself, every port that they listened on be free, and
their homes be removed. At last a run is let through: it has to start clean and pass.
Exit code 0: all of that; 1: something stayed, or the last run failed.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import psutil

STORY: Final = """
name = "to be killed"
duration = "15s"
[network]
nodes = {nodes}
validators = 4
latency = "5ms"
[parameters]
epoch_ms = 1000
[load]
consumers = 1
receipts_per_minute = 30
[[fault]]
kind = "kill"
nodes = "random(2) of others"
at = "3s"
for = "4s"
every = "8s"
[[fault]]
kind = "pause"
nodes = "others[0]"
at = "2s"
for = "10s"
[expect]
heights = 5
"""
LATEST_S: Final = 20.0
"""After the start: by then a run of twelve nodes is well under way."""
GONE_S: Final = 15.0
"""For everything to go, on a busy machine."""
LAST_S: Final = 300.0


class Killing(msgspec.Struct):
    """What one SIGKILL left behind."""

    after_s: float
    processes: int
    ports: int
    gone_s: float
    orphans: list[str]
    ports_held: list[int]
    files_left: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether nothing stayed."""
        return not (self.orphans or self.ports_held or self.files_left)


def command(story: Path, runs: Path) -> list[str]:
    """A live run of the story."""
    words = [sys.executable, "-m", "sim_harness.cli", "run", str(story), "--world", "live"]
    return [*words, "--runs", str(runs)]


def listening(processes: list[psutil.Process]) -> set[int]:
    """Ports on which these processes listen."""
    found = set()
    for process in processes:
        try:
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    found.add(one.laddr.port)
        except psutil.Error:
            pass  # It has just ended.
    return found


def held(ports: set[int]) -> list[int]:
    """Which of these ports anybody listens on."""
    taken = {
        one.laddr.port
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr
    }
    return sorted(ports & taken)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; `is_running` knows a number that was given to another process."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def kill_once(story: Path, runs: Path, after_s: float) -> Killing:
    """Start a run, kill its harness after a while, and see what stays."""
    with subprocess.Popen(
        command(story, runs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as harness:
        time.sleep(after_s)
        family = psutil.Process(harness.pid).children(recursive=True)
        ports = listening(family)
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    began_s = time.monotonic()
    left: list[psutil.Process] = family
    files: list[Path] = []
    while time.monotonic() - began_s < GONE_S:
        left = living(left)
        files = list(runs.glob("*/homes"))
        if not left and not files and not held(ports):
            break
        time.sleep(0.05)
    return Killing(
        round(after_s, 1),
        len(family),
        len(ports),
        round(time.monotonic() - began_s, 2),
        [f"{one.pid} {one.name()}" for one in left],
        held(ports),
        [str(one) for one in files],
    )


def main() -> int:
    """Kill again and again; tell each time what stayed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args()
    draws, found = random.Random(asked.seed), []
    with tempfile.TemporaryDirectory(prefix="gigmesh-killed-") as scratch:
        story, runs = Path(scratch) / "story.toml", Path(scratch) / "runs"
        story.write_text(STORY.format(nodes=asked.nodes), encoding="utf-8")
        for _ in range(asked.times):
            one = kill_once(story, runs, draws.uniform(0.3, LATEST_S))
            found.append(one)
            if not asked.json:
                stayed = [*one.orphans, *map(str, one.ports_held), *one.files_left]
                print(
                    f"killed after {one.after_s:4.1f} s: {one.processes:2} processes,"
                    f" {one.ports:2} ports, all gone {one.gone_s:.2f} s later"
                    if one.is_clean
                    else f"killed after {one.after_s:4.1f} s: STAYED: {', '.join(stayed)}",
                    flush=True,
                )
        last = subprocess.run(
            command(story, runs), capture_output=True, timeout=LAST_S, check=False
        )
    good = all(one.is_clean for one in found) and last.returncode == 0
    if asked.json:
        killings = msgspec.to_builtins(found)
        print(json.dumps({"passed": good, "killings": killings, "last_run": last.returncode}))
    else:
        print(f"the next run: exit code {last.returncode}")
        print("passed" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Throughput of `add` and `get` between two live nodes on 127.0.0.1, each in its own process.

Both nodes run the whole product: consensus, gossip, receipts in SQLite, signatures every window.
The consumer is the only validator; the provider keeps the blob on disk and syncs it. Compare with
`benchmarks.streams`, which moves bytes alone.

    python -m benchmarks.blobs --mib 200 --json
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from p2p.model.parameters import Parameters, with_overrides
from p2p.node.blobs.results import AddResult, GetResult
from p2p.node.node import run_node
from p2p.node.port import NodePort
from p2p.node.testnet import NetworkPlan, make_testnet
from p2p.primitives.units import KIB, MIB

WAIT_S = 60.0


def write_file(path: Path, mib: int) -> None:
    """A file that no layer can compress."""
    with path.open("wb") as file:
        for number in range(mib):
            seed = hashlib.sha256(number.to_bytes(8)).digest()
            file.write(hashlib.shake_256(seed).digest(MIB))


class Measure:
    """The consumer's part, a service of its node."""

    def __init__(self, home: Path, mib: int) -> None:
        self.home = home
        self.mib = mib
        self.figures: dict[str, float] = {}

    async def __call__(
        self, node: NodePort, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started("measure")
        with trio.fail_after(WAIT_S):
            while not any(  # noqa: ASYNC110 - seconds before anything is measured
                ad.value.provider != node.account and ad.value.accepting
                for ad in node.replica.registry.ads()
            ):
                await trio.sleep(0.05)
        small, large = self.home / "small", self.home / "large"
        small.write_bytes(os.urandom(64 * KIB))
        write_file(large, self.mib)
        await node.blobs.add(small)  # opens the channel, which waits for a block
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_stalls)
            begun = time.perf_counter()
            added = await node.blobs.add(large)
            self._note("add", begun, added)
            begun = time.perf_counter()
            copy = self.home / "copy"
            fetched = await node.blobs.get(added.blob, copy)
            self._note("get", begun, fetched)
            nursery.cancel_scope.cancel()
        assert copy.read_bytes() == large.read_bytes()
        print(json.dumps(self.figures), flush=True)
        raise SystemExit(0)

    def _note(self, name: str, begun: float, result: AddResult | GetResult) -> None:
        spent = time.perf_counter() - begun
        self.figures[f"{name}_s"] = round(spent, 3)
        self.figures[f"{name}_mib_per_s"] = round(result.size_bytes / MIB / spent, 1)

    async def _watch_stalls(self) -> None:
        """The longest time that the event loop was busy with one thing."""
        worst = 0.0
        while True:
            before = time.perf_counter()
            await trio.lowlevel.checkpoint()
            worst = max(worst, time.perf_counter() - before)
            self.figures["loop_stall_max_ms"] = round(worst * 1000, 1)
            await trio.sleep(0.002)


async def serve(home: Path) -> None:
    await run_node(home)


async def measure(home: Path, mib: int) -> None:
    await run_node(home, services=[Measure(home, mib)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        trio.run(serve, chosen.serve)
    elif chosen.measure:
        trio.run(measure, chosen.measure, chosen.mib)
    else:
        compare(chosen.mib, as_json=chosen.json)


def compare(mib: int, *, as_json: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="gigmesh-bench-") as folder:
        plan = NetworkPlan(
            nodes=2,
            validators=1,
            parameters=with_overrides(Parameters(), {"epoch_ms": 1_000}),
            capacity_bytes=4 * mib * MIB,
        )
        network = make_testnet(Path(folder) / "net", plan)
        consumer, provider = (home.path for home in network.homes)
        command = [sys.executable, "-m", "benchmarks.blobs"]
        with subprocess.Popen([*command, "--serve", str(provider)]) as serving:
            try:
                done = subprocess.run(
                    [*command, "--measure", str(consumer), "--mib", str(mib)],
                    check=False,
                    capture_output=True,
                    text=True,
                    timeout=WAIT_S * 10,
                )
            finally:
                serving.terminate()
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            sys.exit(done.stderr[-2000:] or "the measurement gave no result")
        if as_json:
            print(lines[-1])
            return
        for name, value in json.loads(lines[-1]).items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()

"""A soak: random faults on real processes again and again, and nothing may grow but the chain.

    python examples/soak.py [--nodes 20] [--minutes 3] [--seed 1] [--epoch-ms 1000] [--json]

Every two seconds each node's memory, descriptors, tasks and disk are read. What a process holds at
the end is held against what it held after its first quarter; what it may have gained is a slack,
and so much a block. Of a node that faults ended, the process that lived longest is judged.
Exit code 0: nothing grew, and the network is whole at the end; 1: something did, or it is not.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from p2p.node.home import Home
from p2p.primitives.units import KIB, MIB
from sim_harness.live.cluster import ClusterError, LiveCluster, LiveNode, NodeState
from sim_harness.live.console import Console
from sim_harness.live.console_words import Hurting, parse
from sim_harness.live.figures import is_brought_up
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.setup import FILE

SAMPLE_S: Final = 2.0
UP_S: Final = 240.0
WHOLE_S: Final = 90.0
VALIDATORS: Final = 7
SHARE_MIN: Final = 0.3
"""Of the soak that a process has to have lived to be judged."""
FAULTS: Final = (
    "kill {one}",
    "pause {one}",
    "partition {one} | rest",
    "delay 80ms +-40ms {one}",
    "loss 5% {one}",
    "slow_disk 30ms {one}",
    "slow_cpu 20% {one}",
    "half_open {one}",
    "torn_write {one}",
)


class Limit(msgspec.Struct, frozen=True):
    """What a process may gain."""

    slack: float
    """Whatever the chain does: caches that fill, a connection more."""
    per_block: float
    unit: float
    shown_in: str
    per_descriptor: float = 0
    """For each descriptor more that it has open."""


LIMITS: Final = {
    "memory": Limit(8 * MIB, 32 * KIB, MIB, "MiB"),
    "descriptors": Limit(24, 0, 1, ""),
    "tasks": Limit(48, 0, 1, "", per_descriptor=7),
    "disk": Limit(6 * MIB, 48 * KIB, MIB, "MiB"),
}
"""Disk: a log of SQLite is 4 MiB before it is folded back. A connection has seven tasks: whoever is
sought by more neighbours at the end than at first has as many more."""


class Sample(msgspec.Struct, frozen=True):
    """One node at one moment."""

    at_s: float
    process: int
    """Which of its processes, counted from 1."""
    height: int
    memory: int
    descriptors: int
    tasks: int
    disk: int


class Growth(msgspec.Struct, frozen=True):
    """What one process gained, after its first quarter."""

    node: int
    lived_s: float
    blocks: int
    gained: dict[str, float]
    too_much: tuple[str, ...]


def disk_bytes(home: Path) -> int:
    """What the files of a node's data take."""
    total = 0
    for folder, _, files in os.walk(Home(home).data_path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # gone between the two calls
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def sample(node: LiveNode, at_s: float) -> Sample | None:
    """A node now; None while it is down or has not told yet."""
    told = node.status
    if node.state is not NodeState.UP or told is None:
        return None
    return Sample(
        at_s,
        node.starts,
        told.height,
        told.rss_bytes,
        told.descriptors,
        told.tasks,
        disk_bytes(node.home),
    )


def growth(node: int, samples: Sequence[Sample]) -> Growth:
    """What one process gained between its first quarter's end and its own."""
    began = len(samples) // 4
    part = max(1, len(samples) // 6)
    first, last = samples[began : began + part], samples[-part:]
    blocks = max(0, last[-1].height - first[0].height)
    gained = {
        name: statistics.median(getattr(one, name) for one in last)
        - statistics.median(getattr(one, name) for one in first)
        for name in LIMITS
    }
    too_much = tuple(
        name
        for name, limit in LIMITS.items()
        if gained[name]
        > limit.slack
        + limit.per_block * blocks
        + limit.per_descriptor * max(0, gained["descriptors"])
    )
    return Growth(node, round(samples[-1].at_s - samples[0].at_s, 1), blocks, gained, too_much)


def judged(samples: dict[int, list[Sample]], seconds: float) -> list[Growth]:
    """The longest life of each node, where it is long enough."""
    found = []
    for node, taken in samples.items():
        lives: dict[int, list[Sample]] = {}
        for one in taken:
            lives.setdefault(one.process, []).append(one)
        longest = max(lives.values(), key=len, default=[])
        if len(longest) * SAMPLE_S >= SHARE_MIN * seconds:
            found.append(growth(node, longest))
    return found


class Soak:
    """One run."""

    def __init__(self, nodes: int, minutes: float, seed: int, *, epoch_ms: int = 1_000) -> None:
        self.nodes = nodes
        self.epoch_ms = epoch_ms
        self.seconds = 60 * minutes
        self.seed = seed
        self.draws = random.Random(seed)
        self.samples: dict[int, list[Sample]] = {index: [] for index in range(nodes)}
        self.faults: list[str] = []
        self.is_whole = False
        self.began_s = 0.0

    async def run(self) -> None:
        """Bring up, hurt, heal."""
        with tempfile.TemporaryDirectory(prefix="gigmesh-soak-") as scratch:
            setup = Path(scratch) / FILE
            plan = LocalPlan(
                nodes=self.nodes,
                validators=min(VALIDATORS, self.nodes),
                epoch_ms=self.epoch_ms,
                seed=self.seed,
                scratch=(setup.parent,),
                options={"setup": str(setup), "report_ms": "1000", "log_level": "warning"},
            )
            async with open_network(plan) as cluster, trio.open_nursery() as nursery:
                words = Console(cluster, seed=self.seed, validators=plan.validators, setup=setup)
                await nursery.start(words.run)
                await cluster.start_all()
                await cluster.wait(is_brought_up, deadline_s=UP_S, what="the network to come up")
                self.began_s = time.monotonic()
                nursery.start_soon(self._watch, cluster)
                with trio.move_on_after(self.seconds):
                    await self._hurt(words)
                await words.faults.heal()
                self.is_whole = await self._wait_whole(cluster)
                nursery.cancel_scope.cancel()

    async def _watch(self, cluster: LiveCluster) -> None:
        while True:
            at_s = round(time.monotonic() - self.began_s, 1)
            for node in cluster.nodes:
                taken = sample(node, at_s)
                if taken is not None:
                    self.samples[node.index].append(taken)
            await trio.sleep(SAMPLE_S)

    async def _hurt(self, words: Console) -> None:
        while True:
            text = self.draws.choice(FAULTS).format(one=self.draws.randrange(self.nodes))
            said = parse(text, words.population)
            assert isinstance(said, Hurting)
            self.faults.append(text)
            number = await words.faults.begin(said.fault)
            await trio.sleep(self.draws.uniform(2, 6))
            await words.faults.end(number)
            await trio.sleep(self.draws.uniform(1, 4))

    async def _wait_whole(self, cluster: LiveCluster) -> bool:
        """Whether all run and agree on blocks that are newer than the last fault."""
        goal = max(node.height for node in cluster.nodes) + 2
        try:
            await cluster.wait(
                lambda all_: all(
                    node.state is NodeState.UP and node.height >= goal for node in all_.nodes
                ),
                deadline_s=WHOLE_S,
                what="all to run and to agree on newer blocks",
            )
        except ClusterError as error:
            print(error, file=sys.stderr)
            return False
        return not cluster.disagreements


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epoch-ms", type=int, default=1_000, help="between two blocks")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    asked = parser.parse_args()
    soak = Soak(asked.nodes, asked.minutes, asked.seed, epoch_ms=asked.epoch_ms)
    trio.run(soak.run)
    found = judged(soak.samples, soak.seconds)
    grew = [one for one in found if one.too_much]
    good = soak.is_whole and not grew and bool(found)
    if asked.json:
        told = {
            "passed": good,
            "whole": soak.is_whole,
            "nodes": asked.nodes,
            "minutes": asked.minutes,
            "seed": asked.seed,
            "faults": soak.faults,
            "growth": msgspec.to_builtins(found),
        }
        print(json.dumps(told, indent=1))
        return 0 if good else 1
    print("node   lived  blocks" + "".join(f"{name:>14}" for name in LIMITS))
    for one in found:
        cells = "".join(
            f"{one.gained[name] / limit.unit:>+10.1f} {limit.shown_in:3}"
            for name, limit in LIMITS.items()
        )
        worst = f"  TOO MUCH: {', '.join(one.too_much)}" if one.too_much else ""
        print(f"n{one.node:<4} {one.lived_s:>5.0f} s {one.blocks:>7}{cells}{worst}")
    whole = "whole at the end" if soak.is_whole else "NOT whole at the end"
    print(f"{'passed' if good else 'FAILED'}: {len(soak.faults)} faults, {whole}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

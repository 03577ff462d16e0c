"""Kill validators again and again, and see that none ever goes back on its word.

    python examples/kill_loop.py --kills 20 --all-at-once 5 --seed 7

Four validators and two more nodes on this machine; a consumer stores small files all the time, so
that votes, receipts and blocks are under way whenever SIGKILL strikes: one validator, drawn each
time, or with `--all-at-once` all four in one instant. After each kill the disks are read as
the crash left them, and the nodes restarted on them. What must hold:

- no validator ever signs two different votes or proposals for one (height, round, kind), by all
  that its neighbours saw and by its own journal;
- every block that was called final is there after the restart, the same on every node;
- at the end everybody is at one height with one state, and every signed receipt is paid.

Exit code 0 when all of it held, 1 when not. With `--amnesia` one victim loses its journal and its
sign state with every crash: then it does contradict itself, and the audit has to see it.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio
from rich.console import Console
from rich.table import Table

from p2p.api.client import ApiClient
from p2p.api.values import Row
from p2p.node.errors import UserError
from sim_harness.live.cluster import LiveCluster
from sim_harness.live.crash_audit import CrashAudit, forget_promises, read_disk
from sim_harness.live.failures import Failed, run_to_end
from sim_harness.live.figures import is_brought_up
from sim_harness.live.interrupt import interruptible
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.product import wait_paid

NODES: Final = 6
VALIDATORS: Final = 4
EPOCH_MS: Final = 1_000
MOMENT_S_MAX: Final = 2.5
"""A kill comes at most so long after the last restart: two epochs and a half."""
DOWN_S_MAX: Final = 1.5
SETTLE_S: Final = 30.0
FILE_BYTES: Final = 16 * 1024
ALARMING: Final = ("EquivocationFound", "InvariantViolated")


class KillLoop:
    """One run of the loop over a network."""

    def __init__(
        self, *, kills: int, all_at_once: int, seed: int, amnesia: bool, console: Console
    ) -> None:
        self.kills = kills
        self.amnesia = amnesia
        self.random = random.Random(seed)
        self.victim = self.random.randrange(VALIDATORS)
        self.total = {*self.random.sample(range(1, kills + 1), min(all_at_once, kills))}
        """Numbers of the kills that take every validator."""
        self.console = console
        self.audit = CrashAudit()
        self.stored = 0
        self.not_stored = 0
        self.restart_s: list[float] = []
        self.votes_lost = 0
        self.agreed = False
        self.owed: list[str] = []

    async def run(self, cluster: LiveCluster, scratch: Path) -> None:
        await cluster.start_all()
        await cluster.wait(is_brought_up, deadline_s=60, what="the network to come up")
        self.console.print(f"{NODES} nodes are up; the first {VALIDATORS} are validators")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._store_files, cluster, scratch)
            for number in range(1, self.kills + 1):
                await self._kill_once(cluster, number)
            nursery.cancel_scope.cancel()
        await cluster.wait(
            lambda all_: len(all_.up()) == NODES and all_.agreed(),
            deadline_s=60,
            what="all nodes to agree",
        )
        self.agreed = True
        self.owed = await wait_paid([node.home for node in cluster.nodes], deadline_s=SETTLE_S)
        for node in cluster.nodes:
            await cluster.stop(node.index)
            self._hear(cluster)
            self._check_disk(cluster, node.index, blocks_from=1)

    async def _kill_once(self, cluster: LiveCluster, number: int) -> None:
        await trio.sleep(self.random.uniform(0, MOMENT_S_MAX))
        if not self.amnesia:
            self.victim = self.random.randrange(VALIDATORS)
        victims = [*range(VALIDATORS)] if number in self.total else [self.victim]
        async with trio.open_nursery() as nursery:
            for victim in victims:
                nursery.start_soon(cluster.kill, victim)
        self._hear(cluster)
        height = max(cluster.nodes[victims[0]].commits, default=0)
        for victim in victims:
            self._check_disk(cluster, victim, blocks_from=max(1, height - 20))
        if self.amnesia:
            forget_promises(cluster.nodes[self.victim].home)
        await trio.sleep(self.random.uniform(0, DOWN_S_MAX))
        began_s = time.monotonic()
        async with trio.open_nursery() as nursery:
            for victim in victims:
                nursery.start_soon(cluster.start, victim)
        self.restart_s.append(time.monotonic() - began_s)
        whom = "all four" if number in self.total else f"node {self.victim}"
        self.console.print(
            f"kill {number:3} of {whom} at height {height:3}: {len(self.audit.statements)}"
            f" statements, {self.stored} files stored, {len(self.audit.violations)} violations",
            highlight=False,
        )

    def _hear(self, cluster: LiveCluster) -> None:
        """Take in what all nodes told since the last time."""
        for node in cluster.nodes:
            self.audit.hear(node.votes, f"node {node.index}")
            node.votes.clear()
            for note in node.notes:
                if note.kind in ALARMING and note.text not in self.audit.violations:
                    self.audit.violations.append(note.text)
            if node.status is not None:
                self.votes_lost = max(self.votes_lost, node.status.dropped)
        for sentence in cluster.disagreements:
            if sentence not in self.audit.violations:
                self.audit.violations.append(sentence)

    def _check_disk(self, cluster: LiveCluster, index: int, *, blocks_from: int) -> None:
        node = cluster.nodes[index]
        said = {height: commit for height, commit in node.commits.items() if height >= blocks_from}
        self.audit.acknowledge(said.values(), f"node {index}")
        disk = read_disk(node.home, blocks_from=blocks_from)
        self.audit.check_disk(disk, said, f"node {index}")

    async def _store_files(self, cluster: LiveCluster, scratch: Path) -> None:
        """Keep receipts flowing: the last node stores one small file after another."""
        home = cluster.nodes[NODES - 1].home
        number = 0
        while True:
            number += 1
            path = scratch / f"file-{number}"
            path.write_bytes(self.random.randbytes(FILE_BYTES))
            try:
                await trio.to_thread.run_sync(store_file, home, path, abandon_on_cancel=True)
                self.stored += 1
            except UserError:
                # A provider died half way, or all were busy: the next file will tell.
                self.not_stored += 1
                await trio.sleep(0.2)


def store_file(home: Path, path: Path) -> None:
    """Add a file at two providers. Raises UserError."""
    body: Row = {"path": str(path), "replicas": 2, "epochs": 10, "price_max": None}
    for line in ApiClient(home).lines("POST", "/blobs", body):
        if line.get("type") == "done" and not line.get("complete"):
            raise UserError("not stored everywhere")


def show_verdict(loop: KillLoop, why: str, console: Console) -> bool:
    """Print the table; whether all held."""
    audit = loop.audit
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("what must hold", "looked at", "verdict"):
        table.add_column(name)
    conflicts = [one for one in audit.violations if "signed two" in one or "Equivocation" in one]
    others = [one for one in audit.violations if one not in conflicts]
    rows: list[tuple[str, str, bool]] = [
        ("no two votes for one slot", f"{len(audit.statements)} signed statements", not conflicts),
        (
            "final blocks stay, and are the same everywhere",
            f"{audit.acknowledged} acknowledged, {audit.blocks_checked} read from disks",
            not others,
        ),
        ("all kills survived", f"{len(loop.restart_s)} of {loop.kills}", not why),
        ("one height, one state at the end", f"{NODES} nodes", loop.agreed),
        (
            "every receipt that was signed is paid",
            f"{loop.stored} files stored",
            loop.stored > 0 and not loop.owed,
        ),
        ("every vote was seen", f"{loop.votes_lost} reports lost", loop.votes_lost == 0),
    ]
    for what, looked_at, held in rows:
        table.add_row(what, looked_at, "[green]held[/]" if held else "[bold red]VIOLATED[/]")
    console.print(table)
    for sentence in [*audit.violations, *loop.owed, *([why] if why else [])]:
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    return all(held for _, _, held in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--all-at-once", type=int, default=0, metavar="N", help="so many of all")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--amnesia", action="store_true", help="break the victim on purpose")
    chosen = parser.parse_args(arguments)
    console = Console()
    loop = KillLoop(
        kills=chosen.kills,
        all_at_once=chosen.all_at_once,
        seed=chosen.seed,
        amnesia=chosen.amnesia,
        console=console,
    )
    plan = LocalPlan(
        nodes=NODES,
        validators=VALIDATORS,
        epoch_ms=EPOCH_MS,
        seed=chosen.seed,
        options={"watch_votes": "1"},
    )
    interrupted = False

    async def work() -> None:
        nonlocal interrupted
        async with interruptible() as state:
            with tempfile.TemporaryDirectory(prefix="gigmesh-kill-loop-") as scratch:
                async with open_network(plan) as cluster:
                    await loop.run(cluster, Path(scratch))
        interrupted = state.interrupted

    why = ""
    try:
        run_to_end(work)
    except Failed as failed:
        why = str(failed)
    if interrupted:
        return 130
    held = show_verdict(loop, why, console)
    console.print("PASS" if held else "FAIL", style="bold green" if held else "bold red")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

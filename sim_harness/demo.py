"""`sim-harness demo`: what the network does, shown end to end on real processes.

    make a network -> all meet -> store two files -> kill a provider and a validator with SIGKILL
    -> fetch the files from the replicas that are left -> restart the killed on the same homes
    -> everything signed is paid, all nodes hold one state -> PASS, with the rewards

A step that does not come out so ends it with FAIL and the reason, and the nodes' logs are kept.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
from rich.console import Console

from p2p.api.values import Row
from p2p.node.errors import UserError
from p2p.primitives.units import KIB, MIB
from sim_harness.live.cluster import ClusterError, LiveCluster
from sim_harness.live.failures import leaves
from sim_harness.live.figures import Spread, figures, is_brought_up, spread
from sim_harness.live.interrupt import interruptible
from sim_harness.live.network import LocalPlan, open_network
from sim_harness.live.product import p2p, wait_paid
from sim_harness.live.rewards import (
    PaidChannel,
    read_rewards,
    rewards_table,
    unbalanced,
)
from sim_harness.live.victims import choose_victims
from sim_harness.live.zygote import ZygoteError

NODES_MIN: Final = 6
"""Four validators bear one fault, and two nodes more store and fetch."""
VALIDATORS: Final = 4
EPOCH_MS: Final = 2_000
REPLICAS: Final = 3
BLOB_BYTES: Final = 20 * MIB
MEET_DEADLINE_S: Final = 60.0
SETTLE_DEADLINE_S: Final = 40.0
AGREE_DEADLINE_S: Final = 60.0

_README: Final = Path(__file__).resolve().parents[1] / "README.md"


class DemoFailed(Exception):
    """A step came out otherwise than it should; the text says how."""


class StoredFile(msgspec.Struct):
    """A file on its way into the network and back."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    blob: str = ""
    holders: list[int] = []
    """Nodes that hold a replica."""
    fetched_sha256: str = ""
    fetched_from: list[int] = []


class DemoReport(msgspec.Struct, kw_only=True):
    """What is written to `report.json`."""

    ok: bool = False
    why: str = ""
    nodes: int
    validators: int
    epoch_ms: int
    heights: Spread = Spread(0, 0, 0)
    agreement: bool = False
    """All nodes ended at one height with one state, and never committed two blocks at one."""
    state_root: str = ""
    blobs_ok: bool = False
    blobs: list[Row] = []
    killed: list[int] = []
    rewards: list[PaidChannel] = []
    supply_burned: int = 0
    steps: dict[str, float] = {}
    """When each step was done, in seconds."""
    seconds: float = 0.0
    interrupted: bool = False


async def demo(
    *, nodes: int, output: Path, console: Console, seed: int | None = None
) -> DemoReport:
    """Run the demo and write `report.json` under `output`; `ok` says how it went.

    Raises:
        UserError: the network cannot be made.
    """
    plan = LocalPlan(nodes=nodes, validators=VALIDATORS, epoch_ms=EPOCH_MS, seed=seed)
    run = _Demo(plan, console)
    report = run.report
    try:
        async with interruptible() as state:
            with tempfile.TemporaryDirectory(prefix="gigmesh-demo-") as scratch:
                async with open_network(plan) as cluster:
                    try:
                        await run.steps(cluster, Path(scratch))
                    except BaseException:
                        _keep_logs(cluster, output)
                        raise
        report.interrupted = state.interrupted
    except BaseException as error:
        found = leaves(error)
        if not all(isinstance(one, _EXPECTED) for one in found):
            raise
        report.why = "; ".join(dict.fromkeys(map(str, found)))
    report.ok = not report.why and not report.interrupted
    report.seconds = run.elapsed_s()
    _write(report, output)
    return report


_EXPECTED: Final = (DemoFailed, ClusterError, ZygoteError, UserError)


class _Demo:
    def __init__(self, plan: LocalPlan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._began_s = time.monotonic()
        self.report = DemoReport(
            nodes=plan.nodes, validators=plan.validators, epoch_ms=plan.epoch_ms
        )

    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._began_s, 2)

    def _say(self, text: str) -> None:
        self._console.print(f"{self.elapsed_s():6.1f} s  {text}", highlight=False, soft_wrap=True)

    def _done(self, step: str) -> None:
        self.report.steps[step] = self.elapsed_s()

    async def steps(self, cluster: LiveCluster, scratch: Path) -> None:
        """All of it. Raises DemoFailed, ClusterError, UserError."""
        await self._meet(cluster)
        files = self._make_files(scratch)
        consumer, fetcher = len(cluster.nodes) - 1, len(cluster.nodes) - 2
        for file in files:
            await self._store(cluster, file, consumer)
        self._done("stored")
        await self._wait_paid(cluster, [consumer])
        self._done("stored_paid")
        await self._kill(cluster, files, spared=[consumer, fetcher])
        for file in files:
            await self._fetch(cluster, file, fetcher, scratch)
        self.report.blobs_ok = True
        self._done("fetched")
        await self._restart(cluster)
        await self._wait_paid(cluster, [consumer, fetcher])
        await self._agree(cluster)
        await self._show_rewards(cluster)

    # ---- steps -------------------------------------------------------------------------------

    async def _meet(self, cluster: LiveCluster) -> None:
        count = len(cluster.nodes)
        self._say(f"{count} nodes to start, {self._plan.validators} of them validators")
        await cluster.start_all()
        self._done("started")
        self._say("all processes serve; waiting for a block and for everybody's ad")
        await cluster.wait(
            is_brought_up, deadline_s=MEET_DEADLINE_S, what="all nodes to know all ads"
        )
        self._done("met")
        now = figures(cluster)
        self._say(
            f"every node is meshed ({now.peers.min} to {now.peers.max} peers), knows all"
            f" {now.ads.min} ads and has height {now.height.min} or more"
        )

    def _make_files(self, scratch: Path) -> list[StoredFile]:
        readme = scratch / "README.md"
        if _README.exists():
            shutil.copyfile(_README, readme)
        else:  # installed without the project around it
            readme.write_text("Gigmesh\n" * KIB, encoding="utf-8")
        random_file = scratch / "random.bin"
        random_file.write_bytes(os.urandom(BLOB_BYTES))
        files = []
        for path in (readme, random_file):
            data = path.read_bytes()
            files.append(StoredFile(path.name, path, len(data), hashlib.sha256(data).hexdigest()))
        return files

    async def _store(self, cluster: LiveCluster, file: StoredFile, consumer: int) -> None:
        added = await p2p(
            cluster.nodes[consumer].home, "add", str(file.path), "--replicas", str(REPLICAS)
        )
        file.blob = str(added["blob"])
        names = self._indices(cluster)
        placements = cast("list[Row]", added["placements"])
        file.holders = [names[str(one["provider"])] for one in placements]
        if not added["complete"]:
            raise DemoFailed(
                f"{file.name} got only {len(placements)} replicas: {added['failures']}"
            )
        paid = sum(cast(int, one["paid"]) for one in placements)
        self._say(
            f"node {consumer} stored {file.name} ({_size(file.size_bytes)}) at nodes"
            f" {_list(file.holders)} for {paid} micro-tokens"
        )

    async def _kill(
        self, cluster: LiveCluster, files: Sequence[StoredFile], *, spared: Sequence[int]
    ) -> None:
        validators = self._plan.validators
        holders = [file.holders for file in files]
        victims = choose_victims(holders, validators=validators, spared=spared)
        for victim in victims:
            await cluster.kill(victim)
            held = [file.name for file in files if victim in file.holders]
            roles = ["a validator"] if victim < validators else []
            roles += [f"a provider of {' and '.join(held)}"] if held else []
            self._say(f"SIGKILL to node {victim}, {' and '.join(roles)}")
        self.report.killed = victims
        self._done("killed")

    async def _fetch(
        self, cluster: LiveCluster, file: StoredFile, fetcher: int, scratch: Path
    ) -> None:
        target = scratch / f"fetched-{file.name}"
        got = await p2p(cluster.nodes[fetcher].home, "get", file.blob, "--output", str(target))
        file.fetched_sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
        names = self._indices(cluster)
        file.fetched_from = [
            names[str(one["provider"])] for one in cast("list[Row]", got["sources"])
        ]
        same = file.fetched_sha256 == file.sha256
        self.report.blobs.append(
            {
                "name": file.name,
                "blob": file.blob,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "fetched_sha256": file.fetched_sha256,
                "holders": cast("list[object]", file.holders),  # type: ignore[dict-item]
                "fetched_from": cast("list[object]", file.fetched_from),  # type: ignore[dict-item]
            }
        )
        if not same:
            raise DemoFailed(f"{file.name} came back with another digest")
        self._say(
            f"node {fetcher} fetched {file.name} from nodes {_list(file.fetched_from)}: SHA-256"
            f" {file.sha256[:16]} as stored"
        )

    async def _restart(self, cluster: LiveCluster) -> None:
        for victim in self.report.killed:
            before = cluster.nodes[victim].height
            await cluster.start(victim)
            self._say(f"node {victim} runs again on its home, which had height {before}")
        self._done("restarted")

    async def _wait_paid(self, cluster: LiveCluster, consumers: Sequence[int]) -> None:
        """Until no receipt that these signed is unpaid."""
        homes = [cluster.nodes[consumer].home for consumer in consumers]
        owed = await wait_paid(homes, deadline_s=SETTLE_DEADLINE_S)
        if owed:
            raise DemoFailed(f"still unpaid after {SETTLE_DEADLINE_S:.0f} s: {'; '.join(owed)}")
        self._say("every receipt that was signed is settled")

    async def _agree(self, cluster: LiveCluster) -> None:
        await cluster.wait(
            lambda all_: len(all_.up()) == len(all_.nodes) and all_.agreed(),
            deadline_s=AGREE_DEADLINE_S,
            what="all nodes to be at one height with one state",
        )
        status = cluster.nodes[0].status
        assert status is not None
        if cluster.disagreements:
            raise DemoFailed(cluster.disagreements[0])
        violations = [
            note.text
            for node in cluster.nodes
            for note in node.notes
            if note.kind in ("InvariantViolated", "EquivocationFound")
        ]
        if violations:
            raise DemoFailed(violations[0])
        self.report.heights = spread([node.height for node in cluster.nodes])
        self.report.state_root = status.state_root.hex()
        self.report.agreement = True
        self._done("agreed")
        self._say(
            f"all {len(cluster.nodes)} nodes are at height {status.height} with state root"
            f" {status.state_root.hex()[:16]}"
        )

    async def _show_rewards(self, cluster: LiveCluster) -> None:
        home = cluster.nodes[0].home
        self.report.rewards, problems = await read_rewards(home, cluster.nodes[0].height)
        problems += unbalanced(self.report.rewards)
        if problems:
            raise DemoFailed(problems[0])
        if not self.report.rewards:
            raise DemoFailed("nothing was paid")
        self.report.supply_burned = sum(one.burned for one in self.report.rewards)
        names = {peer: f"node {index}" for peer, index in self._indices(cluster).items()}
        self._console.print()
        self._console.print(rewards_table(self.report.rewards, names))
        self._console.print("micro-tokens; received = amount - fee + bonus", style="dim")
        self._console.print()
        self._done("rewarded")

    def _indices(self, cluster: LiveCluster) -> dict[str, int]:
        """Node number by peer id."""
        return {node.peer: node.index for node in cluster.nodes if node.peer}


def _keep_logs(cluster: LiveCluster, output: Path) -> None:
    logs = output / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for node in cluster.nodes:
        if node.log.exists():
            shutil.copyfile(node.log, logs / f"{node.home.name}.log")


def _write(report: DemoReport, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(report), indent=2)
    (output / "report.json").write_bytes(data + b"\n")


def _size(count: int) -> str:
    return f"{count / MIB:.0f} MiB" if count >= MIB else f"{count} bytes"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))

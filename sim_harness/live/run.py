"""One run of a scenario on real processes: the phases of the virtual world, on the machine's clock.

    bring up: fork, mesh, a block everywhere --> faults, liars and load --duration--> heal, close
        --> wait until the network is as it should be, or its patience is over
        --> stop everybody, read all disks, judge

All that is told goes to the event log and into the evidence at once, so that a promise that breaks
ends the run there and then; the verdict rests on the log's records alone.
"""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import trio

from p2p.model.parameters import Genesis
from p2p.node.home import Home
from p2p.primitives.codec import encode
from p2p.storage.port import StoreError
from p2p.storage.sqlite import SqliteStore
from sim_harness.live.cluster import LiveCluster, NodeState
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.live.evidence import Evidence
from sim_harness.live.hands import Hands
from sim_harness.live.homes import open_homes
from sim_harness.live.interrupt import interruptible
from sim_harness.live.janitor import janitor
from sim_harness.live.judge import Verdict, broken_promise, is_well
from sim_harness.live.kernel.offer import Offer
from sim_harness.live.live_faults import LiveFaults
from sim_harness.live.live_load import LiveLoad
from sim_harness.live.messages import Done, Measured, NodeWord, pack
from sim_harness.live.network import LocalPlan, make_homes
from sim_harness.live.node_watch import machine_ms
from sim_harness.live.records import (
    FORMAT,
    Began,
    Broken,
    Ended,
    Head,
    Hurt,
    Marked,
    Record,
    RunLog,
    Sampled,
    Told,
)
from sim_harness.live.results import LiveResult
from sim_harness.live.run_directory import RunDirectory, new_run_directory
from sim_harness.live.sampling import sample_of, take
from sim_harness.live.scenario_setup import seats_of, setup_of
from sim_harness.scenario.faults import FaultRecord
from sim_harness.scenario.schema import Scenario
from sim_harness.scenario.writing import write_scenario

SAMPLE_S: Final = 0.5
LOOK_S: Final = 0.25
RESOURCES_S: Final = 5.0
NODES_PER_STEP: Final = 100
"""In larger networks nodes report, and are measured, so many times less often."""
REPORT_MS: Final = 500
UP_DEADLINE_S: Final = 300.0
MESH_MIN: Final = 2
ADS_SHARE: Final = 0.95
"""Of all ads, what every node knows when the network counts as up."""
SETTLE_MIN_S: Final = 30.0
EPOCHS_TO_SETTLE: Final = 16
WITNESSES: Final = 4
"""Nodes that tell every vote which reaches them."""

Progress = Callable[[str], None]


class LivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and where."""

    scenario: Scenario
    seed: int
    file: str = ""
    keep: bool = False
    """Whether the homes stay."""
    runs: Path = Path("runs")
    kernel: Offer | None = None
    """What the kernel has, to break the network there; None: in the transport."""
    disk: DiskKind = DiskKind.INJECTED
    """How disks are hurt."""


async def run_live(plan: LivePlan, progress: Progress = lambda line: None) -> LiveResult:
    """Run a scenario on real processes to its end, or until Ctrl-C.

    Afterwards no process, port or temporary file is left, whatever happened.

    Raises:
        UserError: the network cannot be made.
        ZygoteError: no process could be started.
        KernelError: the kernel refused a fault.
    """
    directory = new_run_directory(plan.scenario.name, plan.runs)
    return await LiveRun(plan, directory, progress).run()


class LiveRun:
    """A scenario that is being run; it hears everything as the cluster's listener."""

    def __init__(self, plan: LivePlan, directory: RunDirectory, progress: Progress) -> None:
        self.plan = plan
        self.directory = directory
        self._progress = progress
        self._began_s = time.monotonic()
        self._log: RunLog | None = None
        self.evidence: Evidence | None = None
        self._cluster: LiveCluster | None = None
        self._hands: Hands | None = None
        self._load: LiveLoad | None = None
        self._is_stopping = False

    # ---- the whole ---------------------------------------------------------------------------

    async def run(self) -> LiveResult:
        """From homes to the verdict."""
        interrupted = False
        scratch = () if self.plan.keep else (self.directory.homes,)
        try:
            with janitor(scratch), closing(RunLog(self.directory.events)) as self._log:
                homes, genesis, setup = self._make()
                self._begin(genesis)
                async with (
                    interruptible() as state,
                    open_homes(
                        homes,
                        options=self._options(setup),
                        scratch=scratch,
                        logs=self.directory.logs,
                        kernel=self.plan.kernel,
                        seed=self.plan.seed,
                        disk=self.plan.disk,
                    ) as cluster,
                ):
                    await self._experiment(cluster)
                interrupted = state.interrupted
                result = self._judge(interrupted=interrupted)
        finally:
            if not self.plan.keep:
                shutil.rmtree(self.directory.homes, ignore_errors=True)
        return result

    def _judge(self, *, interrupted: bool) -> LiveResult:
        assert self.evidence is not None
        directory = str(self.directory.path)
        return Verdict(self.evidence, directory=directory, interrupted=interrupted).result()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    # ---- before ------------------------------------------------------------------------------

    def _make(self) -> tuple[list[Path], Genesis, Path]:
        """Homes, their genesis, and the file that tells node processes the rest."""
        scenario, network = self.plan.scenario, self.plan.scenario.network
        self.directory.scenario.write_text(write_scenario(scenario), encoding="utf-8")
        chain = {name: value for name, value in scenario.parameters if "." not in name}
        local = LocalPlan(
            nodes=network.nodes,
            validators=network.validators,
            seed=self.plan.seed,
            parameters=chain,
            epoch_ms=chain.get("epoch_ms", LocalPlan(nodes=1).epoch_ms),
        )
        homes = make_homes(local, self.directory.homes)
        setup = setup_of(scenario, self.plan.seed).write(self.directory.homes)
        return homes, Home(homes[0]).read_genesis(), setup

    def _begin(self, genesis: Genesis) -> None:
        scenario = self.plan.scenario
        head = Head(
            FORMAT,
            self.plan.seed,
            scenario.network.validators,
            encode(genesis),
            str(Path(scenario.directory).absolute()),
            self.plan.file,
            self.plan.kernel is not None,
            self.plan.disk,
        )
        self.evidence = Evidence(scenario, head)
        self._record(head)
        setup = setup_of(scenario, self.plan.seed)
        seats = seats_of(self.evidence, scenario)
        witnesses = tuple(node.index for node in self.evidence.world.honest[-WITNESSES:])
        msgspec.structs.replace(
            setup,
            seats=seats,
            witnesses=witnesses,
            own_addresses=self.plan.kernel is not None,
        ).write(self.directory.homes)

    def _options(self, setup: Path) -> dict[str, str]:
        step = 1 + self.plan.scenario.network.nodes // NODES_PER_STEP
        return {
            "setup": str(setup),
            "report_ms": str(REPORT_MS * step),
            "watch_ads": "yes",
            "log_level": "warning",
        }

    # ---- phases ------------------------------------------------------------------------------

    async def _experiment(self, cluster: LiveCluster) -> None:
        assert self.evidence is not None
        evidence = self.evidence
        self._cluster = cluster
        cluster.listener = self
        async with trio.open_nursery() as nursery:
            hands = self._hands = Hands(cluster, nursery)
            nursery.start_soon(self._sample)
            nursery.start_soon(self._take)
            if await self._bring_up(cluster):
                faults = LiveFaults(
                    hands,
                    evidence.population,
                    evidence.world,
                    directory=self.plan.scenario.directory or ".",
                    note=self._hurt,
                )
                self._load = LiveLoad(cluster, evidence.world, evidence.population, self._record)
                await self._hurt_and_load(faults)
                await self._heal(faults)
            self._is_stopping = True
            hands.is_over = True
            self._record(Marked(machine_ms(), "over", round(os.getloadavg()[0], 2)))
            nursery.cancel_scope.cancel()
        await cluster.stop_all()
        await self._read_disks(cluster)

    async def _bring_up(self, cluster: LiveCluster) -> bool:
        assert self.evidence is not None
        self._progress(f"starting {len(cluster.nodes)} processes")
        await cluster.start_all()
        self._record(Marked(machine_ms(), "started", self._elapsed_s()))
        self._progress(f"all serve after {self._elapsed_s():.1f} s; waiting for meshes and a block")
        with trio.move_on_after(UP_DEADLINE_S):
            while not self._is_up():
                if self._is_broken():
                    return False
                await trio.sleep(LOOK_S)
            self._record(Marked(machine_ms(), "up", self._elapsed_s()))
            self._progress(f"up after {self._elapsed_s():.1f} s")
            return True
        self._break(f"bring up: {self._lacking()} within {UP_DEADLINE_S:.0f} s")
        return False

    def _is_up(self) -> bool:
        return not self._lacking()

    def _lacking(self) -> str:
        """What is still to come before the network counts as up."""
        assert self.evidence is not None
        world, count = self.evidence.world, len(self.evidence.world.nodes)
        mesh, ads = min(MESH_MIN, count - 1), int(len(world.honest) * ADS_SHARE)
        honest = [node for node in world.watched if world.is_honest(node)]
        down = [node.index for node in honest if not node.runs or node.status is None]
        if down:
            return f"{len(down)} nodes do not serve, node {down[0]} first of them"
        told = [(node.index, node.status) for node in honest if node.status is not None]
        for index, status in told:
            if status.height < 1:
                return f"node {index} has no block"
            if status.mesh < mesh:
                return f"node {index} is in a mesh of {status.mesh}"
            if status.ads < ads:
                return f"node {index} knows {status.ads} of {count} ads"
        return ""

    async def _hurt_and_load(self, faults: LiveFaults) -> None:
        assert self._load is not None
        scenario = self.plan.scenario
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._load.run, scenario.load)

            async def hurt() -> None:
                await faults.run(scenario.faults, int(scenario.duration))

            nursery.start_soon(hurt)
            end_s = trio.current_time() + scenario.duration / 1000
            told_s = trio.current_time()
            while trio.current_time() < end_s and not self._is_broken():
                await trio.sleep(LOOK_S)
                if trio.current_time() - told_s >= 10:
                    told_s = trio.current_time()
                    self._progress(self._line())
            nursery.cancel_scope.cancel()

    async def _heal(self, faults: LiveFaults) -> None:
        assert self._load is not None
        assert self.evidence is not None
        scenario = self.plan.scenario
        self._load.close()
        await faults.heal()
        self._record(Marked(machine_ms(), "closed"))
        epochs_s = EPOCHS_TO_SETTLE * self.evidence.world.genesis.parameters.epoch_ms / 1000
        patience_s = max(scenario.expect.recovers_within / 1000, epochs_s, SETTLE_MIN_S)
        with trio.move_on_after(patience_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    self._load.run,
                    msgspec.structs.replace(
                        scenario.load, receipts_per_minute=0, transfers_per_minute=0
                    ),
                )
                while True:
                    if is_well(self.evidence) or self._is_broken():
                        break
                    await trio.sleep(LOOK_S)
                nursery.cancel_scope.cancel()

    def _is_broken(self) -> bool:
        assert self.evidence is not None
        found = broken_promise(self.evidence)
        if found is not None and not self.evidence.broken:
            self._break(found)
        return bool(self.evidence.broken)

    def _break(self, sentence: str) -> None:
        self._record(Broken(machine_ms(), sentence))
        self._progress(sentence)

    def _line(self) -> str:
        assert self.evidence is not None
        honest = self.evidence.world.honest
        heights = [node.height for node in honest if node.is_up] or [0]
        hurt = [one.what for one in self.evidence.faults.values() if one.until_ms is None]
        now = f"{len(heights)}/{len(honest)} up, heights {min(heights)} to {max(heights)}"
        return f"{self._elapsed_s():.0f} s: {now}" + (f"; {'; '.join(hurt)[:120]}" if hurt else "")

    # ---- what is heard -----------------------------------------------------------------------

    def _record(self, record: Record) -> None:
        assert self._log is not None
        assert self.evidence is not None
        self._log.write(record)
        self.evidence.add(record)

    def _hurt(self, number: int, record: FaultRecord) -> None:
        self._record(Hurt(number, msgspec.structs.replace(record)))

    def began(self, index: int) -> None:
        """A process of a node was started."""
        self._record(Began(machine_ms(), index))

    def heard(self, index: int, word: NodeWord) -> None:
        """A node told something."""
        match word:
            case Measured():
                if self._hands is not None:
                    self._hands.heard(index, word)
            case Done():
                if self._load is not None:
                    self._load.heard(index, word)
            case _:
                self._record(Told(machine_ms(), index, pack(word)))

    def ended(self, index: int, code: int, *, ordered: bool) -> bool:
        """A process ended; the verdict says whether it was in order."""
        if self._is_stopping:
            return True
        why = ""
        if not ordered:
            assert self._hands is not None
            assert self._cluster is not None
            why = self._hands.excuses(index)
            if not why:
                tail = self._cluster.nodes[index].log_tail().splitlines()[-1:] or [""]
                why = f"exit code {code}: {tail[0]}"[:300]
            self._hands.ended(index)
        self._record(Ended(machine_ms(), index, code, why))
        return True

    # ---- watching ----------------------------------------------------------------------------

    async def _sample(self) -> None:
        assert self.evidence is not None
        step = 1 + len(self.evidence.world.nodes) // NODES_PER_STEP
        while True:
            await trio.sleep(SAMPLE_S * step)
            if self.evidence.is_up:
                self._record(Sampled(sample_of(self.evidence)))

    async def _take(self) -> None:
        assert self._cluster is not None
        step = 1 + len(self._cluster.nodes) // NODES_PER_STEP
        while True:
            await trio.sleep(RESOURCES_S * step)
            pids = {
                node.index: node.pid
                for node in self._cluster.nodes
                if node.pid is not None and node.state is not NodeState.DOWN
            }
            self._record(await take(pids, self._cluster.zygote_pid))

    # ---- after -------------------------------------------------------------------------------

    async def _read_disks(self, cluster: LiveCluster) -> None:
        """Put every disk into the log, as the processes left it."""
        assert self._log is not None
        assert self.evidence is not None
        self._progress(f"reading {len(cluster.nodes)} disks")
        for node in cluster.nodes:
            await trio.lowlevel.checkpoint()
            try:
                with closing(SqliteStore(Home(node.home).database_path)) as store:
                    for record in self._log.write_disk(node.index, store):
                        self.evidence.add(record)
            except StoreError as error:
                self._break(f"disk: node {node.index}: {error}")

"""A running network under a person's hands: words are carried out, and what came of them is told.

keys --> LineEditor --> parse --> Console.say --> LiveFaults, cluster, `p2p add`
                                      |
                                      +--> lines that the view shows under the table
"""

import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Final, assert_never

import trio

from p2p.node.home import Home
from sim_harness.live.cluster import ClusterError, LiveCluster
from sim_harness.live.console_words import (
    Adding,
    Corrupting,
    Hurting,
    Plain,
    Restarting,
    WordError,
    help_lines,
    parse,
)
from sim_harness.live.figures import figures
from sim_harness.live.hands import Hands
from sim_harness.live.kernel.namespace import KernelError
from sim_harness.live.live_faults import LiveFaults
from sim_harness.live.messages import CommitNoted, Measured, NodeWord, Noted
from sim_harness.live.node_watch import machine_ms
from sim_harness.live.rough_wires import UNBOUNDED
from sim_harness.live.setup import Seat, Setup
from sim_harness.live.table import summary_line
from sim_harness.live.watched import WatchedWorld
from sim_harness.scenario.faults import FaultRecord, names
from sim_harness.scenario.schema import Fault
from sim_harness.scenario.selectors import Population, select
from sim_harness.virtual.regions import REGIONS

LINES_MAX: Final = 200
NOTABLE: Final = ("RoundStarted", "EquivocationFound", "InvariantViolated")
ADD_DEADLINE_S: Final = 120.0


class Console:
    """Carries out words on a cluster; `lines` are what it has to say, newest last."""

    def __init__(self, cluster: LiveCluster, *, seed: int, validators: int, setup: Path) -> None:
        genesis = Home(cluster.nodes[0].home).read_genesis()
        self.cluster = cluster
        self.world = WatchedWorld(seed=seed, validators=validators, genesis=genesis)
        count = len(cluster.nodes)
        places = tuple(REGIONS[index % len(REGIONS)] for index in range(count))
        self.population = Population(count, validators, 0, places)
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self.quits = trio.Event()
        self._setup_path = setup
        self._seats: list[Seat] = []
        self._began_ms = machine_ms()
        self._nursery: trio.Nursery | None = None
        self._hands: Hands | None = None
        self._faults: LiveFaults | None = None
        cluster.listener = self
        self._write_setup()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; words are taken from when this has started."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._hands = Hands(self.cluster, nursery)
            self._faults = LiveFaults(self._hands, self.population, self.world, note=self._hurt)
            task_status.started()
            await trio.sleep_forever()

    @property
    def faults(self) -> LiveFaults:
        """Who carries out faults, while this runs."""
        assert self._faults is not None, "it runs"
        return self._faults

    def tell(self, text: str) -> None:
        """A line for the person."""
        seconds = (machine_ms() - self._began_ms) / 1000
        self.lines.append(f"{seconds:7.1f} s  {text}")

    # ---- words -------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Carry out a line in the background; what is wrong with it is told."""
        assert self._nursery is not None, "it runs"
        self._nursery.start_soon(self._say, text)

    async def _say(self, text: str) -> None:
        try:
            said = parse(text, self.population)
            match said:
                case Hurting(fault=fault):
                    await self._begin(fault)
                case Restarting(who=who):
                    await self._restart(who)
                case Corrupting(who=who, kind=kind):
                    await self._corrupt(who, kind)
                case Adding():
                    await self._add(said)
                case Plain(word=word):
                    await self._plain(word)
                case _:
                    assert_never(said)
        except (WordError, ClusterError, KernelError) as error:
            self.tell(f"{text}: {error}")

    async def _begin(self, fault: Fault) -> None:
        assert self._faults is not None
        assert self._nursery is not None
        number = await self._faults.begin(fault)
        if fault.lasts is not None:
            await trio.sleep(fault.lasts / 1000)
            await self._faults.end(number)

    async def _restart(self, who: str) -> None:
        assert self._hands is not None
        chosen = select(who, self.population, self.world.stream("words"))
        self.tell(f"{names(chosen)} restarted")

        async def again(index: int) -> None:
            assert self._hands is not None
            await self._hands.start_anew(index)

        await self._hands.each(chosen, again)

    async def _corrupt(self, who: str, kind: str) -> None:
        chosen = select(who, self.population, self.world.stream("words"))
        taken = {node for seat in self._seats for node in seat.nodes}
        if taken.intersection(chosen):
            raise WordError(f"{names(sorted(taken.intersection(chosen)))} lies already")
        self._seats.append(Seat(kind, tuple(chosen)))
        self._write_setup()
        self.tell(f"{names(chosen)} in the hands of a {kind}")
        await self._restart(", ".join(f"nodes[{index}]" for index in chosen))

    async def _add(self, said: Adding) -> None:
        up = [node.index for node in self.cluster.up()]
        if not up:
            raise WordError("no node is up")
        index = up[-1] if said.node is None else said.node
        if index not in up:
            raise WordError(f"node {index} is not up")
        home = self.cluster.nodes[index].home
        command = [sys.executable, "-m", "p2p.api.cli", "add", said.path, "--home", str(home)]
        if self.cluster.kernel is not None:
            command = self.cluster.kernel.namespace.inside(command)
        with trio.move_on_after(ADD_DEADLINE_S):
            done = await trio.run_process(
                command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
            )
            text = done.stdout.decode(errors="replace").strip().splitlines()
            self.tell(f"n{index} add {said.path}: {' '.join(text[-2:]) or done.returncode}")
            return
        self.tell(f"n{index} add {said.path}: not done in {ADD_DEADLINE_S:.0f} s")

    async def _plain(self, word: str) -> None:
        assert self._faults is not None
        match word:
            case "heal":
                healed = await self._faults.heal()
                self.tell("healed" if healed else "nothing was hurt")
            case "status":
                self.tell(summary_line(figures(self.cluster), 0).strip().partition("s  ")[2])
                for line in slowest(self.cluster):
                    self.tell(line)
            case "help":
                for line in help_lines():
                    self.lines.append(f"  {line}")
            case _:
                self.quits.set()

    def _write_setup(self) -> None:
        Setup(
            seed=self.world.seed,
            nodes=self.population.nodes,
            validators=self.population.validators,
            rows_us=((0,),),
            places=(0,) * self.population.nodes,
            jitter_us=0,
            bytes_per_second=UNBOUNDED,
            parameters=(("gossip.flush_ms", 20),),
            seats=tuple(self._seats),
            own_addresses=self.cluster.kernel is not None,
        ).write(self._setup_path.parent)

    # ---- what is heard -----------------------------------------------------------------------

    def began(self, index: int) -> None:
        """A process was started."""
        self.world.began(index, machine_ms())

    def heard(self, index: int, word: NodeWord) -> None:
        """A node told something."""
        match word:
            case Measured():
                if self._hands is not None:
                    self._hands.heard(index, word)
            case Noted(kind=kind, text=text) if kind in NOTABLE:
                self.tell(f"n{index} {text[:120]}")
            case CommitNoted(round=round_, height=height) if round_ and index == 0:
                self.tell(f"height {height} took {round_ + 1} rounds")
            case _:
                pass

    def ended(self, index: int, code: int, *, ordered: bool) -> bool:
        """A process ended; a person who breaks things expects some ends."""
        why = ""
        if not ordered and self._hands is not None:
            why = self._hands.excuses(index)
            self._hands.ended(index)
        self.world.ended(index, machine_ms(), why)
        if ordered or why:
            return True
        self.tell(f"n{index} ended by itself, code {code}; {self.cluster.nodes[index].log}")
        # A network that nobody touched has to stay as it is.
        return self._faults is not None and bool(self._faults.touched)

    def _hurt(self, number: int, record: FaultRecord) -> None:
        if record.until_ms is None:
            self.tell(f"{record.kind}: {record.what}")
        else:
            self.tell(f"{record.kind} over: {record.what}; measured: {record.measured}")
        del number


def slowest(cluster: LiveCluster, count: int = 3) -> list[str]:
    """The nodes that are furthest behind, in a line each."""
    told = [node for node in cluster.nodes if node.status is not None]
    highest = max((node.height for node in told), default=0)
    behind = sorted(told, key=lambda node: node.height)[:count]
    return [
        f"n{node.index} at height {node.height}, {highest - node.height} behind"
        for node in behind
        if node.height < highest
    ]

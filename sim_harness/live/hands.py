"""Hands on the processes of a cluster: what faults do to nodes, and undo.

Harms overlap: each is counted, and a node starts, thaws or is repaired when the last one is over.
What lies on links, clocks and disks at present is told to every process that starts, before it
serves. One order at a time goes to a node's process (a lock each); nodes are hurt side by side.
"""

import resource
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio

from p2p.node.home import Home
from sim_harness.live.cluster import ClusterError, LiveCluster, NodeState
from sim_harness.live.injected import tear_log
from sim_harness.live.messages import (
    ClockSet,
    ConnectionsForgotten,
    CutSpec,
    DescriptorsHeld,
    DiskHurt,
    LinksHurt,
    Measure,
    Measured,
    NodeOrder,
    RuleSpec,
)

ANSWER_S: Final = 5.0
"""For a node to answer what it measured; a frozen one does not."""
ENDING_S: Final = 15.0
"""What a process whose disk was full may take to end, on a busy machine."""
FORK_PAUSE_S: Final = 0.02
STARTS_MAX: Final = 3
"""Tries to start a process again that ended while it started."""


class Hands:
    """Hurts nodes of a cluster; `nursery` is where nodes start in the background."""

    def __init__(self, cluster: LiveCluster, nursery: trio.Nursery) -> None:
        self.cluster = cluster
        self.nursery = nursery
        self._locks = [trio.Lock() for _ in cluster.nodes]
        self._down: Counter[int] = Counter()
        self._frozen: Counter[int] = Counter()
        self._full: Counter[int] = Counter()
        self._power_cuts = 0
        self._lately_full: dict[int, float] = {}
        self._tearing: Counter[int] = Counter()
        self._holding: Counter[int] = Counter()
        self._cuts: list[CutSpec] = []
        self._rules: list[RuleSpec] = []
        self._clocks: dict[int, ClockSet] = {}
        self._slow_us: Counter[int] = Counter()
        self._waiting: dict[int, trio.Event] = {}
        self._answers: dict[int, Measured] = {}
        self.is_over = False
        """Whether nodes are no longer started."""
        self.torn_bytes: dict[int, int] = {}
        """What was torn of a node's log, last time."""
        self.starts_failed: list[str] = []
        cluster.greeting = self._greeting

    # ---- processes ---------------------------------------------------------------------------

    async def each(self, nodes: Iterable[int], act: Callable[[int], Awaitable[None]]) -> None:
        """Do something to several nodes at the same time."""
        async with trio.open_nursery() as nursery:
            for index in nodes:
                nursery.start_soon(act, index)

    async def take_down(self, index: int) -> None:
        """SIGKILL, and keep it down until `let_up` as often."""
        self._down[index] += 1
        async with self._locks[index]:
            if await self._forked(index):
                await self.cluster.kill(index)

    async def _forked(self, index: int) -> bool:
        """Whether a node has a process; one that was just ordered is waited for."""
        node = self.cluster.nodes[index]
        # The zygote answers within milliseconds.
        while node.state is NodeState.STARTING and node.child is None:  # noqa: ASYNC110
            await trio.sleep(FORK_PAUSE_S)
        return node.child is not None

    async def let_up(self, index: int) -> None:
        """One reason less for a node to be down."""
        self._down[index] = max(0, self._down[index] - 1)
        await self.start_if_free(index)

    async def start_if_free(self, index: int) -> None:
        """Start a node that is down, in the background, unless a fault keeps it so."""
        self.nursery.start_soon(self._start, index)

    async def start_anew(self, index: int) -> None:
        """Stop a node if it runs, and start it, whatever kept it down."""
        self._down[index] = 0
        async with self._locks[index]:
            if await self._forked(index):
                await self.cluster.stop(index)
        await self._start(index)

    async def _start(self, index: int) -> None:
        for _ in range(STARTS_MAX):
            async with self._locks[index]:
                node = self.cluster.nodes[index]
                kept = self._down[index] or self._full[index] or self.is_over
                if kept or node.state is not NodeState.DOWN:
                    return
                try:
                    if self.cluster.disk is not None:
                        await self.cluster.disk.settle(index)
                    await self.cluster.start(index)
                except ClusterError as error:
                    self.starts_failed.append(str(error))

    async def pause(self, index: int) -> None:
        """SIGSTOP."""
        self._frozen[index] += 1
        async with self._locks[index]:
            if self.cluster.nodes[index].state is NodeState.UP:
                await self.cluster.pause(index)

    async def resume(self, index: int) -> None:
        """SIGCONT when nothing else keeps it frozen."""
        self._frozen[index] -= 1
        async with self._locks[index]:
            is_paused = self.cluster.nodes[index].state is NodeState.PAUSED
            if is_paused and self._frozen[index] <= 0:
                await self.cluster.resume(index)

    def excuses(self, index: int) -> str:
        """Why a process may end by itself at present; nothing if it may not."""
        since_s = trio.current_time() - self._lately_full.get(index, float("-inf"))
        if self._full[index] or since_s < ENDING_S:
            return "no space left on the disk"
        if self._tearing[index]:
            return "power failed within a write"
        return ""

    def ended(self, index: int) -> None:
        """A process ended by itself."""
        if self._tearing[index]:
            self._lately_full.pop(index, None)
        elif index in self._lately_full and not self._full[index]:
            # It was still ending when there was space again.
            self.nursery.start_soon(self._start, index)
        if self._tearing[index] and self.cluster.disk is None:
            database = Home(self.cluster.nodes[index].home).database_path
            self.torn_bytes[index] = tear_log(database)

    # ---- links -------------------------------------------------------------------------------

    async def cut(self, cut: CutSpec) -> None:
        """Put a partition between nodes."""
        self._cuts.append(cut)
        await self._tell_links()

    async def heal(self, cut: CutSpec) -> None:
        """Take it away again."""
        self._cuts.remove(cut)
        await self._tell_links()

    async def add_rule(self, rule: RuleSpec) -> None:
        """Put a hindrance on links."""
        self._rules.append(rule)
        await self._tell_links()

    async def remove_rule(self, rule: RuleSpec) -> None:
        """Take it away again."""
        self._rules.remove(rule)
        await self._tell_links()

    async def forget_connections(self, nodes: Sequence[int]) -> None:
        """Let nodes lose their ends of all connections, and nobody hear of it."""
        await self.tell(nodes, ConnectionsForgotten())

    async def _tell_links(self) -> None:
        await self.tell(range(len(self.cluster.nodes)), self._links())

    def _links(self) -> LinksHurt:
        return LinksHurt(tuple(self._cuts), tuple(self._rules))

    # ---- clocks and disks ----------------------------------------------------------------------

    async def set_clock(self, nodes: Sequence[int], clock: ClockSet) -> None:
        """Set clocks apart; zeros set them right."""
        for index in nodes:
            self._clocks[index] = clock
        await self.tell(nodes, clock)

    async def slow_disk(self, nodes: Sequence[int], add_us: int) -> None:
        """Let commits take longer, or less long again."""
        for index in nodes:
            self._slow_us[index] += add_us
            if self.cluster.disk is not None:
                await self.cluster.disk.slow(index, self._slow_us[index])
                continue
            await self.cluster.order(index, self._disk(index))

    async def fill_disk(self, index: int) -> None:
        """Let every write to a file be refused: by the disk, or by RLIMIT_FSIZE, from outside."""
        self._full[index] += 1
        await self._fill(index)

    async def empty_disk(self, index: int) -> None:
        """There is space again."""
        self._full[index] -= 1
        self._lately_full[index] = trio.current_time()
        await self._fill(index)

    async def _fill(self, index: int) -> None:
        is_full = self._full[index] > 0
        if self.cluster.disk is not None:
            await self.cluster.disk.fill(index, full=is_full)
        else:
            self._limit_files(index, 0 if is_full else resource.RLIM_INFINITY)

    async def tear(self, index: int) -> None:
        """Let the process die within its next commit, which is then torn."""
        self._tearing[index] += 1
        self.torn_bytes.pop(index, None)
        pid = self.cluster.nodes[index].pid
        if self.cluster.disk is not None:
            if pid is not None:
                self._power_cuts += 1
                await self.cluster.disk.cut_power(index, pid, self._power_cuts)
            return
        await self.cluster.order(index, self._disk(index))

    async def tear_no_more(self, index: int) -> None:
        """Commits are whole again."""
        self._tearing[index] -= 1
        if self.cluster.disk is not None:
            if not self._tearing[index]:
                await self.cluster.disk.keep_power(index)
            return
        await self.cluster.order(index, self._disk(index))

    def _disk(self, index: int) -> DiskHurt:
        return DiskHurt(self._slow_us[index], tears=self._tearing[index] > 0)

    def _limit_files(self, index: int, soft: int) -> None:
        pid = self.cluster.nodes[index].pid
        if pid is None:
            return
        try:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        except ProcessLookupError:
            pass  # It has just ended.

    async def hold_descriptors(self, index: int) -> None:
        """Let a process have no descriptor left."""
        self._holding[index] += 1
        await self.cluster.order(index, DescriptorsHeld(held=True))

    async def free_descriptors(self, index: int) -> None:
        """It has them again when nothing else takes them."""
        self._holding[index] -= 1
        if not self._holding[index]:
            await self.cluster.order(index, DescriptorsHeld(held=False))

    async def wipe(self, index: int) -> None:
        """Remove the data of a node that is down; key, genesis and config stay."""
        shutil.rmtree(Home(self.cluster.nodes[index].home).data_path, ignore_errors=True)

    # ---- orders --------------------------------------------------------------------------------

    async def tell(self, nodes: Iterable[int], order: NodeOrder) -> None:
        """The same order to several nodes, those that are down left out."""

        async def one(index: int) -> None:
            await self.cluster.order(index, order)

        await self.each(nodes, one)

    def _greeting(self, index: int) -> list[NodeOrder]:
        orders: list[NodeOrder] = []
        if self._cuts or self._rules:
            orders.append(self._links())
        if index in self._clocks:
            orders.append(self._clocks[index])
        if self.cluster.disk is None and (self._slow_us[index] or self._tearing[index]):
            orders.append(self._disk(index))
        return orders

    async def measure(self, nodes: Sequence[int]) -> dict[int, Measured]:
        """What nodes measured so far; some may not answer."""
        found: dict[int, Measured] = {}

        async def ask(index: int) -> None:
            event = self._waiting.setdefault(index, trio.Event())
            with trio.move_on_after(ANSWER_S):
                if await self.cluster.order(index, Measure()):
                    await event.wait()
                    found[index] = self._answers[index]

        await self.each(nodes, ask)
        return found

    def heard(self, index: int, word: Measured) -> None:
        """A node answered."""
        self._answers[index] = word
        event = self._waiting.pop(index, None)
        if event is not None:
            event.set()

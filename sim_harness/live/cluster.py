r"""A cluster of live nodes: start, kill, stop, restart, freeze, watch.

    start -> starting --Ready--> up <--pause, resume--> paused
                 \                |
                  +--- kill, stop, or an end of its own ---> down --restart--> starting

An end that nobody ordered is a failure: whoever waits hears of it at once, with the last lines of
the node's log.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Final, Protocol, TypeVar

import psutil
import trio

from p2p.api.client import ApiClient
from sim_harness.live.disk.fuse_disk import FuseDisk
from sim_harness.live.kernel.faults import KernelFaults
from sim_harness.live.messages import (
    AdNoted,
    AdsNoted,
    CommitNoted,
    NodeOrder,
    NodeWord,
    Noted,
    Ready,
    Status,
    VoteNoted,
)
from sim_harness.live.zygote import Child, Zygote, ZygoteError

T = TypeVar("T")

PAUSE_S: Final = 5.0
"""What a stopped process may take to stand still."""
STARTING_MAX: Final = 4
"""Nodes that start at the same time: more would only take the processor from one another."""
START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 5.0
END_DEADLINE_S: Final = 2.0
"""For the whole cluster to stop by itself when the harness ends."""
CHECK_PAUSE_S: Final = 0.05
"""Between two looks at a condition, however often nodes report."""
COMMITS_MAX: Final = 10_000
VOTES_MAX: Final = 200_000
ADS_MAX: Final = 20_000
NOTES_MAX: Final = 1_000
LOG_TAIL_LINES: Final = 15


class ClusterError(Exception):
    """A node ended, or what was waited for did not happen; the text says which and how."""


class NodeState(Enum):
    """Where a node's process stands."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    PAUSED = "paused"


class Listener(Protocol):
    """Hears all that happens in a cluster, as it happens."""

    def began(self, index: int) -> None:
        """A process of a node was started."""

    def heard(self, index: int, word: NodeWord) -> None:
        """A node told something."""

    def ended(self, index: int, code: int, *, ordered: bool) -> bool:
        """A process ended; whether that is in order though nobody ordered it."""


class LiveNode:
    """One node of the cluster, over all of its processes."""

    def __init__(self, index: int, home: Path, log: Path | None = None) -> None:
        self.index = index
        self.home = home
        self.log = log or home / "node.log"
        """Where its output goes."""
        self.state = NodeState.DOWN
        self.child: Child | None = None
        self.ready: Ready | None = None
        self.status: Status | None = None
        self.peer = ""
        """Its peer id, once it served."""
        self.account = b""
        self.starts = 0
        self.commits: dict[int, CommitNoted] = {}
        """What it said was final, by height, over all of its processes."""
        self.ads: list[AdNoted] = []
        self.votes: list[VoteNoted] = []
        self.notes: list[Noted] = []

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        return None if self.child is None else self.child.pid

    @property
    def height(self) -> int:
        """Last reported height; 0 while down."""
        return 0 if self.status is None else self.status.height

    def log_tail(self) -> str:
        """The last lines of its output."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-LOG_TAIL_LINES:])


class LiveCluster:
    """Nodes as processes of one zygote; made by `homes.open_homes`."""

    def __init__(
        self,
        zygote: Zygote,
        homes: Sequence[Path],
        options: dict[str, str] | None = None,
        *,
        logs: Path | None = None,
        disk: FuseDisk | None = None,
    ) -> None:
        self._zygote = zygote
        self.disk = disk
        """What the homes lie on, where that is not the machine's own."""
        self._options = options or {}
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._ending: set[Child] = set()
        self.listener: Listener | None = None
        self.greeting: Callable[[int], Sequence[NodeOrder]] | None = None
        """What a node is ordered before it serves."""
        self.kernel: KernelFaults | None = None
        """Breaks the network in the kernel, where that was asked for."""
        self.nodes = [
            LiveNode(index, home, None if logs is None else logs / f"{home.name}.log")
            for index, home in enumerate(homes)
        ]
        self.decided: dict[int, CommitNoted] = {}
        """The first commit that any node told, by height."""
        self.disagreements: list[str] = []
        self.failures: list[str] = []
        """Ends that nobody ordered; each is raised by one `wait`."""
        self._failures_told = 0

    @property
    def zygote_pid(self) -> int:
        """The process that all nodes are forked from."""
        return self._zygote.pid

    # ---- processes ---------------------------------------------------------------------------

    async def start(self, index: int, options: dict[str, str] | None = None) -> None:
        """Start a node that is down, and wait until it serves. Raises ClusterError."""
        node = self.nodes[index]
        assert node.state is NodeState.DOWN, f"node {index} is {node.state.value}"
        assert self._nursery is not None
        node.state = NodeState.STARTING
        node.ready = node.status = None
        node.starts += 1
        child = await self._zygote.spawn(
            node=index, home=node.home, log=node.log, options={**self._options, **(options or {})}
        )
        node.child = child
        if self.listener is not None:
            self.listener.began(index)
        self._nursery.start_soon(self._watch, node, child)
        for order in () if self.greeting is None else self.greeting(index):
            await child.tell(order)
        await self.wait(
            lambda _: node.child is not child or node.state is not NodeState.STARTING,
            deadline_s=START_DEADLINE_S,
            what=f"node {index} to serve",
        )

    async def start_all(self) -> None:
        """Start all nodes that are down, in order, a few at a time. Raises ClusterError.

        The first ones are seeds and validators: who comes before them finds nobody, and waits.
        """
        waiting = iter([node.index for node in self.nodes if node.state is NodeState.DOWN])

        async def start_in_turn() -> None:
            for index in waiting:
                await self.start(index)

        async with trio.open_nursery() as nursery:
            for _ in range(STARTING_MAX):
                nursery.start_soon(start_in_turn)

    async def stop_all(self) -> None:
        """SIGTERM for all at once, SIGKILL for who is left soon after."""

        async def stop_one(index: int) -> None:
            await self.stop(index)

        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                if node.child is not None:
                    nursery.start_soon(stop_one, node.index)

    async def kill(self, index: int) -> None:
        """SIGKILL: gone as in a power cut, except that the disk's cache survives."""
        child = self._expect_end(index)
        await child.signal(SIGKILL)
        await child.exited.wait()
        await self._wait_down(index)

    async def order(self, index: int, order: NodeOrder) -> bool:
        """Order something of a node; False when it has no process, or takes no more orders."""
        child = self.nodes[index].child
        return child is not None and await child.tell(order)

    async def stop(self, index: int) -> int:
        """SIGTERM, and SIGKILL when that does not end it; the exit code."""
        child = self._expect_end(index)
        await child.signal(SIGTERM)
        await child.signal(SIGCONT)
        with trio.move_on_after(STOP_DEADLINE_S):
            await child.exited.wait()
        await child.signal(SIGKILL)
        await child.exited.wait()
        await self._wait_down(index)
        assert child.code is not None
        return child.code

    async def restart(self, index: int) -> None:
        """Start a node again on the same home, after stopping it if it runs."""
        if self.nodes[index].state is not NodeState.DOWN:
            await self.stop(index)
        await self.start(index)

    async def pause(self, index: int) -> None:
        """SIGSTOP: frozen when this returns, its connections open."""
        child = self._running(index)
        await child.signal(SIGSTOP)
        process = psutil.Process(child.pid)
        with trio.fail_after(PAUSE_S):
            # The kernel tells nobody but the parent, and that is the zygote.
            while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110
                await trio.sleep(0.002)
        self.nodes[index].state = NodeState.PAUSED

    async def resume(self, index: int) -> None:
        """SIGCONT."""
        await self._running(index).signal(SIGCONT)
        self.nodes[index].state = NodeState.UP

    def _running(self, index: int) -> Child:
        child = self.nodes[index].child
        assert child is not None, f"node {index} is down"
        return child

    def _expect_end(self, index: int) -> Child:
        child = self._running(index)
        self._ending.add(child)
        return child

    async def _wait_down(self, index: int) -> None:
        node = self.nodes[index]
        while node.state is not NodeState.DOWN:
            await self._changed.wait()

    # ---- what nodes tell -----------------------------------------------------------------------

    def status(self, index: int) -> Status | None:
        """What a node told last; None when its process said nothing yet."""
        return self.nodes[index].status

    def client(self, index: int) -> ApiClient:
        """A client of a node's HTTP API; it blocks, so call it in a thread. Raises UserError."""
        return ApiClient(self.nodes[index].home)

    def up(self) -> list[LiveNode]:
        """Nodes that serve."""
        return [node for node in self.nodes if node.state is NodeState.UP]

    async def wait(
        self,
        predicate: Callable[["LiveCluster"], bool],
        *,
        deadline_s: float,
        what: str = "the condition",
    ) -> float:
        """Until `predicate` holds; seconds waited.

        Raises:
            ClusterError: the deadline passed, or a node ended that nobody stopped.
        """
        began_s = trio.current_time()
        with trio.move_on_after(deadline_s):
            while True:
                if self._failures_told < len(self.failures):
                    self._failures_told += 1
                    raise ClusterError(self.failures[self._failures_told - 1])
                if predicate(self):
                    return trio.current_time() - began_s
                await self._changed.wait()
                await trio.sleep(CHECK_PAUSE_S)
        raise ClusterError(f"waited {deadline_s:.0f} s for {what}, in vain")

    def agreed(self) -> bool:
        """Whether all nodes that serve are at one height with one state root."""
        found = {
            (node.status.height, node.status.state_root) if node.status else None
            for node in self.up()
        }
        return len(found) == 1 and None not in found

    async def _watch(self, node: LiveNode, child: Child) -> None:
        while (word := await child.word()) is not None:
            self._hear(node, word)
            self._tell_change()
        await child.exited.wait()
        child.close()
        ordered, excused = child in self._ending, False
        self._ending.discard(child)
        if self.listener is not None:
            excused = self.listener.ended(node.index, child.code or 0, ordered=ordered)
        if not ordered and not excused:
            self.failures.append(_failure(node, child))
        node.state = NodeState.DOWN
        node.child = None
        self._tell_change()

    def _hear(self, node: LiveNode, word: NodeWord) -> None:
        if self.listener is not None:
            self.listener.heard(node.index, word)
        match word:
            case Status():
                node.status = word
            case Ready():
                node.ready = word
                node.peer = word.peer
                node.account = word.account
                node.state = NodeState.UP
            case CommitNoted():
                self._commit(node, word)
            case AdNoted():
                _append(node.ads, word, ADS_MAX)
            case AdsNoted(ads=ads):
                for ad in ads:
                    _append(node.ads, ad, ADS_MAX)
            case VoteNoted():
                _append(node.votes, word, VOTES_MAX)
            case Noted():
                _append(node.notes, word, NOTES_MAX)
            case _:
                pass  # For the listener alone.

    def _commit(self, node: LiveNode, commit: CommitNoted) -> None:
        first = self.decided.setdefault(commit.height, commit)
        before = node.commits.setdefault(commit.height, commit)
        for other, whose in ((first, "another node"), (before, "itself before")):
            if (other.header_digest, other.state_root) != (commit.header_digest, commit.state_root):
                self.disagreements.append(
                    f"node {node.index} committed {commit.header_digest.hex()[:12]} at height"
                    f" {commit.height}, {whose} {other.header_digest.hex()[:12]}"
                )
        for commits in (self.decided, node.commits):
            while len(commits) > COMMITS_MAX:
                del commits[next(iter(commits))]

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ---- the end -------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Watch the nodes until cancelled, then end them all."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await self._end()

    async def _end(self) -> None:
        """SIGTERM for all at once; what is left soon after falls with the zygote."""
        children = [node.child for node in self.nodes if node.child is not None]
        self._ending.update(children)
        try:
            for child in children:
                await child.signal(SIGTERM)
                await child.signal(SIGCONT)
            with trio.move_on_after(END_DEADLINE_S):
                for child in children:
                    await child.exited.wait()
        except ZygoteError:
            pass  # Then no child is left either.
        for child in children:
            child.close()


def _append(items: list[T], item: T, maximum: int) -> None:
    items.append(item)
    if len(items) > maximum:
        del items[0]


def _failure(node: LiveNode, child: Child) -> str:
    code = child.code or 0
    end = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    tail = node.log_tail()
    return f"node {node.index} (process {child.pid}) {end}" + (
        f"; its log ends:\n{tail}" if tail else ""
    )

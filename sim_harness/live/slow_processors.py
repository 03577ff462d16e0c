"""Processes that get a share of a processor: by the kernel's quota, or stopped and continued.

A control group's quota is what a busy container has: so much of every tenth of a second, the rest
is waiting. Where there is none to be had (it takes root), SIGSTOP and SIGCONT ten times a second
starve a process in slices, too; their share is of the time that passes, whatever it had used.
"""

from signal import SIGCONT, SIGSTOP
from typing import Final

import trio

from sim_harness.live.cluster import NodeState
from sim_harness.live.cpu_groups import CpuGroups
from sim_harness.live.hands import Hands

PERIOD_S: Final = 0.1


class SlowProcessors:
    """Nodes that run for `share` of the time, from `begin` until `stop`."""

    def __init__(self, hands: Hands, nodes: list[int], share: float) -> None:
        self._hands = hands
        self._nodes = nodes
        self._share = min(1.0, max(0.01, share))
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._groups = CpuGroups(hands.cluster.zygote_pid)
        self.by = "quota"
        """How it is done."""
        self._inside: dict[int, int] = {}
        """The process of each node that is in its group."""

    def begin(self) -> None:
        """From now on."""
        try:
            for index in self._nodes:
                self._groups.limit(index, self._share)
            self._put()
        except OSError:
            self._free()
            self.by = "signals"
        self._hands.nursery.start_soon(self._run)

    async def stop(self) -> None:
        """They run all the time again."""
        self._scope.cancel()
        await self._ended.wait()

    async def _run(self) -> None:
        with self._scope:
            while True:
                if self.by == "quota":
                    await trio.sleep(PERIOD_S)
                    self._put()
                    continue
                await self._signal(stopped=True)
                await trio.sleep(PERIOD_S * (1 - self._share))
                await self._signal(stopped=False)
                await trio.sleep(PERIOD_S * self._share)
        with trio.CancelScope(shield=True):
            if self.by == "quota":
                self._free()
            else:
                await self._signal(stopped=False)
        self._ended.set()

    def _put(self) -> None:
        """Put processes into their groups, those that started meanwhile, too. Raises OSError."""
        for index in self._nodes:
            pid = self._hands.cluster.nodes[index].pid
            if pid is not None and self._inside.get(index) != pid:
                try:
                    self._groups.put(index, pid)
                except ProcessLookupError:
                    continue  # It has just ended.
                self._inside[index] = pid

    def _free(self) -> None:
        for index in self._nodes:
            self._groups.free(index)
        self._inside.clear()

    async def _signal(self, *, stopped: bool) -> None:
        for index in self._nodes:
            node = self._hands.cluster.nodes[index]
            # A node that another fault froze stays so.
            if node.child is not None and node.state is not NodeState.PAUSED:
                await node.child.signal(SIGSTOP if stopped else SIGCONT)

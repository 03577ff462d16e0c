"""Processes that get a share of a processor: stopped and continued many times a second.

It needs no privilege, and starves a process as a busy machine does: in slices. The share is of the
time that passes, whatever the process would have used.
"""

from signal import SIGCONT, SIGSTOP
from typing import Final

import trio

from sim_harness.live.cluster import NodeState
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

    def begin(self) -> None:
        """From now on."""
        self._hands.nursery.start_soon(self._run)

    async def stop(self) -> None:
        """They run all the time again."""
        self._scope.cancel()
        await self._ended.wait()

    async def _run(self) -> None:
        with self._scope:
            while True:
                await self._signal(stopped=True)
                await trio.sleep(PERIOD_S * (1 - self._share))
                await self._signal(stopped=False)
                await trio.sleep(PERIOD_S * self._share)
        with trio.CancelScope(shield=True):
            await self._signal(stopped=False)
        self._ended.set()

    async def _signal(self, *, stopped: bool) -> None:
        for index in self._nodes:
            node = self._hands.cluster.nodes[index]
            # A node that another fault froze stays so.
            if node.child is not None and node.state is not NodeState.PAUSED:
                await node.child.signal(SIGSTOP if stopped else SIGCONT)

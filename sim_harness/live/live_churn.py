"""Churn on real processes: nodes that are killed and started again, by the same distributions."""

from typing import TYPE_CHECKING

import trio

from sim_harness.scenario.churn import SPAN_MS_MIN, Sessions
from sim_harness.scenario.schema import Churn

if TYPE_CHECKING:
    from sim_harness.live.live_faults import LiveFaults


class LiveChurn:
    """Nodes under churn from `begin` until `stop`."""

    def __init__(self, faults: "LiveFaults", nodes: list[int], churn: Churn) -> None:
        self._hands = faults.hands
        self._nodes = nodes
        self._down_ms = churn.down
        self._draws = faults.world.stream("churn")
        self._sessions = Sessions(churn, faults.directory, self._draws)
        self._away: set[int] = set()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self.sessions: list[float] = []
        """Seconds that nodes stayed."""

    async def begin(self) -> None:
        """From now on."""
        self._hands.nursery.start_soon(self._run)

    async def stop(self) -> None:
        """Everybody stays or comes back."""
        self._scope.cancel()
        await self._ended.wait()
        for index in sorted(self._away):
            await self._hands.let_up(index)

    async def _run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                for index in self._nodes:
                    nursery.start_soon(self._come_and_go, index)
        self._ended.set()

    async def _come_and_go(self, index: int) -> None:
        while True:
            stay_s = self._sessions.next_ms() / 1000
            await trio.sleep(stay_s)
            self.sessions.append(stay_s)
            with trio.CancelScope(shield=True):
                self._away.add(index)
                await self._hands.take_down(index)
            drawn_ms = int(self._draws.expovariate(1 / self._down_ms))
            await trio.sleep(max(SPAN_MS_MIN, drawn_ms) / 1000)
            with trio.CancelScope(shield=True):
                self._away.discard(index)
                await self._hands.let_up(index)

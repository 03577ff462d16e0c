"""Churn: nodes that leave without a word and come back, by a distribution or a trace.

Measured sessions of peer-to-peer networks fit Weibull distributions with a shape around 0.5: most
are short and a few are very long (Stutzbach and Rejaie, IMC 2006).
"""

from math import gamma
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from sim_harness.scenario.reading import read_sessions
from sim_harness.scenario.schema import Churn
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.node import VirtualNode

if TYPE_CHECKING:
    from sim_harness.scenario.faults import FaultRunner

SPAN_MS_MIN: Final = 50
"""Sessions and absences are at least this: a process has to start."""


class Sessions:
    """How long nodes stay: the next session, in milliseconds."""

    def __init__(self, churn: Churn, directory: str, draws: Random) -> None:
        self._churn = churn
        self._draws = draws
        self._trace: list[int] = []
        self._next = 0
        if churn.sessions not in ("exponential", "weibull"):
            self._trace = list(read_sessions(Path(directory) / churn.sessions))

    def next_ms(self) -> int:
        """A trace is read from its beginning, and over again."""
        if self._trace:
            self._next += 1
            return self._trace[(self._next - 1) % len(self._trace)]
        if self._churn.sessions == "weibull":
            # The mean of Weibull's distribution is scale * gamma(1 + 1 / shape).
            scale = self._churn.mean / gamma(1 + 1 / self._churn.shape)
            drawn = self._draws.weibullvariate(scale, self._churn.shape)
        else:
            drawn = self._draws.expovariate(1 / self._churn.mean)
        return max(SPAN_MS_MIN, int(drawn))


class Churning:
    """Nodes under churn until `stop`."""

    def __init__(self, runner: "FaultRunner", nodes: list[VirtualNode], churn: Churn) -> None:
        self._runner = runner
        self._down_ms = churn.down
        self._draws = runner.world.stream("churn")
        self._sessions = Sessions(churn, runner.directory, self._draws)
        self._is_over = False
        self._away: dict[int, VirtualNode] = {}
        for node in nodes:
            self._stay(node)

    def stop(self) -> None:
        """Everybody stays or comes back."""
        self._is_over = True
        away, self._away = self._away, {}
        for node in away.values():
            self._runner.let_up(node)

    def _stay(self, node: VirtualNode) -> None:
        def leave() -> bytes:
            if self._is_over:
                return b"stays"
            self._away[node.index] = node
            self._runner.take_down(node)
            self._absent(node)
            return b"%d leaves" % node.index

        delay_us = self._sessions.next_ms() * MICROS_PER_MS
        self._runner.world.heap.after(delay_us, "churn", leave)

    def _absent(self, node: VirtualNode) -> None:
        def come_back() -> bytes:
            if self._is_over:
                return b"is back"
            del self._away[node.index]
            self._runner.let_up(node)
            self._stay(node)
            return b"%d returns" % node.index

        delay_ms = max(SPAN_MS_MIN, int(self._draws.expovariate(1 / self._down_ms)))
        self._runner.world.heap.after(delay_ms * MICROS_PER_MS, "churn", come_back)

"""Asked beside measured: what nodes saw of a fault while it lasted, in a line for its record.

What the transport, the clock and the disk did is measured in the nodes' own processes, where bytes
go to real sockets and commits to real files; what happened to processes, by the kernel's word.
"""

import time
from collections.abc import Sequence
from typing import Final

from sim_harness.live.cluster import NodeState
from sim_harness.live.hands import Hands
from sim_harness.live.messages import Measured
from sim_harness.scenario import schema
from sim_harness.scenario.schema import Fault

KBIT: Final = 1_000


class Probe:
    """Measures one fault at some of its victims."""

    def __init__(self, hands: Hands, fault: Fault, nodes: Sequence[int]) -> None:
        self._hands = hands
        self._fault = fault
        self._nodes = nodes
        self._before: dict[int, Measured] = {}
        self._during: dict[int, Measured] = {}
        self._began_s = time.monotonic()
        self._seen: dict[int, NodeState] = {}

    async def begin(self) -> None:
        """Before the harm: nodes begin to measure anew."""
        if self._asks_nodes:
            self._before = await self._hands.measure(self._nodes)
        self._began_s = time.monotonic()

    async def before_end(self) -> None:
        """Before the harm is undone."""
        if self._asks_nodes:
            self._during = await self._hands.measure(self._nodes)
        self._seen = {index: self._hands.cluster.nodes[index].state for index in self._nodes}

    async def end(self) -> str:
        """When it is undone: the line."""
        lasted_s = time.monotonic() - self._began_s
        match self._fault:
            case schema.Kill() | schema.Restart():
                return self._states(NodeState.DOWN, "down", lasted_s)
            case schema.Pause():
                return self._states(NodeState.PAUSED, "stopped by the kernel", lasted_s)
            case schema.TornWrite():
                torn = [f"n{at}: {size} B" for at, size in self._hands.torn_bytes.items()]
                return f"torn at the end of the log: {', '.join(torn) or 'nothing'}"
            case schema.DiskFull():
                return self._states(NodeState.DOWN, "stopped with nothing half written", lasted_s)
            case schema.Churn():
                return f"{lasted_s:.1f} s"
            case _:
                return self._told(lasted_s)

    @property
    def _asks_nodes(self) -> bool:
        processes = (schema.Kill, schema.Restart, schema.Pause, schema.TornWrite, schema.Churn)
        return not isinstance(self._fault, processes)

    def _states(self, state: NodeState, word: str, lasted_s: float) -> str:
        count = sum(found is state for found in self._seen.values())
        return f"{count} of {len(self._seen)} {word}, {lasted_s:.2f} s"

    def _told(self, lasted_s: float) -> str:
        told = list(self._during.values())
        if not told:
            return "no node answered"
        match self._fault:
            case schema.Partition() | schema.Disconnect():
                crossed, held = sum(one.crossed for one in told), sum(one.held for one in told)
                return f"{crossed} B crossed, {held} sends held, {lasted_s:.1f} s"
            case schema.Delay():
                added = _mean([one.late_ms - one.asked_ms for one in told if one.parcels])
                sends = sum(one.parcels for one in told)
                return f"{added:.1f} ms beyond the distance, mean of {sends} sends"
            case schema.Loss():
                packets = sum(one.packets for one in told)
                lost = sum(one.retransmissions for one in told)
                breaks = sum(one.breaks for one in told)
                share = lost / max(1, packets + lost)
                return f"{share:.1%} of {packets + lost} packets, {breaks} connections broken"
            case schema.Bandwidth():
                rates = [8 * one.bytes / one.span_s / KBIT for one in told if one.span_s > 0]
                late = _mean([one.late_ms - one.asked_ms for one in told if one.parcels])
                return f"at most {max(rates, default=0):.0f} kbit/s sent, {late:.0f} ms late"
            case schema.SlowDisk():
                was = _mean([one.commit_ms for one in self._before.values() if one.commits])
                now = _mean([one.commit_ms for one in told if one.commits])
                return f"a commit takes {now:.1f} ms, {was:.1f} ms before"
            case schema.ClockSkew():
                worst = max((one.clock_ms for one in told), key=abs)
                return f"the node's clock is {worst:+.0f} ms off the machine's"
            case _:
                return ""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0

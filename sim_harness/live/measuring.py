"""Asked beside measured: what nodes saw of a fault while it lasted, in a line for its record.

What the transport, the clock and the disk did is measured in the nodes' own processes, where bytes
go to real sockets and commits to real files; what happened to processes, by the kernel's word; what
the kernel does itself, by its counters (`KernelFaults`).
"""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from sim_harness.live import only_live
from sim_harness.live.cluster import NodeState
from sim_harness.live.disk.words import PowerCut
from sim_harness.live.few_files import descriptors_of
from sim_harness.live.hands import Hands
from sim_harness.live.kernel.offer import TRANSPORT
from sim_harness.live.messages import Measured
from sim_harness.live.process_memory import usage
from sim_harness.scenario import schema
from sim_harness.scenario.schema import Fault

KBIT: Final = 1_000
ASKED_MAX: Final = 8
"""Victims that are asked what they measured of a fault."""
PROCESSES: Final = (
    schema.Kill,
    schema.Restart,
    schema.Pause,
    schema.TornWrite,
    schema.CorruptPage,
    schema.SlowCpu,
    schema.Churn,
    only_live.EmptyDisk,
    only_live.HalfOpen,
)
"""Faults of whole processes, which are not asked."""


class Probe:
    """Measures one fault: what victims have to be asked for, at some of them."""

    def __init__(self, hands: Hands, fault: Fault, nodes: Sequence[int]) -> None:
        self._hands = hands
        self._fault = fault
        self._nodes = nodes
        self._asked = nodes[:ASKED_MAX]
        self._before: dict[int, Measured] = {}
        self._during: dict[int, Measured] = {}
        self._began_s = time.monotonic()
        self._seen: dict[int, NodeState] = {}
        self._cpu_s: dict[int, float] = {}
        self._syncs: list[float] = []
        self._syncs_before: list[float] = []
        self._refused = 0
        self._peers_before = 0
        self._descriptors: list[tuple[int, int]] = []
        self._starts_before: dict[int, int] = {}
        self._restarts = 0

    async def begin(self) -> None:
        """Before the harm: nodes begin to measure anew."""
        if self._asks_nodes:
            self._before = await self._hands.measure(self._asked)
        self._syncs = await self._synced()
        self._cpu_s = self._processors()
        self._peers_before = self._peers()
        self._starts_before = self._starts()
        self._began_s = time.monotonic()

    async def before_end(self) -> None:
        """Before the harm is undone."""
        self._restarts = sum(self._starts().values()) - sum(self._starts_before.values())
        if self._asks_nodes:
            self._during = await self._hands.measure(self._asked)
        before, self._syncs_before = self._refused, self._syncs
        self._syncs = await self._synced()
        self._refused -= before
        self._descriptors = self._open()
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
                return self._torn()
            case schema.DiskFull():
                refused = (
                    f"; {self._refused} refused with ENOSPC" if self._hands.cluster.disk else ""
                )
                states = self._states(NodeState.DOWN, "stopped with nothing half written", lasted_s)
                return states + refused
            case only_live.EmptyDisk():
                return self._states(NodeState.DOWN, "down, data removed", lasted_s)
            case only_live.HalfOpen():
                return f"{self._peers_before} connections before, {self._peers()} after"
            case schema.CorruptPage():
                return self._states(NodeState.DOWN, "down, a page overwritten", lasted_s)
            case schema.SlowCpu():
                shares = [
                    (late - self._cpu_s[pid]) / lasted_s
                    for pid, late in self._processors().items()
                    if pid in self._cpu_s
                ]
                return f"at most {max(shares, default=0):.1%} of a core used, {lasted_s:.1f} s"
            case schema.Churn():
                back = self._restarts
                away = sum(found is NodeState.DOWN for found in self._seen.values())
                return f"{back} came back, {away} away at its end, {lasted_s:.1f} s"
            case _:
                return self._told(lasted_s)

    def _torn(self) -> str:
        disk = self._hands.cluster.disk
        if disk is not None:
            lost = [_lost(disk.lost[index]) for index in self._nodes if index in disk.lost]
            return "; ".join(lost) or "nothing was synced"
        torn = [f"n{at}: {size} B" for at, size in self._hands.torn_bytes.items()]
        return f"torn at the end of the log: {', '.join(torn) or 'nothing'}"

    @property
    def _asks_nodes(self) -> bool:
        kernel = self._hands.cluster.kernel
        in_kernel = kernel is not None and kernel.backend(self._fault.kind) != TRANSPORT
        return not (in_kernel or isinstance(self._fault, PROCESSES))

    async def _synced(self) -> list[float]:
        """What a sync takes on the victims' disks, in milliseconds, where those are ours."""
        disk = self._hands.cluster.disk
        if disk is None or not isinstance(self._fault, schema.SlowDisk | schema.DiskFull):
            return []
        found = [await disk.probe(index) for index in self._asked]
        self._refused = sum(one.refused for one in found)
        return [one.sync_us / 1_000 for one in found if not one.error]

    def _processors(self) -> dict[int, float]:
        """Processor time by process."""
        pids = [self._hands.cluster.nodes[index].pid for index in self._nodes]
        found = {pid: usage(pid) for pid in pids if pid is not None}
        return {pid: one.cpu_s for pid, one in found.items() if one is not None}

    def _starts(self) -> dict[int, int]:
        """Processes that the victims have had."""
        return {index: self._hands.cluster.nodes[index].starts for index in self._nodes}

    def _peers(self) -> int:
        """Connections of the victims, as they told last."""
        nodes = [self._hands.cluster.nodes[index] for index in self._nodes]
        return sum(node.status.peers for node in nodes if node.status is not None)

    def _open(self) -> list[tuple[int, int]]:
        """Descriptors that the victims have, and may have, by the kernel's word."""
        pids = [self._hands.cluster.nodes[index].pid for index in self._nodes]
        found = [None if pid is None else descriptors_of(pid) for pid in pids]
        return [one for one in found if one is not None]

    def _states(self, state: NodeState, word: str, lasted_s: float) -> str:
        count = sum(found is state for found in self._seen.values())
        return f"{count} of {len(self._seen)} {word}, {lasted_s:.2f} s"

    def _told(self, lasted_s: float) -> str:  # noqa: PLR0911 - one a word
        told = [
            _since(self._before[index], late)
            for index, late in self._during.items()
            if index in self._before
        ]
        if not told:
            return "no node answered"
        match self._fault:
            case schema.Partition() | schema.Disconnect():
                crossed, held = sum(one.crossed for one in told), sum(one.held for one in told)
                return f"{crossed} B crossed, {held} sends held, {lasted_s:.1f} s"
            case schema.Delay():
                return f"{_added_ms(told):.1f} ms beyond the distance, {_sends(told)} sends"
            case schema.Loss():
                packets = sum(one.packets for one in told)
                lost = sum(one.retransmissions for one in told)
                breaks = sum(one.breaks for one in told)
                share = lost / max(1, packets + lost)
                return f"{share:.1%} of {packets + lost} packets, {breaks} connections broken"
            case schema.Bandwidth():
                rates = [8 * one.bytes / one.at_s / KBIT for one in told if one.at_s > 0]
                late = _added_ms(told)
                return f"at most {max(rates, default=0):.0f} kbit/s sent, {late:.0f} ms late"
            case schema.SlowDisk():
                was = _commit_ms(list(self._before.values()))
                line = f"a commit takes {_commit_ms(told):.1f} ms, {was:.1f} ms before"
                if self._syncs and self._syncs_before:
                    line += (
                        f"; a sync {max(self._syncs):.1f} ms, {max(self._syncs_before):.1f} before"
                    )
                return line
            case schema.ClockSkew():
                worst = max((one.clock_ms for one in told), key=abs)
                return f"the node's clock is {worst:+.0f} ms off the machine's"
            case only_live.FewFiles():
                refused = sum(one.refused for one in told)
                taken, limit = (sum(column) for column in zip(*self._descriptors, strict=True))
                return (
                    f"{taken} of {limit} descriptors taken, {refused} accepts and dials refused,"
                    f" {lasted_s:.1f} s"
                )
            case only_live.BlackHole():
                return f"{sum(one.swallowed for one in told)} B sent and gone"
            case only_live.SlowReader():
                rates = [one.read_bytes / one.at_s for one in told if one.at_s > 0]
                return f"{max(rates, default=0):.0f} B/s read over all connections"
            case _:
                return f"{lasted_s:.1f} s"


def _lost(cut: PowerCut) -> str:
    return (
        f"n{cut.node}: of {cut.buffered} B not synced {cut.dropped} B dropped and {cut.torn} B torn"
    )


def _since(early: Measured, late: Measured) -> Measured:
    """What was measured between two answers of a process; all of it if it is another one's."""
    if late.at_s < early.at_s or late.sends < early.sends:
        return late
    totals = {
        name: getattr(late, name) - getattr(early, name)
        for name in msgspec.structs.asdict(late)
        if name != "clock_ms"
    }
    return msgspec.structs.replace(late, **totals)


def _added_ms(told: list[Measured]) -> float:
    """Mean lateness beyond the distances."""
    sends, parcels = sum(one.sends for one in told), sum(one.parcels for one in told)
    late_s, asked_s = sum(one.late_s for one in told), sum(one.asked_s for one in told)
    return 1000 * (late_s / max(1, parcels) - asked_s / max(1, sends))


def _sends(told: list[Measured]) -> int:
    return sum(one.parcels for one in told)


def _commit_ms(told: list[Measured]) -> float:
    return 1000 * sum(one.commits_s for one in told) / max(1, sum(one.commits for one in told))

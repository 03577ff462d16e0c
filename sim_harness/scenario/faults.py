"""Faults as words, carried out in a virtual world.

    plan --at--> begin --for--> end          every: begin again        heal: end all that is left

A word is a small function that does the harm and returns what undoes it. Harms may overlap: a node
that two faults keep down starts when both are over. Everything that was done is recorded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import msgspec

from p2p.primitives.units import BASIS_POINTS
from sim_harness.scenario import schema
from sim_harness.scenario.churn import Churning
from sim_harness.scenario.quantities import drift_text, share_text, span_text
from sim_harness.scenario.schema import Fault
from sim_harness.scenario.selectors import Population, select, select_groups
from sim_harness.virtual.cuts import Cut
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.machine import SharingNode
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import millis
from sim_harness.virtual.weather import Rule
from sim_harness.virtual.world import World

Undo = Callable[[], None]
NAMED_MAX: Final = 12
"""Nodes and rows of nodes that are named one by one; records have all of them as numbers."""
NAMED_FIRST: Final = 4
BITS: int = 8
START_WITHIN = millis(100)
"""A supervisor is quick to start a process again."""


class FaultRecord(msgspec.Struct):
    """What a fault did. Moments are milliseconds since the start; `until_ms` None: not over yet.

    `nodes` are those hurt; of a partition, all but its largest group.
    """

    kind: str
    at_ms: int
    nodes: list[int]
    what: str
    line: int = 0
    until_ms: int | None = None
    measured: str = ""
    """What real processes saw of it; nothing in the virtual world, where it is as asked."""


def targets_of(
    fault: Fault, population: Population, draws: Random
) -> tuple[list[int], list[list[int]]]:
    """Those hurt, and the groups that the fault is about: all of them, or a partition's sides."""
    if isinstance(fault, schema.Partition):
        groups = select_groups(fault.groups, population, draws)
        largest = max(groups, key=len)
        return sorted(one for group in groups if group is not largest for one in group), groups
    chosen = select(fault.nodes, population, draws)
    return chosen, [chosen]


class FaultRunner:
    """Carries out the faults of a scenario, and ends them."""

    def __init__(self, world: World, population: Population, directory: str = ".") -> None:
        self.records: list[FaultRecord] = []
        self.world = world
        self.directory = directory
        self._population = population
        self._draws = world.stream("faults")
        self._start_ms = world.now_ms
        self._down: Counter[int] = Counter()
        """How many faults keep a node down."""
        self._frozen: Counter[int] = Counter()
        self._frozen_cuts: dict[int, Cut] = {}
        self._full: Counter[int] = Counter()
        self._active: dict[int, Undo] = {}
        self._numbers = 0
        self._end_ms = 0
        self._is_over = False

    @property
    def now_ms(self) -> int:
        """Milliseconds since the start."""
        return self.world.now_ms - self._start_ms

    # ---- life --------------------------------------------------------------------------------

    def plan(self, faults: Sequence[Fault], end_ms: int) -> None:
        """Let faults happen at their moments, counted from now.

        What comes again does so while it can be over by `end_ms`.
        """
        self._end_ms = end_ms
        for fault in faults:
            self._plan(fault, fault.at)

    def heal(self) -> bool:
        """End everything, now; whether anything was left to end."""
        self._is_over = True
        was_hurt = bool(self._active)
        for number in list(self._active):
            self._end(number)
        return was_hurt

    def _plan(self, fault: Fault, delay_ms: int) -> None:
        def begin() -> bytes:
            if self._is_over:
                return b"%b called off" % fault.kind.encode()
            if fault.every is not None:
                over_ms = self.now_ms + fault.every + (fault.lasts or 0)
                if over_ms <= self._end_ms:
                    self._plan(fault, fault.every)
            record = self._begin(fault)
            return b"%b %b" % (record.kind.encode(), record.what.encode())

        self.world.heap.after(delay_ms * MICROS_PER_MS, "fault", begin)

    def _begin(self, fault: Fault) -> FaultRecord:
        chosen, groups = targets_of(fault, self._population, self._draws)
        record = FaultRecord(fault.kind, self.now_ms, chosen, "", fault.line)
        self.records.append(record)
        number, self._numbers = self._numbers, self._numbers + 1
        undo, record.what = self._harm(fault, groups, record)

        def over() -> None:
            record.until_ms = self.now_ms
            undo()

        self._active[number] = over
        if fault.lasts is not None:
            self.world.heap.after(
                fault.lasts * MICROS_PER_MS, "fault over", lambda: self._ended(number)
            )
        return record

    def _ended(self, number: int) -> bytes:
        if number in self._active:
            self._end(number)
        return b"%d" % number

    def _end(self, number: int) -> None:
        self._active.pop(number)()

    # ---- words -------------------------------------------------------------------------------

    def _harm(self, fault: Fault, groups: list[list[int]], record: FaultRecord) -> tuple[Undo, str]:  # noqa: PLR0911 - one a word
        chosen = groups[0]
        nodes = [self.world.nodes[index] for index in chosen]
        who = names(chosen)
        match fault:
            case schema.Kill() | schema.Restart():
                return self._kill(nodes), f"{who} killed"
            case schema.TornWrite():
                return self._tear(nodes, record), f"power fails in the next write of {who}"
            case schema.Pause():
                return self._pause(nodes), f"{who} frozen"
            case schema.Disconnect():
                cuts = [Cut([[index]], elsewhere=1) for index in chosen]
                return self._cut(cuts), f"{who} cut off"
            case schema.Partition(direction=direction):
                arrow = {"both": " | ", "out": " -x> ", "in": " <x- "}[direction.value]
                what = arrow.join(names(group) for group in groups)
                return self._cut([Cut(groups, direction)]), what
            case schema.Delay(add=add, jitter=jitter, direction=direction):
                late = Rule(
                    chosen,
                    direction,
                    delay_us=add * MICROS_PER_MS,
                    jitter_us=jitter * MICROS_PER_MS,
                )
                drawn = f" to {span_text(add + jitter)}" if jitter else ""
                return self._weather(late), f"{span_text(add)}{drawn} added for {who}"
            case schema.Loss(share=share, direction=direction):
                lossy = Rule(chosen, direction, loss=share / BASIS_POINTS)
                return self._weather(lossy), f"{share_text(share)} of packets lost for {who}"
            case schema.Bandwidth(rate=rate):
                narrow = Rule(chosen, bytes_per_second=rate // BITS)
                return self._weather(narrow), f"uplinks of {who} at {rate // 1_000} kbit/s"
            case schema.SlowDisk(add=add):
                return self._slow(nodes, add * MICROS_PER_MS), f"{span_text(add)} a write, {who}"
            case schema.DiskFull():
                return self._fill(nodes, record), f"no space on the disks of {who}"
            case schema.CorruptPage(table=table):
                damaged = self._corrupt(nodes, table)
                return self._up_again(nodes), f"a page is damaged: {damaged}"
            case schema.SlowCpu(speed=speed):
                return self._slow_cpu(nodes, speed), f"{who} at {share_text(speed)} of a core"
            case schema.ClockSkew(offset=offset, drift=drift):
                what = f"clocks of {who} off by {span_text(offset)}"
                run = f", running at {drift_text(drift)}" if drift else ""
                return self._skew(nodes, offset * MICROS_PER_MS, drift), what + run
            case schema.Churn():
                churning = Churning(self, nodes, fault)
                return churning.stop, f"{who} leave and come back, {fault.sessions}"
            case _:
                raise TypeError(f"no word for {fault.kind}")

    # ---- processes ---------------------------------------------------------------------------

    def take_down(self, node: VirtualNode) -> None:
        """Kill a node, and keep it down until `let_up` as often."""
        self._down[node.index] += 1
        self.world.crash(node)
        self._thaw(node)

    def let_up(self, node: VirtualNode) -> None:
        """One reason less for a node to be down."""
        self._down[node.index] -= 1
        self.start_if_free(node)

    def start_if_free(self, node: VirtualNode) -> None:
        """Start a node that is down, unless a fault keeps it so."""
        if not self._down[node.index] and not self._full[node.index] and not node.is_up:
            self.world.start(node, within=START_WITHIN)

    def _kill(self, nodes: list[VirtualNode]) -> Undo:
        for node in nodes:
            self.take_down(node)
        return self._up_again(nodes)

    def _up_again(self, nodes: list[VirtualNode]) -> Undo:
        def undo() -> None:
            for node in nodes:
                self.let_up(node)

        return undo

    def _tear(self, nodes: list[VirtualNode], record: FaultRecord) -> Undo:
        crashes = {node.index: node.crashes for node in nodes}
        for node in nodes:

            def dies(number: int, durable: bool, node: VirtualNode = node) -> bool:
                if durable:
                    return False
                node.disk.crash_point = None
                return True

            node.disk.crash_point = dies

        def undo() -> None:
            spared = [node.index for node in nodes if node.crashes == crashes[node.index]]
            record.what += f"; {names(spared)} wrote nothing" if spared else ""
            for node in nodes:
                node.disk.crash_point = None
                self.start_if_free(node)

        return undo

    def _pause(self, nodes: list[VirtualNode]) -> Undo:
        for node in nodes:
            self._frozen[node.index] += 1
            if node.index not in self._frozen_cuts:
                (self._frozen_cuts[node.index],) = self.world.pause(node)

        def undo() -> None:
            for node in nodes:
                self._frozen[node.index] -= 1
                if not self._frozen[node.index]:
                    self._thaw(node)

        return undo

    def _thaw(self, node: VirtualNode) -> None:
        cut = self._frozen_cuts.pop(node.index, None)
        if cut is not None:
            self.world.resume([node], [cut])

    # ---- links -------------------------------------------------------------------------------

    def _cut(self, cuts: list[Cut]) -> Undo:
        for cut in cuts:
            self.world.links.cut(cut)

        def undo() -> None:
            for cut in cuts:
                self.world.links.heal(cut)

        return undo

    def _weather(self, rule: Rule) -> Undo:
        self.world.links.weather.add(rule)
        return lambda: self.world.links.weather.remove(rule)

    # ---- disks and clocks ----------------------------------------------------------------------

    def _slow(self, nodes: list[VirtualNode], slow_us: int) -> Undo:
        for node in nodes:
            node.disk.slow_us += slow_us

        def undo() -> None:
            for node in nodes:
                node.disk.slow_us -= slow_us

        return undo

    def _corrupt(self, nodes: list[VirtualNode], table: str) -> str:
        """Damage a page of each while nothing runs there; whoever starts has to notice."""
        found = []
        for node in nodes:
            self.take_down(node)
            found.append(f"{node.disk.corrupt_page(table)} of n{node.index}")
        return ", ".join(found) or "nobody's"

    def _slow_cpu(self, nodes: list[VirtualNode], speed: int) -> Undo:
        cores = [node.machine for node in nodes if isinstance(node, SharingNode)]
        for core in cores:
            core.slow_down(speed / BASIS_POINTS)

        def undo() -> None:
            for core in cores:
                core.speed_up(speed / BASIS_POINTS)

        return undo

    def _fill(self, nodes: list[VirtualNode], record: FaultRecord) -> Undo:
        stops = {node.index: len(node.stops) for node in nodes}
        for node in nodes:
            self._full[node.index] += 1
            node.disk.is_full = True

        def undo() -> None:
            stopped = [node.index for node in nodes if len(node.stops) > stops[node.index]]
            record.what += f"; {names(stopped)} stopped"
            for node in nodes:
                self._full[node.index] -= 1
                node.disk.is_full = bool(self._full[node.index])
                self.start_if_free(node)

        return undo

    def _skew(self, nodes: list[VirtualNode], offset_us: int, drift_ppm: int) -> Undo:
        for node in nodes:
            node.clock.skew(offset_us=offset_us, drift_ppm=drift_ppm)
            node.wake_timers()

        def undo() -> None:
            for node in nodes:
                node.clock.correct()
                node.wake_timers()

        return undo


def names(indices: Sequence[int]) -> str:
    """Nodes for people: `n0-n3, n7`, or how many and the first of them."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    texts = [f"n{run[0]}" if len(run) == 1 else f"n{run[0]}-n{run[-1]}" for run in runs]
    if len(texts) > NAMED_MAX:
        return f"{len(indices)} nodes ({', '.join(texts[:NAMED_FIRST])}, ...)"
    return ", ".join(texts) or "nobody"

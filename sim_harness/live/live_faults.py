"""Faults as words, carried out on real processes.

    run --at--> begin --for--> end          every: begin again        heal: end all that is left

The words, their victims (drawn from the same stream of the same seed) and their records are those
of the virtual world. What was asked stands in a record's `what`; what nodes measured of it while it
lasted, in `measured`.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio

from p2p.node.home import Home
from p2p.primitives.units import BASIS_POINTS
from sim_harness.live import only_live
from sim_harness.live.few_files import STRANGERS, FewFilesHarm
from sim_harness.live.hands import Hands
from sim_harness.live.injected import damage_page
from sim_harness.live.kernel.faults import Hindrance, KernelFaults
from sim_harness.live.kernel.offer import TRANSPORT
from sim_harness.live.live_churn import LiveChurn
from sim_harness.live.measuring import Probe
from sim_harness.live.messages import ClockSet, CutSpec, RuleSpec
from sim_harness.live.slow_processors import SlowProcessors
from sim_harness.scenario import schema
from sim_harness.scenario.faults import BITS, FaultRecord, names, targets_of
from sim_harness.scenario.quantities import drift_text, share_text, span_text
from sim_harness.scenario.schema import Fault
from sim_harness.scenario.selectors import Population
from sim_harness.virtual.heap import MICROS_PER_MS
from sim_harness.virtual.world import World

Undo = Callable[[], Awaitable[None]]
Note = Callable[[int, FaultRecord], None]
"""Hears of a fault's record, by number, whenever it changes."""


class LiveFaults:
    """Carries out the faults of a scenario, and ends them."""

    def __init__(
        self,
        hands: Hands,
        population: Population,
        world: World,
        *,
        directory: str = ".",
        note: Note = lambda number, record: None,
    ) -> None:
        self.hands = hands
        self.world = world
        self.directory = directory
        self._population = population
        self._draws = world.stream("faults")
        self._note = note
        self._start_s = trio.current_time()
        self._active: dict[int, Undo] = {}
        self._numbers = 0
        self.records: dict[int, FaultRecord] = {}
        """By number, what faults did."""
        self.touched: set[int] = set()
        """Nodes that any fault had."""
        self.last_end_ms: int | None = None
        """When the last fault ended."""

    @property
    def now_ms(self) -> int:
        """Milliseconds since the start."""
        return int((trio.current_time() - self._start_s) * 1000)

    # ---- life --------------------------------------------------------------------------------

    async def run(self, faults: Sequence[Fault], end_ms: int) -> None:
        """Let faults happen at their moments, counted from now, until `end_ms`."""
        self._start_s = trio.current_time()
        with trio.move_on_after(end_ms / 1000):
            async with trio.open_nursery() as nursery:
                for fault in faults:
                    nursery.start_soon(self._repeat, fault, end_ms, nursery)

    async def _repeat(self, fault: Fault, end_ms: int, nursery: trio.Nursery) -> None:
        at_ms = int(fault.at)
        while True:
            await trio.sleep_until(self._start_s + at_ms / 1000)
            nursery.start_soon(self._once, fault)
            if fault.every is None:
                return
            at_ms += fault.every
            # Repeated as long as it can be over in time.
            if at_ms + (fault.lasts or 0) > end_ms:
                return

    async def _once(self, fault: Fault) -> None:
        number = await self.begin(fault)
        if fault.lasts is not None:
            await trio.sleep(fault.lasts / 1000)
            await self.end(number)

    async def begin(self, fault: Fault) -> int:
        """Do the harm, now; the number that `end` takes."""
        chosen, groups = targets_of(fault, self._population, self._draws)
        record = FaultRecord(fault.kind, self.now_ms, chosen, "", fault.line)
        self.touched.update(chosen)
        number, self._numbers = self._numbers, self._numbers + 1
        self.records[number] = record
        probe = Probe(self.hands, fault, chosen)
        with trio.CancelScope(shield=True):
            await probe.begin()
            undo, record.what = await self._harm(fault, groups, record)

            async def over() -> None:
                # What was measured belongs to the time before it is undone, but for processes.
                await probe.before_end()
                await undo()
                record.until_ms = self.last_end_ms = self.now_ms
                told = await probe.end()
                record.measured = record.measured or told
                self._note(number, record)

            self._active[number] = over
        self._note(number, record)
        return number

    async def end(self, number: int) -> None:
        """Undo the harm; nothing if that was done."""
        over = self._active.pop(number, None)
        if over is not None:
            with trio.CancelScope(shield=True):
                await over()

    async def heal(self) -> bool:
        """End everything, now; whether anything was left to end."""
        was_hurt = bool(self._active)
        async with trio.open_nursery() as nursery:
            for number in list(self._active):
                nursery.start_soon(self.end, number)
        return was_hurt

    # ---- words -------------------------------------------------------------------------------

    async def _harm(  # noqa: PLR0911 - one a word
        self, fault: Fault, groups: list[list[int]], record: FaultRecord
    ) -> tuple[Undo, str]:
        chosen = groups[0]
        who = names(chosen)
        match fault:
            case schema.Kill() | schema.Restart():
                return await self._kill(chosen), f"{who} killed"
            case schema.TornWrite():
                return await self._tear(chosen, record), f"power fails in the next write of {who}"
            case schema.Pause():
                return await self._pause(chosen), f"{who} frozen"
            case schema.Disconnect():
                alone = [CutSpec(((index,),), elsewhere=1) for index in chosen]
                return await self._cut(alone, record, f"{who} cut off")
            case schema.Partition(direction=direction):
                arrow = {"both": " | ", "out": " -x> ", "in": " <x- "}[direction.value]
                sides = tuple(tuple(group) for group in groups)
                cut = CutSpec(sides, direction.value)
                what = arrow.join(names(group) for group in groups)
                return await self._cut([cut], record, what)
            case schema.Delay(add=add, jitter=jitter, direction=direction):
                late = RuleSpec(
                    tuple(chosen),
                    direction.value,
                    delay_us=add * MICROS_PER_MS,
                    jitter_us=jitter * MICROS_PER_MS,
                )
                drawn = f" to {span_text(add + jitter)}" if jitter else ""
                return await self._weather(late, record, f"{span_text(add)}{drawn} added for {who}")
            case schema.Loss(share=share, direction=direction):
                lossy = RuleSpec(tuple(chosen), direction.value, loss=share / BASIS_POINTS)
                what = f"{share_text(share)} of packets lost for {who}"
                return await self._weather(lossy, record, what)
            case schema.Bandwidth(rate=rate):
                narrow = RuleSpec(tuple(chosen), bytes_per_second=max(1, rate // BITS))
                what = f"uplinks of {who} at {rate // 1_000} kbit/s"
                return await self._weather(narrow, record, what)
            case schema.SlowDisk(add=add):
                slow_us = add * MICROS_PER_MS
                return await self._slow(chosen, slow_us), f"{span_text(add)} a write, {who}"
            case schema.DiskFull():
                return await self._fill(chosen, record), f"no space on the disks of {who}"
            case schema.ClockSkew(offset=offset, drift=drift):
                what = f"clocks of {who} off by {span_text(offset)}"
                run = f", running at {drift_text(drift)}" if drift else ""
                skew = ClockSet(offset * MICROS_PER_MS, drift)
                return await self._skew(chosen, skew), what + run
            case schema.CorruptPage(table=table):
                undo, found = await self._corrupt(chosen, table)
                return undo, f"{who} killed; damaged: {found}"
            case schema.SlowCpu(speed=speed):
                slow = SlowProcessors(self.hands, chosen, speed / BASIS_POINTS)
                slow.begin()
                return slow.stop, f"{who} at {share_text(speed)} of a core, by {slow.by}"
            case schema.Churn():
                churn = LiveChurn(self, chosen, fault)
                await churn.begin()
                return churn.stop, f"{who} leave and come back, {fault.sessions}"
            case _:
                return await self._only_live(fault, chosen, record)

    async def _only_live(
        self, fault: Fault, chosen: list[int], record: FaultRecord
    ) -> tuple[Undo, str]:
        """Words that only sockets and processes know."""
        who = names(chosen)
        match fault:
            case only_live.BlackHole():
                hole = RuleSpec(tuple(chosen), swallows=True)
                what = f"nothing arrives from or at {who}"
                return await self._weather(hole, record, what)
            case only_live.HalfOpen():
                await self.hands.forget_connections(chosen)
                return nothing, f"{who} lost their ends of all connections"
            case only_live.SlowReader(rate=rate):
                slow = RuleSpec(tuple(chosen), reads_per_second=rate)
                what = f"{who} read {rate} B/s of a connection"
                return await self._weather(slow, record, what)
            case only_live.FewFiles():
                harm = FewFilesHarm(self.hands, chosen)
                await harm.begin()
                return harm.stop, f"no descriptor for {who}, {STRANGERS} strangers at the door"
            case only_live.EmptyDisk():
                await self.hands.each(chosen, self.hands.take_down)
                await self.hands.each(chosen, self.hands.wipe)
                return (
                    lambda: self.hands.each(chosen, self.hands.let_up)
                ), f"{who} killed, and their disks are empty"
            case _:
                raise TypeError(f"no word for {fault.kind}")

    async def _kill(self, nodes: list[int]) -> Undo:
        await self.hands.each(nodes, self.hands.take_down)
        return lambda: self.hands.each(nodes, self.hands.let_up)

    async def _pause(self, nodes: list[int]) -> Undo:
        await self.hands.each(nodes, self.hands.pause)
        return lambda: self.hands.each(nodes, self.hands.resume)

    async def _cut(self, cuts: list[CutSpec], record: FaultRecord, what: str) -> tuple[Undo, str]:
        kernel = self.hands.cluster.kernel
        if kernel is not None and (by := kernel.backend(record.kind)) != TRANSPORT:
            return await self._in_kernel(kernel, tuple(cuts), record), f"{what} ({by})"
        for cut in cuts:
            await self.hands.cut(cut)

        async def undo() -> None:
            for cut in cuts:
                await self.hands.heal(cut)

        return undo, what

    async def _weather(self, rule: RuleSpec, record: FaultRecord, what: str) -> tuple[Undo, str]:
        kernel = self.hands.cluster.kernel
        if kernel is not None:
            by = kernel.backend(record.kind)
            what += f" ({by})"
            if by != TRANSPORT:
                return await self._in_kernel(kernel, rule, record), what
        await self.hands.add_rule(rule)
        return (lambda: self.hands.remove_rule(rule)), what

    async def _in_kernel(
        self, kernel: KernelFaults, hindrance: Hindrance, record: FaultRecord
    ) -> Undo:
        """Let the kernel do it; it is measured there, too."""
        number = await kernel.begin(record.kind, hindrance)

        async def undo() -> None:
            record.measured = await kernel.end(number)

        return undo

    async def _slow(self, nodes: list[int], add_us: int) -> Undo:
        await self.hands.slow_disk(nodes, add_us)
        return lambda: self.hands.slow_disk(nodes, -add_us)

    async def _skew(self, nodes: list[int], skew: ClockSet) -> Undo:
        await self.hands.set_clock(nodes, skew)
        return lambda: self.hands.set_clock(nodes, ClockSet())

    async def _tear(self, nodes: list[int], record: FaultRecord) -> Undo:
        crashes = self._crashes(nodes)
        await self.hands.each(nodes, self.hands.tear)

        async def undo() -> None:
            await self.hands.each(nodes, self.hands.tear_no_more)
            spared = [index for index in nodes if self._crashes([index])[index] == crashes[index]]
            record.what += f"; {names(spared)} wrote nothing" if spared else ""
            await self.hands.each(nodes, self.hands.start_if_free)

        return undo

    async def _fill(self, nodes: list[int], record: FaultRecord) -> Undo:
        crashes = self._crashes(nodes)
        await self.hands.each(nodes, self.hands.fill_disk)

        async def undo() -> None:
            stopped = [index for index in nodes if self._crashes([index])[index] > crashes[index]]
            record.what += f"; {names(stopped)} stopped"
            await self.hands.each(nodes, self.hands.empty_disk)
            await self.hands.each(nodes, self.hands.start_if_free)

        return undo

    async def _corrupt(self, nodes: list[int], table: str) -> tuple[Undo, str]:
        undo, draws = await self._kill(nodes), self.world.stream("disk")
        databases = [Home(self.hands.cluster.nodes[index].home).database_path for index in nodes]
        damaged = [damage_page(database, table, draws) for database in databases]
        told = [f"{what} of n{index}" for what, index in zip(damaged, nodes, strict=True)]
        return undo, ", ".join(told)

    def _crashes(self, nodes: list[int]) -> dict[int, int]:
        return {index: self.world.nodes[index].crashes for index in nodes}


async def nothing() -> None:
    """There is nothing to undo."""

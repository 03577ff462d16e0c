"""Rough wires do to real bytes what the virtual world's links do to modelled ones.

On a clock of their own, over streams in memory.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from p2p.primitives.units import KIB, PeerId
from sim_harness.live.delayed_wires import BREAKS_S, DelayedStream
from sim_harness.live.messages import CutSpec, LinksHurt, RuleSpec
from sim_harness.live.rough_wires import (
    NUMBER_BYTES,
    Links,
    NodeWay,
    RoughListener,
    RoughWires,
)

ME, OTHER = 3, 5
DELAY_US = 20_000


def links_of(me: int, *, bytes_per_second: int = 10**9) -> Links:
    return Links(
        me,
        lambda source, target: DELAY_US,
        jitter_us=0,
        bytes_per_second=bytes_per_second,
        draws=Random(7),
    )


class Line:
    """Our rough end, the other bare one, and the time that passed."""

    def __init__(self, links: Links, near: DelayedStream, far: trio.abc.Stream) -> None:
        self.links, self.near, self.far = links, near, far
        self._start_s = trio.current_time()

    @property
    def ms(self) -> float:
        return round((trio.current_time() - self._start_s) * 1000, 3)

    def hurt(self, *cuts: CutSpec, rule: RuleSpec | None = None) -> None:
        self.links.hurt(LinksHurt(cuts, () if rule is None else (rule,)))


def on_a_line(body: Callable[[Line], Awaitable[None]], *, bytes_per_second: int = 10**9) -> None:
    async def run() -> None:
        bare, far = memory_stream_pair()
        links = links_of(ME, bytes_per_second=bytes_per_second)
        async with trio.open_nursery() as nursery:
            near = DelayedStream(bare, NodeWay(links, OTHER))
            nursery.start_soon(near.pump)
            await body(Line(links, near, far))
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


def test_a_partition_holds_what_is_sent_and_lets_it_go_when_it_heals() -> None:
    async def body(line: Line) -> None:
        line.hurt(CutSpec(((ME,),), elsewhere=1))
        await line.near.send_all(b"held")
        with trio.move_on_after(3) as nothing:
            await line.far.receive_some()
        assert nothing.cancelled_caught
        line.hurt()
        assert await line.far.receive_some() == b"held"
        assert line.ms == 3000
        assert (line.links.tally.crossed, line.links.tally.held) == (0, 1)

    on_a_line(body)


def test_the_open_direction_of_a_one_way_partition_carries_one_window() -> None:
    async def body(line: Line) -> None:
        line.hurt(CutSpec(((OTHER,), (ME,)), direction="out"))
        await line.near.send_all(bytes(200 * KIB))
        got = 0
        with trio.move_on_after(5):
            while True:
                got += len(await line.far.receive_some())
        assert got == 64 * KIB
        line.hurt()
        while got < 200 * KIB:
            got += len(await line.far.receive_some())

    on_a_line(body)


def test_a_delay_lies_on_top_of_the_distance() -> None:
    async def body(line: Line) -> None:
        line.hurt(rule=RuleSpec((OTHER,), direction="in", delay_us=100_000))
        await line.near.send_all(b"late")
        assert (await line.far.receive_some(), line.ms) == (b"late", 120)

    on_a_line(body)


def test_a_narrow_uplink_lets_bytes_leave_one_after_the_other() -> None:
    async def body(line: Line) -> None:
        line.hurt(rule=RuleSpec((ME,), bytes_per_second=10_000))
        await line.near.send_all(bytes(5_000))
        await line.near.send_all(bytes(5_000))
        assert len(await line.far.receive_some()) == 5_000
        assert line.ms == 520
        assert len(await line.far.receive_some()) == 5_000
        assert line.ms == 1020

    on_a_line(body)


def test_losses_make_bytes_late_and_a_lasting_one_breaks_the_connection() -> None:
    async def body(line: Line) -> None:
        line.hurt(rule=RuleSpec((ME,), loss=0.3))
        for _ in range(50):
            await line.near.send_all(b"x")
        got = 0
        while got < 50:
            got += len(await line.far.receive_some())
        assert line.ms > 200  # somebody waited for a retransmission
        assert 10 < line.links.weather.retransmissions < 50
        line.hurt(rule=RuleSpec((ME,), loss=0.999))
        await line.near.send_all(b"never")
        began_s = trio.current_time()
        assert await line.far.receive_some() == b""
        assert trio.current_time() - began_s == pytest.approx(BREAKS_S)

    on_a_line(body)


def test_a_black_hole_takes_everything_and_says_nothing() -> None:
    async def body(line: Line) -> None:
        line.hurt(rule=RuleSpec((ME,), swallows=True))
        await line.near.send_all(b"gone")
        line.hurt()
        await line.near.send_all(b"here")
        assert await line.far.receive_some() == b"here"
        assert line.links.tally.swallowed == 4

    on_a_line(body)


def test_a_slow_reader_takes_no_more_than_its_rate() -> None:
    async def body(line: Line) -> None:
        line.hurt(rule=RuleSpec((ME,), reads_per_second=1_024))
        got = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.far.send_all, bytes(4 * KIB))
            while got < 4 * KIB:
                got += len(await line.near.receive_some(64 * KIB))
        assert line.ms == 4000

    on_a_line(body)


def test_a_forgotten_connection_breaks_here_and_stays_open_there() -> None:
    async def body(line: Line) -> None:
        line.near.forget()
        try:
            await line.near.send_all(b"x")
        except trio.BrokenResourceError:
            pass
        else:
            raise AssertionError("it is broken here")
        with trio.move_on_after(60) as waits:
            await line.far.receive_some()
        assert waits.cancelled_caught  # no end was told

    on_a_line(body)


class OnePlace:
    """Wires in memory with one listener."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[trio.abc.Stream](8)

    async def dial(self, peer: PeerId, host: str, port: int) -> trio.abc.Stream:
        near, far = memory_stream_pair()
        await self.send.send(far)
        return near

    async def listen(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        raise OSError("made by hand")


class Listener(trio.abc.Listener[trio.abc.Stream]):
    def __init__(self, place: OnePlace) -> None:
        self._place = place

    async def accept(self) -> trio.abc.Stream:
        return await self._place.receive.receive()

    async def aclose(self) -> None:
        self._place.receive.close()


def test_both_ends_know_between_whom_a_connection_lies() -> None:
    async def run() -> None:
        place = OnePlace()
        async with trio.open_nursery() as nursery:
            ours, theirs = links_of(ME), links_of(OTHER)
            near = RoughWires(nursery, ours, {PeerId(b"other"): OTHER}, inner=place)
            far = RoughListener(Listener(place), RoughWires(nursery, theirs, {}, inner=place))
            there = await near.dial(PeerId(b"other"), "", 0)
            assert trio.current_time() == began_s + 0.04  # a round trip
            here = await far.accept()
            # What the listening end sends is hurt by what lies between these two.
            theirs.hurt(LinksHurt((CutSpec(((ME,), (OTHER,))),)))
            await here.send_all(b"back")
            with trio.move_on_after(1) as cut:
                await there.receive_some()
            assert cut.cancelled_caught
            theirs.hurt(LinksHurt())
            assert await there.receive_some() == b"back"
            nursery.cancel_scope.cancel()

    began_s = 0.0

    async def begin() -> None:
        nonlocal began_s
        began_s = trio.current_time()
        await run()

    trio.run(begin, clock=MockClock(autojump_threshold=0))


def test_a_dial_waits_for_a_partition_to_heal() -> None:
    async def run() -> None:
        place, links = OnePlace(), links_of(ME)
        links.hurt(LinksHurt((CutSpec(((ME,),), elsewhere=1),)))
        async with trio.open_nursery() as nursery:
            wires = RoughWires(nursery, links, {PeerId(b"other"): OTHER}, inner=place)
            with trio.move_on_after(60) as waits:
                await wires.dial(PeerId(b"other"), "", 0)
            assert waits.cancelled_caught
            links.hurt(LinksHurt())
            await wires.dial(PeerId(b"other"), "", 0)
            stream = await place.receive.receive()
            assert await stream.receive_some(NUMBER_BYTES) == ME.to_bytes(NUMBER_BYTES)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))

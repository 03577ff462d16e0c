"""A node's clock may be wrong, never backwards."""

import pytest

from p2p.primitives.units import Millis
from sim_harness.virtual.clocks import SkewedClock
from sim_harness.virtual.heap import EventHeap

START = 1_000_000


def at(heap: EventHeap, after_ms: int) -> None:
    heap.now_us = (START + after_ms) * 1_000


def test_without_skew_it_is_the_clock_of_the_world() -> None:
    heap = EventHeap(START)
    clock = SkewedClock(heap)
    at(heap, 123)
    assert (clock.now_ms(), clock.error_ms) == (START + 123, 0)
    assert clock.wait_us(Millis(START + 200)) == 77_000


@pytest.mark.parametrize(("ppm", "error"), [(1_000, 10), (-1_000, -10)])
def test_drift_grows_with_time(ppm: int, error: int) -> None:
    heap = EventHeap(START)
    clock = SkewedClock(heap)
    clock.skew(offset_us=0, drift_ppm=ppm)
    at(heap, 10_000)
    assert clock.error_ms == pytest.approx(error, abs=1)


def test_an_offset_ahead_is_a_jump_and_one_behind_slows_the_clock_down() -> None:
    heap = EventHeap(START)
    clock = SkewedClock(heap)
    clock.skew(offset_us=4_000_000, drift_ppm=0)
    assert clock.error_ms == 4_000
    clock.correct()
    seen = []
    for after_ms in range(0, 10_000, 500):
        at(heap, after_ms)
        seen.append(clock.now_ms())
    assert seen == sorted(seen)
    assert clock.error_ms == pytest.approx(0, abs=110)
    assert seen[1] - seen[0] == pytest.approx(250, abs=1)


def test_a_new_process_begins_at_the_wall_clock() -> None:
    heap = EventHeap(START)
    clock = SkewedClock(heap)
    clock.skew(offset_us=-3_000_000, drift_ppm=0)
    assert clock.error_ms == pytest.approx(0, abs=1)  # a running process never goes back
    clock.restart()
    assert clock.error_ms == -3_000


def test_a_timer_that_came_early_looks_again() -> None:
    heap = EventHeap(START)
    clock = SkewedClock(heap)
    clock.skew(offset_us=0, drift_ppm=-100_000)
    at(heap, 1_000)
    due = Millis(START + 1_000)
    assert clock.now_ms() < due
    assert clock.wait_us(due) == pytest.approx(100_000, abs=1_000)
    assert clock.wait_us(clock.now_ms()) == 0

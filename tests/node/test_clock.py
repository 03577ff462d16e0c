"""The clock: follows the wall, never backwards."""

from hypothesis import given
from hypothesis import strategies as st

from p2p.node.clock import TOLERANCE_MS, SteadyClock

WALL_S = 1_700_000_000.0


class Clocks:
    """A wall clock that people may set, and a monotonic one that they may not."""

    def __init__(self) -> None:
        self.wall_s = WALL_S
        self.monotonic_s = 50.0
        self.clock = SteadyClock(lambda: self.wall_s, lambda: self.monotonic_s)

    def run(self, seconds: float) -> int:
        """Let both go on; what the clock then shows, since the start."""
        self.wall_s += seconds
        self.monotonic_s += seconds
        return self.clock.now_ms() - int(WALL_S * 1000)


def test_it_begins_at_the_wall_and_keeps_time() -> None:
    clocks = Clocks()
    assert clocks.run(0) == 0
    assert clocks.run(1.5) == 1_500
    assert clocks.run(3_600) == 3_601_500


def test_when_the_wall_is_set_forward_it_jumps_there() -> None:
    clocks = Clocks()
    clocks.wall_s += 60
    assert clocks.run(1) == 61_000


def test_when_the_wall_is_set_back_it_runs_at_half_speed_until_they_meet() -> None:
    clocks = Clocks()
    clocks.run(10)
    clocks.wall_s -= 4
    shown = [clocks.run(1) for _ in range(12)]
    assert shown[:6] == [10_500, 11_000, 11_500, 12_000, 12_500, 13_000]
    truth_ms = int((clocks.wall_s - WALL_S) * 1000)
    assert 0 <= shown[-1] - truth_ms <= TOLERANCE_MS


def test_small_differences_are_left_alone() -> None:
    clocks = Clocks()
    clocks.wall_s += TOLERANCE_MS / 2_000
    assert clocks.run(1) == 1_000
    clocks.wall_s -= TOLERANCE_MS / 1_000
    assert clocks.run(1) == 2_000


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-200, 200)), max_size=30))
def test_it_never_runs_backwards_whatever_people_do_to_the_wall(
    happenings: list[tuple[float, float]],
) -> None:
    clocks = Clocks()
    last = clocks.run(0)
    for seconds, correction in happenings:
        clocks.wall_s += correction
        now = clocks.run(seconds)
        assert now >= last
        last = now


def test_a_monotonic_clock_that_fails_does_not_turn_it_back() -> None:
    clocks = Clocks()
    clocks.run(5)
    clocks.monotonic_s -= 3
    assert clocks.clock.now_ms() - int(WALL_S * 1000) >= 5_000

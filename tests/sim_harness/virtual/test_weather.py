"""Weather delays, loses and narrows, for those whom a rule concerns."""

from random import Random

import pytest

from sim_harness.virtual.cuts import Direction
from sim_harness.virtual.weather import PACKET_BYTES, RETRANSMISSION_US, Rule, Weather


def weather(*rules: Rule) -> Weather:
    made = Weather(Random(5))
    for rule in rules:
        made.add(rule)
    return made


@pytest.mark.parametrize(
    ("direction", "late"),
    [
        (Direction.BOTH, [(0, 1), (1, 0)]),
        (Direction.OUT, [(0, 1)]),
        (Direction.IN, [(1, 0)]),
    ],
)
def test_a_rule_concerns_directions(direction: Direction, late: list[tuple[int, int]]) -> None:
    made = weather(Rule([0], direction, delay_us=70))
    pairs = [(0, 1), (1, 0), (1, 2)]
    assert [pair for pair in pairs if made.extra_us(*pair)] == late


def test_rules_add_up_and_end() -> None:
    one, other = Rule([0], delay_us=70), Rule([1], delay_us=5, jitter_us=3)
    made = weather(one, other)
    assert {made.extra_us(0, 1) for _ in range(50)} == {75, 76, 77, 78}
    made.remove(one)
    assert made.extra_us(0, 2) == 0


def test_the_narrowest_uplink_counts() -> None:
    made = weather(Rule([0], bytes_per_second=50), Rule([0, 1], bytes_per_second=80))
    assert [made.uplink(index, 100) for index in (0, 1, 2)] == [50, 80, 100]


def test_a_lost_packet_comes_after_its_timeout_which_doubles() -> None:
    made = weather(Rule([0], loss=0.5))
    late = [made.repeated_us(0, 1, size=100, round_trip_us=1_000) for _ in range(4_000)]
    timeout = RETRANSMISSION_US + 1_000
    assert set(late) >= {0, timeout, 3 * timeout, 7 * timeout}
    assert 0.48 < late.count(0) / len(late) < 0.52
    assert 0.23 < late.count(timeout) / len(late) < 0.27
    assert made.retransmissions > 3_500


def test_a_gap_in_a_long_message_shows_after_a_round_trip() -> None:
    made = weather(Rule([0], loss=0.01))
    size = 40 * PACKET_BYTES
    late = [made.repeated_us(0, 1, size=size, round_trip_us=1_000) for _ in range(2_000)]
    assert late.count(1_000) > 400
    assert 0.6 < sum(one == 0 for one in late) / len(late) < 0.74


def test_nothing_is_lost_and_nothing_drawn_where_no_rule_loses() -> None:
    made = weather(Rule([0], loss=0.5))
    assert made.repeated_us(1, 2, size=9_999, round_trip_us=10) == 0
    assert made.retransmissions == 0


def test_a_rule_that_lets_nothing_through_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing"):
        Rule([0], loss=1.0)

"""The network falls apart, and heals."""

import pytest

from sim_harness.virtual.checkers import SAFETY, agreement, nobody_banned, supply_conserved
from sim_harness.virtual.conditions import (
    caught_up,
    height_at_least,
    height_max,
    height_min,
    split,
)
from sim_harness.virtual.spans import seconds
from tests.scenarios.worlds import fast_world


def test_partition_heals_without_a_fork() -> None:
    """Given 7 validators; when 2 are cut off for 30 s; then one chain remains."""
    world = fast_world(seed=1, nodes=7)
    west, east = split(world.validators, 2, 5)
    world.start()
    world.run_until(height_at_least(3))
    with world.partition(west, east):
        world.run_for(seconds(30))
        assert height_min(east) > height_max(west)
    world.run_until(caught_up(west, east), within=seconds(60))
    world.check(agreement, supply_conserved)
    world.check(*SAFETY, nobody_banned)


@pytest.mark.parametrize("seed", range(3))
def test_neither_half_decides_and_the_whole_goes_on(seed: int) -> None:
    """Given 6 validators; when they are cut in half for 40 s; then both wait, and go on at once."""
    world = fast_world(seed=seed, nodes=6)
    west, east = split(world.validators, 3, 3)
    world.start()
    world.run_until(height_at_least(2))
    with world.partition(west, east):
        world.run_for(seconds(3))
        stopped = height_max(world.nodes)
        world.run_for(seconds(37))
        assert height_max(world.nodes) == stopped
    world.run_until(height_at_least(stopped + 2), within=seconds(60))
    world.check(*SAFETY, nobody_banned)


def test_a_short_cut_is_not_even_noticed() -> None:
    """Given 4 validators; when one is cut off for 5 s; then no connection ends."""
    world = fast_world(seed=3, nodes=4)
    one, rest = split(world.validators, 1, 3)
    world.start()
    world.run_until(height_at_least(3))
    with world.partition(one, rest):
        world.run_for(seconds(5))
    world.run_until(caught_up(world.nodes), within=seconds(10))
    assert all(world.links.between(one[0].index, node.index) for node in rest)
    world.check(*SAFETY, nobody_banned)


def test_three_islands_meet_again() -> None:
    """Given 9 validators; when they fall into three parts, twice; then one chain remains."""
    world = fast_world(seed=4, nodes=9)
    parts = split(world.validators, 2, 3, 4)
    world.start()
    world.run_until(height_at_least(2))
    for _ in range(2):
        with world.partition(*parts):
            world.run_for(seconds(20))
        world.run_until(height_at_least(height_max(world.nodes) + 2), within=seconds(60))
    world.check(*SAFETY, nobody_banned)

"""Power cuts: everybody at once, and one node at every boundary between disk and wire."""

import pytest

from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import has_crashed, height_at_least, height_max, signed_since
from sim_harness.virtual.spans import millis, seconds
from tests.scenarios.worlds import fast_world


@pytest.mark.parametrize("seed", range(20))
def test_a_power_cut_in_the_middle_of_a_vote_loses_no_block_and_no_word(seed: int) -> None:
    """Given 4 validators that vote; when all die at one instant, twice; then the chain goes on from
    what was durable, and nobody signs against what left it before.
    """
    world = fast_world(seed=seed, nodes=4)
    world.start()
    world.run_until(height_at_least(2))
    moment = world.stream("power cut")
    for _ in range(2):
        # Heights open a second after the last commit: die in the half second of votes after that.
        world.run_until(height_at_least(height_max(world.nodes) + 1))
        world.run_for(millis(950 + moment.randint(0, 500)))
        committed = dict(world.committed)
        world.crash(*world.nodes)
        world.start()
        world.run_until(height_at_least(max(committed) + 2), within=seconds(60))
        assert committed.items() <= world.committed.items()
    world.check(*SAFETY, nobody_banned)


@pytest.mark.parametrize("durable", [False, True], ids=["lost", "durable but nothing sent"])
def test_a_validator_may_die_at_every_write(durable: bool) -> None:
    """Given 4 validators; when one dies before, or right after, any one of its writes is durable;
    then it signs nothing against itself, and takes part again.
    """
    batches = 0
    number = 1
    while number == 1 or number <= batches:
        world = fast_world(seed=9, nodes=4)
        victim = world.validators[1]

        def dies(batch: int, is_durable: bool, at: int = number) -> bool:
            return batch == at and is_durable is durable

        victim.disk.crash_point = dies
        world.start()
        others = [node for node in world.validators if node is not victim]
        world.run_until(has_crashed(victim))
        world.start(victim)
        goal = height_max(others) + 2
        world.run_until(height_at_least(goal), within=seconds(30))
        world.run_until(signed_since(goal, victim), within=seconds(15))
        world.check(*SAFETY, nobody_banned)
        batches = max(batches, min(victim.disk.batches, WRITES))
        number += 1


WRITES = 24
"""The first writes of a validator: its start, and about four heights."""

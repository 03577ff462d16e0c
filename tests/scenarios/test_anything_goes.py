"""Crashes and partitions by lot, while people trade: safety all along, then everything heals."""

import pytest

from sim_harness.virtual.checkers import SAFETY, nobody_banned, receipts_settled
from sim_harness.virtual.conditions import height_at_least, height_max
from sim_harness.virtual.spans import millis, seconds
from sim_harness.virtual.workload import Trade, Transfers
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world


def crash_some(world: World) -> None:
    """Any number of nodes at one instant, for up to 6 s."""
    draws = world.stream("chaos")
    unlucky = draws.sample(world.nodes, draws.randint(1, len(world.nodes)))
    world.crash(*unlucky)
    world.run_for(seconds(draws.uniform(0, 6)))
    world.start(*unlucky)


def cut_somewhere(world: World) -> None:
    """Any two parts, for up to 25 s, and perhaps a crash meanwhile."""
    draws = world.stream("chaos")
    mixed = draws.sample(world.nodes, len(world.nodes))
    border = draws.randint(1, len(mixed) - 1)
    with world.partition(mixed[:border], mixed[border:]):
        world.run_for(seconds(draws.uniform(0.2, 25)))
        if draws.random() < 0.5:
            unlucky = draws.choice(world.nodes)
            world.crash(unlucky)
            world.run_for(seconds(draws.uniform(0, 3)))
            world.start(unlucky)


def bounce_in_turn(world: World) -> None:
    """Four processes, one after the other, back at once."""
    draws = world.stream("chaos")
    for _ in range(4):
        unlucky = draws.choice(world.nodes)
        world.crash(unlucky)
        world.start(unlucky, within=millis(50))
        world.run_for(seconds(draws.uniform(0, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_breaks_no_promise_does_and_all_comes_back(seed: int) -> None:
    """Given a network that trades; when faults come by lot; then no promise is broken, and within
    20 s of the last fault heights go on and all that was paid is settled.
    """
    validators = 4 + seed % 3
    world = fast_world(seed=seed, nodes=validators + 2 + seed % 2, validators=validators)
    provider, consumer = world.nodes[-2:]
    trade = Trade(world, consumer, provider)
    Transfers(world, every=seconds(0.7))
    world.start()
    world.run_until(height_at_least(2))
    draws = world.stream("chaos")
    for _ in range(5):
        draws.choice([crash_some, cut_somewhere, bounce_in_turn])(world)
        world.run_for(seconds(draws.uniform(0, 3)))

    world.run_until(height_at_least(height_max(world.nodes) + 2), within=seconds(20))
    trade.is_paused = True
    world.run_for(seconds(15))
    assert trade.settled == trade.accepted <= trade.delivered
    crashes = max(1, consumer.crashes + provider.crashes)
    assert trade.delivered - trade.settled <= crashes * trade.window_price_max
    world.check(*SAFETY, receipts_settled, nobody_banned)

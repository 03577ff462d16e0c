"""Nodes that crash again and again are unlucky, not wicked."""

import pytest

from p2p.protocol.interface import PeerPenalized
from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import caught_up, height_at_least
from sim_harness.virtual.spans import seconds
from tests.scenarios.worlds import fast_world


def test_a_node_that_crashes_all_the_time_is_not_blamed_for_what_it_forgot() -> None:
    """Given 24 nodes with full meshes; when one restarts every 4 s; then nobody blames it.

    It once asked full meshes to join again before the backoff that it had forgotten was over, and
    its seeds banned it for ten minutes.
    """
    world = fast_world(seed=1, nodes=24, validators=5)
    restless = world.nodes[7]
    world.start()
    world.run_until(height_at_least(2))
    for _ in range(4):
        world.crash(restless)
        world.run_for(seconds(0.5))
        world.start(restless)
        world.run_for(seconds(3.5))
    blamed = [
        (node.index, event)
        for node in world.nodes
        for _, event in node.events
        if isinstance(event, PeerPenalized)
    ]
    assert blamed == []
    world.run_until(caught_up([restless]), within=seconds(15))
    world.check(*SAFETY, nobody_banned)


@pytest.mark.parametrize("seed", range(3))
def test_validators_that_restart_in_turn_keep_the_chain_going(seed: int) -> None:
    """Given 7 validators; when one after the other restarts; then heights go on all the time."""
    world = fast_world(seed=seed, nodes=7)
    world.start()
    world.run_until(height_at_least(2))
    draws = world.stream("restarts")
    for node in world.validators:
        before = max(world.committed)
        world.crash(node)
        world.run_for(seconds(draws.uniform(0.1, 3)))
        world.start(node)
        world.run_until(caught_up([node]), within=seconds(20))
        world.run_until(height_at_least(before + 1), within=seconds(20))
    world.check(*SAFETY, nobody_banned)

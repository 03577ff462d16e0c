"""Processes die and come back."""

import pytest

from p2p.protocol.interface import Committed
from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import (
    caught_up,
    height_at_least,
    height_max,
    height_min,
    split,
)
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World
from tests.scenarios.worlds import FAST, fast_world


def round_of(world: World, height: int) -> int:
    """The round in which a height was decided."""
    events = [event for node in world.nodes for _, event in node.events]
    return next(e.round for e in events if isinstance(e, Committed) and e.height == height)


def test_the_next_round_decides_when_the_proposer_is_dead() -> None:
    """Given 7 validators; when the proposer of a height crashed before; then round 1 decides."""
    world = fast_world(seed=1, nodes=7)
    world.start()
    world.run_until(height_at_least(3))
    state = world.validators[0].replica
    assert state is not None
    by_account = {node.key.account: node for node in world.nodes}
    proposer = by_account[state.chain.proposer(0)]
    rest = [node for node in world.validators if node is not proposer]
    open_height = state.chain.height
    world.crash(proposer)
    world.run_until(height_at_least(open_height, rest), within=seconds(10))
    assert round_of(world, open_height) == 1
    world.check()


@pytest.mark.parametrize("count", [4, 7, 10])
def test_a_third_may_crash_and_one_more_stops_the_chain_until_it_is_back(count: int) -> None:
    """Given 3f+1 validators; when f are dead the rest goes on, with f+1 dead it waits, unhurt."""
    world = fast_world(seed=count, nodes=count)
    faulty = (count - 1) // 3
    dead, one_more, rest = split(world.validators, faulty, 1, count - faulty - 1)
    world.start()
    world.run_until(height_at_least(3))
    world.crash(*dead)
    alive = [*one_more, *rest]
    world.run_until(height_at_least(height_max(alive) + 4, alive), within=seconds(60))

    world.crash(*one_more)
    world.run_for(seconds(5))  # What was signed before may still decide a height.
    stopped = height_max(rest)
    world.run_for(seconds(40))
    assert height_max(rest) == stopped

    world.start(*one_more)
    world.run_until(height_at_least(stopped + 2, alive), within=seconds(60))
    world.start(*dead)
    world.run_until(caught_up(world.nodes), within=seconds(60))
    world.check(*SAFETY, nobody_banned)


def test_a_node_that_was_away_catches_up_by_blocks() -> None:
    """Given a validator that slept for twenty heights; when it is back; then it signs again."""
    world = fast_world(seed=4, nodes=5)
    sleeper = world.validators[4]
    world.start()
    world.run_until(height_at_least(2))
    world.crash(sleeper)
    rest = world.validators[:4]
    world.run_until(height_at_least(height_max(rest) + 20, rest))
    world.start(sleeper)
    world.run_until(caught_up([sleeper]), within=seconds(15))
    joined = sleeper.height
    world.run_until(height_at_least(joined + 5))
    assert sleeper.key.account in signers_since(world, joined + 1)
    world.check(*SAFETY, nobody_banned)


def signers_since(world: World, height: int) -> set[bytes]:
    """Who voted from a height on."""
    return {who for who, at, _, what in world.book.slots() if at >= height and what == "precommit"}


def test_a_node_from_nothing_joins_a_chain_of_thirty_blocks() -> None:
    """Given a chain of 30 blocks; when a node starts from genesis; then it soon has them all."""
    world = fast_world(seed=5, nodes=6, validators=4)
    newcomer = world.others[1]
    world.start(*[node for node in world.nodes if node is not newcomer])
    world.run_until(height_at_least(30, world.validators))
    world.start(newcomer)
    took_ms = world.run_until(caught_up([newcomer]), within=seconds(15))
    assert newcomer.height >= 30
    assert took_ms <= seconds(10)
    world.check()


def test_a_network_forgets_its_seeds_once_its_nodes_know_one_another() -> None:
    """Given nodes that met through three seeds; when all seeds die for good;
    then the others go on, and one that restarts finds them from its own disk.
    """
    world = World(seed=6, nodes=11, validators=11, parameters=FAST)
    seeds, rest = split(world.nodes, 3, 8)
    world.start()
    world.run_until(height_at_least(6))
    world.run_for(seconds(10))  # The address book is written every 5 s.
    world.crash(*seeds)
    world.run_until(height_at_least(height_max(rest) + 4, rest), within=seconds(60))
    restarted = rest[5]
    world.crash(restarted)
    world.run_for(seconds(20))
    world.start(restarted)
    goal = height_min([node for node in rest if node is not restarted]) + 3
    world.run_until(height_at_least(goal, rest), within=seconds(60))
    world.check(*SAFETY, nobody_banned)

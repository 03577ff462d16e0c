"""Faults of consensus, each with its outcome: stories in `consensus/`, and bounded healing."""

from pathlib import Path
from random import Random

import pytest

from sim_harness.scenario.reading import read_scenario
from sim_harness.scenario.run import run_scenario
from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import height_at_least, height_max
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world

STORIES = sorted((Path(__file__).parent / "consensus").glob("*.toml"))
ROUNDS_AFTER_HEALING_MAX = 4
"""One for the round that was under way, and one for each proposer whose lock may be an old one."""


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_every_story_of_consensus_is_true(path: Path) -> None:
    result = run_scenario(read_scenario(path), 1, file=str(path))
    assert [check for check in result.checks if not check.holds] == []
    assert result.violations == ()
    assert [cover.text for cover in result.coverage if cover.first_ms is None] == []


def last_rounds(world: World) -> list[int]:
    """The round of the open height at each node."""
    rounds = []
    for node in world.nodes:
        state = node.replica.chain.driver.state if node.replica is not None else None
        rounds.append(0 if state is None else max(0, state.round))
    return rounds


@pytest.mark.parametrize("seed", range(6))
def test_after_any_partition_the_height_is_decided_within_a_few_rounds(seed: int) -> None:
    """Given partitions without a quorum, drawn one after the other; when the last one heals; then
    the open height needs a few rounds more, and no new input."""
    draws = Random(seed)
    world = fast_world(seed=seed, nodes=draws.choice((4, 5, 7)))
    world.start()
    world.run_until(height_at_least(2))
    size = len(world.nodes)
    quorum = 2 * size // 3 + 1
    for _ in range(draws.randrange(1, 4)):
        nodes = draws.sample(world.nodes, size)
        cut = draws.randrange(size - quorum + 1, quorum)
        with world.partition(nodes[:cut], nodes[cut:]):
            world.run_for(seconds(draws.uniform(1, 9)))
    height, before = height_max(world.nodes), max(last_rounds(world))
    world.run_until(height_at_least(height + 1), within=seconds(30))
    decided = world.nodes[0].replica
    assert decided is not None
    certificate = decided.chain.last_certificate
    assert certificate is not None
    assert certificate.round <= before + ROUNDS_AFTER_HEALING_MAX
    world.check(*SAFETY, nobody_banned)

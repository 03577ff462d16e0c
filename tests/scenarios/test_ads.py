"""Capacity ads reach everybody, however many nodes start at once."""

import pytest

from p2p.protocol.membership import MembershipParameters
from p2p.protocol.replica import NodeParameters
from sim_harness.virtual.conditions import ads_known
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World


@pytest.mark.parametrize(
    ("latency_ms", "seed"),
    # Slow links: first ads leave before any mesh stands, and first questions reach newcomers. Each
    # of these once left nodes without some or most ads until the first renewal, 200 s later.
    [(150, 1), (800, 0)],
)
def test_64_nodes_that_start_together_soon_know_all_64_ads(latency_ms: int, seed: int) -> None:
    """Given 64 nodes; when they start within a second; then in 30 s each knows every ad."""
    world = World(
        seed=seed, nodes=64, validators=7, latency=lambda source, target: latency_ms * 1_000
    )
    world.start()
    world.run_until(ads_known(64), within=seconds(30))
    world.check()


def test_a_lone_newcomer_learns_the_ads_of_those_before_it_and_is_learned_by_all() -> None:
    """Given 12 nodes that run for long; when one more starts; then everybody knows 13 ads."""
    world = World(seed=2, nodes=13, validators=4)
    *old, newcomer = world.nodes
    world.start(*old)
    world.run_until(ads_known(12, old), within=seconds(30))
    world.run_for(seconds(90))
    world.start(newcomer)
    world.run_until(ads_known(13), within=seconds(10))


def test_many_that_enter_at_once_through_three_small_seeds_take_turns_there() -> None:
    """Given seeds with room for 20 each; when 64 nodes dial all three; then nobody waits until the
    first guests are shown out after their grace, and all ads are everywhere in 20 s (once 49 s).
    """
    small = NodeParameters(membership=MembershipParameters(peers_max=10, peers_target=5))
    world = World(seed=2, nodes=64, validators=4, node_parameters=small)
    world.start()
    world.run_until(ads_known(64), within=seconds(20))
    world.check()

"""A connected stranger sends junk as fast as it can: the node goes on, within its bounds."""

from collections.abc import Callable

import pytest

from p2p.model.rpc import IHave, Message, MessageId, Prune, Rpc, Subscription
from p2p.model.topic import Topic, topic_name
from p2p.protocol.gossip import GossipParameters
from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.flooder import Flooder
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world

Junk = Callable[[World, int], Rpc]


def undecodable(world: World, number: int) -> Rpc:
    votes = topic_name(Topic.VOTES, world.genesis.chain_id)
    return Rpc(publish=(Message(votes, b"junk %d" % number),))


def unknown_topics(world: World, number: int) -> Rpc:
    topics = tuple(Subscription(True, f"/topic/{number}/{i}") for i in range(20))
    return Rpc(subscriptions=topics, publish=(Message(f"/topic/{number}", b"junk"),))


def empty_promises(world: World, number: int) -> Rpc:
    ads = topic_name(Topic.ADS, world.genesis.chain_id)
    ids = tuple(MessageId(b"%020d" % (number * 50 + i)) for i in range(50))
    return Rpc(ihave=(IHave(ads, ids),), iwant=ids)


def mesh_churn(world: World, number: int) -> Rpc:
    ads = topic_name(Topic.ADS, world.genesis.chain_id)
    if number % 2:
        return Rpc(graft=(ads,))
    return Rpc(prune=(Prune(ads, 1),))


@pytest.mark.parametrize("junk", [undecodable, unknown_topics, empty_promises, mesh_churn])
def test_a_flood_of_junk_keeps_no_node_from_committing(junk: Junk) -> None:
    """Given 4 validators; when a stranger floods one with 2000 RPCs a second; then it commits at
    its pace, within its bounds, and throws the stranger out where that is due.
    """
    world = fast_world(seed=1, nodes=4)
    victim = world.validators[2]
    made = iter(range(1_000_000))
    flooder = Flooder(world, b"junk", lambda: junk(world, next(made)), every_us=500)
    world.start()
    world.run_until(height_at_least(2))
    flooder.attack(victim)
    began = victim.height
    world.run_for(seconds(4))
    assert victim.height >= began + 3
    assert flooder.sent > 7_000
    assert victim.replica is not None
    limits, sizes = GossipParameters(), victim.replica.gossip.sizes()
    assert sizes["seen"] <= limits.seen_max
    assert sizes["validations"] <= limits.validations_max
    assert sizes["wanted_ids"] <= limits.wanted_ids_max
    assert sizes["topics_per_peer"] <= limits.topics_per_peer_max
    assert sizes["queue_bytes"] <= limits.queue_bytes_max
    assert sizes["backoffs"] <= 5
    if junk in (undecodable, mesh_churn):
        assert any(reason.startswith("banned") for reason in flooder.hang_ups)
    world.check(*SAFETY, nobody_banned)

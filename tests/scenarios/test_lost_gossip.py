"""Gossip may lose anything: neighbours' questions fill the gaps."""

import pytest

from p2p.model.rpc import Rpc
from p2p.model.topic import Topic, topic_name
from sim_harness.virtual.checkers import SAFETY, nobody_banned
from sim_harness.virtual.conditions import caught_up, height_at_least
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World
from tests.scenarios.worlds import fast_world


def mute(world: World, *topics: Topic) -> None:
    """From now on no message of these topics arrives anywhere, nor the offer of one."""
    names = {topic_name(topic, world.genesis.chain_id) for topic in topics}

    def without(source: VirtualNode, target: VirtualNode, rpc: Rpc) -> Rpc:
        return Rpc(
            subscriptions=rpc.subscriptions,
            publish=tuple(one for one in rpc.publish if one.topic not in names),
            ihave=tuple(one for one in rpc.ihave if one.topic not in names),
            iwant=rpc.iwant,
            graft=rpc.graft,
            prune=rpc.prune,
        )

    world.tamper = without


def test_heights_are_decided_though_no_vote_or_proposal_is_ever_gossiped() -> None:
    """Given 4 validators; when all gossip of votes is lost; then questions alone carry them."""
    world = fast_world(seed=1, nodes=4)
    mute(world, Topic.VOTES)
    world.start()
    world.run_until(height_at_least(4), within=seconds(60))
    world.check(*SAFETY, nobody_banned)


def test_a_chain_goes_on_though_no_gossip_at_all_arrives() -> None:
    """Given 7 nodes, 4 of them validators; when gossip is lost whole; then all keep up."""
    world = fast_world(seed=2, nodes=7, validators=4)
    world.start()
    world.run_until(height_at_least(2))
    mute(world, *Topic)
    world.run_until(height_at_least(5), within=seconds(90))
    world.check(*SAFETY, nobody_banned)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_chain_goes_on_though_messages_are_lost_by_lot(share: float) -> None:
    """Given 7 validators; when many messages are lost; then heights still follow one another."""
    world = fast_world(seed=3, nodes=7)
    draws = world.stream("loss")

    def lossy(source: VirtualNode, target: VirtualNode, rpc: Rpc) -> Rpc:
        kept = tuple(one for one in rpc.publish if draws.random() >= share)
        return Rpc(rpc.subscriptions, kept, rpc.ihave, rpc.iwant, rpc.graft, rpc.prune)

    world.tamper = lossy
    world.start()
    world.run_until(height_at_least(8), within=seconds(60))
    world.tamper = None
    world.run_until(caught_up(world.nodes), within=seconds(15))
    world.check(*SAFETY, nobody_banned)

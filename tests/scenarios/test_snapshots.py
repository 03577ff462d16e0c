"""Nodes that start from nothing on a long or pruned chain, and those who lie to them."""

import pytest

from p2p.model.parameters import Parameters
from p2p.model.persistence import Table, number_key
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import PeerPenalized
from p2p.protocol.replica.parameters import NodeParameters
from sim_harness.adversaries import recruit
from sim_harness.virtual.checkers import (
    agreement,
    no_equivocation,
    nobody_banned,
    supply_conserved,
)
from sim_harness.virtual.conditions import Condition, caught_up
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World

PRUNED = NodeParameters(retain_blocks=20, snapshot_interval=8, snapshot_retry_ms=1_000)
FAST = Parameters(epoch_ms=Millis(300))


def pruned_world(seed: int, *, nodes: int = 6, validators: int = 4) -> World:
    """A world of nodes that keep their last 20 blocks."""
    return World(
        seed=seed,
        nodes=nodes,
        validators=validators,
        parameters=FAST,
        node_parameters=PRUNED,
        latency=lambda source, target: 20_000,
    )


def begin_without(world: World, late: VirtualNode, height: int) -> None:
    """Start all others, and let them commit a height."""
    for node in world.nodes:
        if node is not late:
            world.start(node)
    world.run_until(committed(height), within=seconds(180))


def committed(height: int) -> Condition:
    return lambda world: max(world.committed, default=0) >= height


def heights_stored(node: VirtualNode) -> list[int]:
    return [int.from_bytes(key) for key, _ in node.store.scan(Table.BLOCKS)]


def blamed(node: VirtualNode) -> list[PeerId]:
    return [event.peer for _, event in node.events if isinstance(event, PeerPenalized)]


def fetches_parts(node: VirtualNode) -> Condition:
    return lambda _: any(True for _ in node.store.scan(Table.SNAPSHOT))


def test_a_node_far_behind_a_pruned_network_takes_a_snapshot() -> None:
    """Given nodes that keep 20 blocks; when one joins at height 60; then it takes a state over."""
    world = pruned_world(1)
    late = world.nodes[5]
    begin_without(world, late, 60)
    assert all(min(heights_stored(node)) > 30 for node in world.nodes[:5])
    world.start(late)
    world.run_until(caught_up([late]), within=seconds(60))
    world.run_for(seconds(5))
    stored = heights_stored(late)
    assert stored == list(range(stored[0], stored[-1] + 1))
    assert stored[0] > 40
    assert list(late.store.scan(Table.SNAPSHOT)) == []
    assert late.store.get(Table.HEADERS, number_key(stored[0] - 1)) is not None
    assert blamed(late) == []


def test_a_snapshot_is_resumed_after_a_crash() -> None:
    """Given a state half fetched; when the node crashes; then it goes on, and others blame none."""
    world = pruned_world(2)
    late = world.nodes[5]
    begin_without(world, late, 40)
    world.start(late)
    world.run_until(fetches_parts(late), within=seconds(60))
    assert late.height == 0
    world.crash(late)
    assert fetches_parts(late)(world)
    world.start(late)
    world.run_until(caught_up([late]), within=seconds(60))
    assert blamed(late) == []


@pytest.mark.parametrize("seed", range(3))
def test_liars_about_states_are_blamed_and_nobody_else(seed: int) -> None:
    """Given six liars of eleven; when a node starts from nothing; then it gets there."""
    world = pruned_world(seed, nodes=11, validators=4)
    liars = recruit(world, "lying_syncer", 6, None)
    late = next(node for node in world.honest if node.index >= 4)
    begin_without(world, late, 50)
    world.start(late)
    world.run_until(lambda _: late.height >= 40, within=seconds(120))
    names = {node.key.peer for node in world.nodes if node not in world.honest}
    assert set(blamed(late)) <= names
    deeds = [deed for liar in liars for deed in liar.deeds]
    assert {"offers", "parts"} & set(deeds)
    # Validity is judged from the genesis on, and nobody has those blocks any more.
    world.check(agreement, supply_conserved, no_equivocation, nobody_banned)


@pytest.mark.parametrize("seed", range(2))
def test_a_node_from_nothing_on_a_whole_chain_gets_its_blocks_past_liars(seed: int) -> None:
    """Given nodes that keep everything; when one starts late among liars; then it has it all."""
    world = World(
        seed=seed,
        nodes=8,
        validators=4,
        parameters=FAST,
        latency=lambda source, target: 20_000,
    )
    recruit(world, "lying_syncer", 2, None)
    late = next(node for node in world.honest if node.index >= 4)
    begin_without(world, late, 60)
    world.start(late)
    world.run_until(lambda _: late.height >= 30, within=seconds(120))
    world.crash(late)
    world.start(late)
    world.run_until(lambda _: late.height >= 60, within=seconds(120))
    names = {node.key.peer for node in world.nodes if node not in world.honest}
    assert set(blamed(late)) <= names
    assert heights_stored(late)[0] == 1
    world.check()

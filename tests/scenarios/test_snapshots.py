"""Nodes that start from nothing on a long or pruned chain, and those who lie to them."""

from functools import partial
from typing import ClassVar

import msgspec
import pytest

from p2p.model.light import LightBlockRequest
from p2p.model.parameters import Parameters
from p2p.model.persistence import Table, number_key
from p2p.model.requests import Request, Response
from p2p.model.snapshot import PartRequest, SnapshotRequest, entries_of, offer_of
from p2p.primitives.keys import peer_text
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import PeerPenalized
from p2p.protocol.replica.parameters import NodeParameters
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from sim_harness.adversaries import Adversary, recruit
from sim_harness.adversaries.corrupt import CorruptReplica
from sim_harness.made_chain import MadeChain
from sim_harness.virtual.checkers import (
    agreement,
    no_equivocation,
    nobody_banned,
    supply_conserved,
)
from sim_harness.virtual.conditions import Condition, caught_up
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import SafetyViolated, World

PRUNED = NodeParameters(
    retain_blocks=20,
    snapshot_interval=8,
    snapshot_retry_ms=1_000,
    snapshot_patience_ms=5_000,
)
FAST = Parameters(epoch_ms=Millis(300))


def pruned_world(
    seed: int, *, nodes: int = 6, validators: int = 4, witnesses: int = 3, slow: int = -1
) -> World:
    """A world of nodes that keep their last 20 blocks; one of them is far from the others."""
    return World(
        seed=seed,
        nodes=nodes,
        validators=validators,
        parameters=FAST,
        node_parameters=msgspec.structs.replace(PRUNED, snapshot_witnesses=witnesses),
        latency=lambda source, target: 200_000 if slow in {source, target} else 20_000,
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
    world = pruned_world(2, slow=5)
    late = world.nodes[5]
    begin_without(world, late, 40)
    world.start(late)
    world.run_until(fetches_parts(late), within=seconds(60))
    assert late.height == 0
    world.crash(late)
    assert fetches_parts(late)(world)
    world.start(late)
    world.run_until(lambda _: late.height >= 40, within=seconds(60))
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
    assert {"headers", "offers", "parts"} & set(deeds)
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


# ---- forks -------------------------------------------------------------------------------------


class Forger(Adversary):
    """Holds all validators' keys, long after they are worth nothing, and a chain of theirs."""

    kind: ClassVar[str] = "forger of a past"
    wants_vote: ClassVar[bool] = False
    HEIGHTS: ClassVar[int] = 120

    def make(self, world: World) -> None:
        signers = [world.signer_of(node) for node in world.validators]
        self.past = MadeChain.forged(world.genesis, signers, step_ms=FAST.epoch_ms // 4)
        self.disk = MemoryStore()
        self.past.keep_in(self.disk)
        self.past.grow(self.HEIGHTS)

    def answer(
        self, peer: PeerId, request: Request, response: Response | None, now_ms: Millis
    ) -> Response | None:
        match request:
            case SnapshotRequest():
                self.deeds["offers"] += 1
                return offer_of(self.past.state)
            case PartRequest(number=number):
                self.deeds["parts"] += 1
                return entries_of(self.past.state, number)
            case LightBlockRequest():
                self.deeds["headers"] += 1
                return light_answer(self.disk, self.past.state, request)
            case _:
                return response


def forked_world(seed: int, *, witnesses: int) -> tuple[World, VirtualNode, VirtualNode, Forger]:
    """Five honest nodes, one with another past, and one that comes late; nobody lies about time."""
    world = pruned_world(seed, nodes=7, witnesses=witnesses)
    late, liar = world.nodes[6], world.nodes[5]
    forger = Forger()
    world.liars[liar.key.account] = forger.kind
    world.makers[liar.index] = partial(CorruptReplica, forger)
    liar.tells_light = forger.answer
    forger.join(world, liar, [forger])
    forger.make(world)
    begin_without(world, late, 70)
    world.start(late)
    return world, late, liar, forger


@pytest.mark.parametrize("seed", range(2))
def test_a_fork_stops_a_newcomer_that_hears_both_sides_and_blames_nobody(seed: int) -> None:
    """Given a neighbour that can prove another past; when one starts from nothing; then it stops.

    Nobody can tell from the genesis which of the two is true: their validators signed both.
    """
    world, late, liar, forger = forked_world(seed, witnesses=6)
    with pytest.raises(SafetyViolated, match=r" prove (two different )?headers of height"):
        world.run_until(has_blocks(late), within=seconds(60))
    assert late.replica is not None
    why = late.replica.chain.halted
    assert why is not None
    words = why.split()
    assert (words[0], words[2], words[4]) == ("agreement:", "and", "prove")
    nodes = {peer_text(node.key.peer): node for node in world.nodes}
    sides = [nodes[words[1]], nodes[words[3]]]
    assert liar in sides
    assert sides[0] is not sides[1]
    world.violations.clear()
    world.run_for(seconds(30))
    assert late.height == 0, "it follows neither"
    assert blamed(late) == []
    assert forger.deeds["headers"] > 0


def test_without_witnesses_a_newcomer_believes_whom_it_asks_first() -> None:
    """What witnesses are for: of a seed at least, the newcomer follows the forged past."""
    followed = []
    for seed in range(3):
        world, late, _, forger = forked_world(seed, witnesses=0)
        world.run_until(has_blocks(late), within=seconds(60))
        followed.append(forger.deeds["parts"] > 0)
    assert any(followed)


def has_blocks(node: VirtualNode) -> Condition:
    return lambda _: node.height > 0


def test_witnesses_that_lie_are_blamed_and_the_others_believed() -> None:
    """Given liars about headers; when one starts from nothing; then it names them and goes on."""
    world = pruned_world(4, nodes=9, witnesses=8)
    liars = recruit(world, "lying_syncer", 3, None)
    late = next(node for node in world.honest if node.index >= 4)
    begin_without(world, late, 50)
    world.start(late)
    world.run_until(lambda _: late.height >= 40, within=seconds(120))
    names = {node.key.peer for node in world.nodes if node not in world.honest}
    assert set(blamed(late)) <= names
    assert any(liar.deeds["headers"] for liar in liars)
    world.check(agreement, supply_conserved, no_equivocation, nobody_banned)

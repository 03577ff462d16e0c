"""The world keeps what it promises: time, crashes, checks that can fail."""

import msgspec
import pytest

from p2p.model.block import CommittedBlock
from p2p.model.parameters import COMMITTED_BYTES_MAX
from p2p.model.persistence import (
    SIGN_STATE_KEY,
    STATE_KEY,
    Delete,
    DeleteRange,
    Put,
    Table,
    number_key,
)
from p2p.primitives.codec import decode, encode
from p2p.primitives.units import Digest, Height
from p2p.protocol.interface import Committed
from sim_harness.virtual.checkers import (
    SAFETY,
    agreement,
    supply_conserved,
    validity,
)
from sim_harness.virtual.conditions import (
    after,
    all_of,
    caught_up,
    height_at_least,
    height_max,
    height_min,
    split,
)
from sim_harness.virtual.node import VirtualNode
from sim_harness.virtual.spans import millis, minutes, seconds
from sim_harness.virtual.world import Expired, SafetyViolated, World
from tests.scenarios.worlds import fast_world


@pytest.fixture
def world() -> World:
    """Four validators, three heights on."""
    made = fast_world(seed=1, nodes=4)
    made.start()
    made.run_until(height_at_least(3))
    return made


# ---- time


def test_virtual_time_passes_exactly(world: World) -> None:
    before_ms = world.now_ms
    world.run_for(millis(1_234))
    assert world.now_ms == before_ms + 1_234
    assert world.run_until(after(world.now_ms)) == 0
    assert (seconds(1.5), minutes(2)) == (1_500, 120_000)


def test_a_condition_that_never_holds_expires_in_its_time(world: World) -> None:
    before_ms = world.now_ms
    with pytest.raises(
        Expired, match=r"not within 3000 ms; heights \[\d+, \d+, \d+, \d+\], seed 1"
    ):
        world.run_until(height_at_least(1_000), within=seconds(3))
    assert world.now_ms == before_ms + 3_000


def test_a_world_in_which_nothing_happens_expires() -> None:
    with pytest.raises(Expired):
        fast_world(seed=1, nodes=4).run_until(height_at_least(1))


# ---- groups and conditions


def test_groups_are_consecutive_and_complete(world: World) -> None:
    west, east = split(world.nodes, 1, 3)
    assert [*west, *east] == world.nodes
    with pytest.raises(ValueError, match="do not make 4 nodes"):
        split(world.nodes, 1, 2)


def test_a_node_that_is_down_has_no_height(world: World) -> None:
    world.crash(world.nodes[0])
    assert height_min(world.nodes) == 0 < height_max(world.nodes)
    assert not height_at_least(1)(world)
    assert height_at_least(1, world.nodes[1:])(world)
    assert not all_of(height_at_least(1, world.nodes[1:]), height_at_least(1))(world)
    assert not caught_up([world.nodes[0]])(world)


def test_a_world_needs_a_validator() -> None:
    with pytest.raises(ValueError, match="5 validators among 4 nodes"):
        World(seed=1, nodes=4, validators=5)


# ---- crashes


def test_a_crashed_node_keeps_its_disk_and_nothing_else(world: World) -> None:
    node = world.nodes[1]
    height = node.height
    world.crash(node)
    answers: list[object] = []
    assert not node.is_up
    world.run_for(seconds(1))
    world.start(node, within=millis(0))
    world.run_for(millis(0))
    assert node.height in {height, height + 1}, "the block under way may have made it"
    assert answers == []


def test_a_write_that_a_crash_cuts_short_survives_or_not_as_is_said() -> None:
    for survives in (True, False):
        world = fast_world(seed=1, nodes=4)
        node = world.nodes[0]
        node.disk.write([Put(Table.PEERS, b"key", b"value")], lambda: None, pytest.fail)
        node.disk.crash(survives=survives)
        assert (node.store.get(Table.PEERS, b"key") is not None) is survives
        world.run_for(seconds(1))
        assert (node.store.get(Table.PEERS, b"key") is not None) is survives


def test_a_crash_of_a_node_that_is_down_changes_nothing(world: World) -> None:
    world.crash(world.nodes[0])
    world.crash(world.nodes[0])
    assert world.nodes[0].crashes == 1


# ---- checkers that can fail


def tampered(node: VirtualNode, height: int) -> None:
    """Put another block of a height on a node's disk."""
    key = number_key(height)
    data = node.store.get(Table.BLOCKS, key)
    assert data is not None
    committed = decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX)
    header = msgspec.structs.replace(committed.block.header, state_root=Digest(bytes(32)))
    block = msgspec.structs.replace(committed.block, header=header)
    other = msgspec.structs.replace(committed, block=block)
    node.store.commit([Put(Table.BLOCKS, key, encode(other))])


def test_a_fork_on_a_disk_is_found_though_its_node_is_down(world: World) -> None:
    world.crash(world.nodes[2])
    tampered(world.nodes[2], 2)
    with pytest.raises(SafetyViolated, match=r"agreement: height 2.*seed 1"):
        world.check(agreement)
    with pytest.raises(SafetyViolated, match="validity: node 2"):
        world.check(validity)


def test_a_block_that_is_missing_is_found(world: World) -> None:
    world.nodes[1].store.commit([Delete(Table.BLOCKS, number_key(2))])
    with pytest.raises(SafetyViolated, match="node 1: block 3 after 1"):
        world.check(validity)


def test_money_out_of_nowhere_is_found(world: World) -> None:
    node = world.nodes[0]
    assert node.replica is not None
    state = node.replica.state
    account, owner = next(iter(state.accounts.items()))
    richer = msgspec.structs.replace(owner, balance=owner.balance + 1)
    forged = msgspec.structs.replace(state, accounts={**state.accounts, account: richer})
    node.store.commit([Put(Table.STATE, STATE_KEY, encode(forged))])
    with pytest.raises(SafetyViolated, match=r"supply_conserved: node 0: \d+ owned"):
        world.check(supply_conserved)
    with pytest.raises(SafetyViolated, match="node 0: another state"):
        world.check(validity)


def test_validators_whose_disks_forget_what_they_signed_are_caught() -> None:
    """A canary: without the journal and the sign state, power cuts make nodes equivocate."""
    caught = 0
    for seed in range(6):
        world = fast_world(seed=seed, nodes=4)
        world.start()
        world.run_until(height_at_least(2))
        world.run_for(millis(1_000 + 40 * seed))
        world.crash(*world.nodes, survives=True)
        for node in world.nodes:
            forget = [Delete(Table.META, SIGN_STATE_KEY)]
            node.store.commit([*forget, DeleteRange(Table.JOURNAL, b"", b"\xff" * 16)])
        world.start()
        try:
            world.run_for(seconds(10))
        except SafetyViolated as error:
            caught += "signed two" in str(error)
    assert caught > 0


def test_a_node_that_commits_another_block_is_caught_at_once(world: World) -> None:
    fork = Committed(Height(2), Digest(bytes(32)), Digest(bytes(32)), 0, 0, 0, 0)
    world.heard(world.nodes[3], fork)
    with pytest.raises(SafetyViolated, match="agreement: node 3 at height 2"):
        world.run_for(seconds(1))


def test_all_of_safety_holds_by_default(world: World) -> None:
    world.check()
    world.check(*SAFETY)

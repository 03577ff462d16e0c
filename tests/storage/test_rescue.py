"""A damaged row is recognised at the start, and mended where somebody else knows what it held."""

import pytest

from p2p.model.ledger import STATE_BYTES_MAX, State
from p2p.model.persistence import (
    SIGN_STATE_KEY,
    STATE_KEY,
    Delete,
    DeleteRange,
    Put,
    Table,
    Write,
    number_key,
)
from p2p.primitives.codec import decode
from p2p.storage.memory import MemoryStore
from p2p.storage.port import RowDamaged, StoreCorrupt
from p2p.storage.rescue import find_damage, restore
from p2p.storage.saved import read_saved
from sim_harness.virtual.checkers import stored_chain
from sim_harness.virtual.conditions import height_at_least
from sim_harness.virtual.spans import seconds
from sim_harness.virtual.world import World


@pytest.fixture(scope="module")
def grown() -> World:
    """A world whose disks hold a chain."""
    world = World(seed=3, nodes=4, validators=4)
    world.start()
    world.run_until(height_at_least(6), within=seconds(120))
    world.crash(*world.nodes, survives=False)
    return world


def copy_of(store: MemoryStore) -> MemoryStore:
    copied = MemoryStore()
    for table in Table:
        copied.commit([Put(table, key, value) for key, value in store.scan(table)])
    return copied


def rows(store: MemoryStore, *tables: Table) -> dict[Table, list[tuple[bytes, bytes]]]:
    return {table: list(store.scan(table)) for table in tables or Table}


@pytest.mark.parametrize(
    "mend",
    [
        Put(Table.PEERS, b"b", b"new"),
        Delete(Table.PEERS, b"b"),
        DeleteRange(Table.PEERS, b"b", b"c"),
    ],
)
def test_a_damaged_row_is_read_by_nobody_until_it_is_written_or_deleted(mend: Write) -> None:
    store = MemoryStore()
    store.commit([Put(Table.PEERS, key, b"value") for key in (b"a", b"b", b"c")])
    store.damage(Table.PEERS, b"b")
    with pytest.raises(RowDamaged):
        store.get(Table.PEERS, b"b")
    with pytest.raises(RowDamaged):
        list(store.scan(Table.PEERS))
    assert [found.key for found in find_damage(store)] == [b"b"]
    assert store.get(Table.PEERS, b"a") == b"value"
    store.commit([mend])
    assert list(find_damage(store)) == []
    assert store.get(Table.PEERS, b"b") == (b"new" if isinstance(mend, Put) else None)


def test_a_whole_disk_is_left_as_it_is(grown: World) -> None:
    store = copy_of(grown.nodes[0].store)
    before = rows(store)
    saved, mended = restore(store, grown.genesis)
    assert (saved, mended) == (read_saved(grown.nodes[0].store), ())
    assert rows(store) == before


def test_a_damaged_ledger_is_worked_out_again_from_the_blocks(grown: World) -> None:
    store, kept = copy_of(grown.nodes[0].store), (Table.STATE, Table.BLOCKS, Table.REWARDS)
    before = rows(store, *kept)
    store.damage(Table.STATE, STATE_KEY)
    saved, mended = restore(store, grown.genesis)
    assert mended == (f"damaged and mended: state {STATE_KEY.hex()[:16]}",)
    assert rows(store, *kept) == before
    assert (saved.journal, saved.sign_state) == ((), read_saved(grown.nodes[0].store).sign_state)


def test_a_damaged_block_ends_the_chain_before_it(grown: World) -> None:
    node = grown.nodes[0]
    store = copy_of(node.store)
    height = len(list(stored_chain(node)))
    store.damage(Table.BLOCKS, number_key(4))
    store.damage(Table.BLOCKS, number_key(5))
    restore(store, grown.genesis)
    assert [key for key, _ in store.scan(Table.BLOCKS)] == [number_key(at) for at in (1, 2, 3)]
    assert [key for key, _ in store.scan(Table.REWARDS)] == [number_key(at) for at in (1, 2, 3)]
    third = list(stored_chain(node))[2].block.header.digest()
    grown.check()  # executes all blocks
    state = decode(store.get(Table.STATE, STATE_KEY) or b"", State, bytes_max=STATE_BYTES_MAX)
    assert state == grown.audit.state_after(third)
    assert height >= 6


def test_damaged_rewards_are_worked_out_again(grown: World) -> None:
    store = copy_of(grown.nodes[0].store)
    before = rows(store, Table.REWARDS, Table.BLOCKS, Table.STATE)
    store.damage(Table.REWARDS, number_key(2))
    restore(store, grown.genesis)
    assert rows(store, Table.REWARDS, Table.BLOCKS, Table.STATE) == before


def test_the_first_block_damaged_means_to_begin_anew(grown: World) -> None:
    store = copy_of(grown.nodes[0].store)
    store.damage(Table.BLOCKS, number_key(1))
    saved, _ = restore(store, grown.genesis)
    assert (saved.state, saved.journal) == (None, ())
    assert list(store.scan(Table.BLOCKS)) == []
    assert saved.sign_state is not None


@pytest.mark.parametrize(("table", "key"), [(Table.META, SIGN_STATE_KEY), (Table.OFFER, b"seq")])
def test_nobody_runs_who_does_not_know_what_it_signed(
    grown: World, table: Table, key: bytes
) -> None:
    """A number of an ad that is given twice, to two bodies, is evidence against its provider."""
    store = copy_of(grown.nodes[0].store)
    store.damage(table, key)
    with pytest.raises(StoreCorrupt, match="never act with this key again"):
        restore(store, grown.genesis)

"""What a node does about damaged rows when it starts: mend what can be known otherwise.

    sign state, receipts,   nobody else knows what this key signed, and two ads or receipts of one
      files, our last ad    number are evidence as two votes are: the node must not run
    journal                 dropped: the sign state holds the lock and keeps from signing twice
    blocks, rewards, state  executed anew up to the last whole block; sync brings the rest
    all others              the row is dropped: a neighbour, a consumer or time brings it back

A start reads every row but old blocks and their rewards, of which it reads the newest ones; older
ones that turn out damaged are simply not handed to neighbours.
"""

from collections.abc import Iterator
from typing import Final

from p2p.model.block import CommittedBlock
from p2p.model.ledger import rules_of
from p2p.model.parameters import COMMITTED_BYTES_MAX, Genesis
from p2p.model.persistence import Delete, DeleteRange, Table, Write, number_key
from p2p.model.rejection import Rejected
from p2p.primitives.codec import decode
from p2p.protocol.interface import Saved
from p2p.protocol.replica import Bookkeeper
from p2p.storage.port import RowDamaged, Store, StoreCorrupt
from p2p.storage.saved import read_saved

RECENT_BLOCKS: Final = 1_000
"""Blocks that a start reads: what neighbours mostly ask for, in about a tenth of a second."""
SIGNED: Final = (Table.META, Table.RECEIPTS, Table.OBLIGATIONS, Table.OFFER)
"""What tells which words a key has given; receipts commit to obligations."""
CHAIN: Final = (Table.BLOCKS, Table.REWARDS, Table.STATE)
_KEYS_END: Final = b"\xff" * 64


def restore(store: Store, genesis: Genesis) -> tuple[Saved, tuple[str, ...]]:
    """What a node starts from, and a sentence for everything that was mended first.

    Raises StoreCorrupt when the damage is such that the node must not run.
    """
    mended: list[str] = []
    damage = list(find_damage(store))
    if damage:
        mended = [f"{row.table.value} {row.key.hex()[:16]}" for row in damage]
        _refuse(damage)
        _mend(store, genesis, damage)
    return read_saved(store), tuple(f"damaged and mended: {one}" for one in mended)


def find_damage(store: Store) -> Iterator[RowDamaged]:
    """Every damaged row that a start reads."""
    newest = next(_keys(store, Table.BLOCKS, reverse=True), None)
    height = 0 if newest is None else int.from_bytes(newest[:8])
    recent = number_key(max(0, height - RECENT_BLOCKS))
    for table in Table:
        start: bytes | None = recent if table in (Table.BLOCKS, Table.REWARDS) else b""
        while start is not None:
            try:
                for _ in store.scan(table, start):
                    pass
                start = None
            except RowDamaged as found:
                yield found
                start = found.key + b"\x00"


def _keys(store: Store, table: Table, *, reverse: bool) -> Iterator[bytes]:
    """The first key, damaged or not."""
    try:
        for key, _ in store.scan(table, limit=1, reverse=reverse):
            yield key
    except RowDamaged as found:
        yield found.key


def _refuse(damage: list[RowDamaged]) -> None:
    for row in damage:
        if row.table in SIGNED:
            raise StoreCorrupt(
                f"{row}: nothing else tells what this key has signed. Restore the database from a"
                " copy that is newer than its last signature, or remove it and never act with"
                " this key again"
            ) from row


def _mend(store: Store, genesis: Genesis, damage: list[RowDamaged]) -> None:
    tables = {row.table for row in damage}
    writes: list[Write] = [
        Delete(row.table, row.key) for row in damage if row.table not in (*CHAIN, Table.JOURNAL)
    ]
    if tables & {*CHAIN, Table.JOURNAL}:
        writes.append(DeleteRange(Table.JOURNAL, b"", _KEYS_END))
    if tables & {*CHAIN}:
        writes += _executed_anew(store, genesis, damage)
    store.commit(writes)


def _executed_anew(store: Store, genesis: Genesis, damage: list[RowDamaged]) -> list[Write]:
    """The chain up to the last block before a damaged one, with all that follows from it."""
    books, rules = Bookkeeper(), rules_of(genesis)
    state = books.begin(genesis, None)
    kept: tuple[Write, ...] = ()
    writes: list[Write] = []
    try:
        for key, data in store.scan(Table.BLOCKS):
            committed = decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX)
            executed = books.execute(state, rules, committed.block)
            if key != number_key(state.height + 1) or isinstance(executed, Rejected):
                break
            state, kept = executed.state, books.writes(committed, executed)
            if any(row.table is Table.REWARDS and row.key == key for row in damage):
                writes += kept
    except RowDamaged:
        pass
    after = number_key(state.height + 1)
    gone = [DeleteRange(table, after, _KEYS_END) for table in (Table.BLOCKS, Table.REWARDS)]
    first = [] if kept else [DeleteRange(Table.STATE, b"", _KEYS_END)]
    return [*writes, *first, *gone, *kept]

"""Committed blocks, as they lie in a store."""

from contextlib import suppress

from p2p.model.block import CommittedBlock
from p2p.model.parameters import COMMITTED_BYTES_MAX
from p2p.model.persistence import Table, number_key
from p2p.model.requests import BLOCKS_COUNT_MAX
from p2p.primitives.codec import decode
from p2p.primitives.units import Height
from p2p.storage.port import RowDamaged, Store

RESPONSE_TARGET_BYTES = COMMITTED_BYTES_MAX
"""An answer stops growing here, so that with its last block it stays within the response bound."""


def stored_block(store: Store, height: Height) -> CommittedBlock | None:
    """The committed block of a height, or None when it is not stored."""
    data = store.get(Table.BLOCKS, number_key(height))
    return None if data is None else decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX)


def stored_blocks(store: Store, from_height: Height, count: int) -> tuple[CommittedBlock, ...]:
    """Consecutive blocks from a height upwards, as many as one answer may hold.

    A damaged block ends the answer: another neighbour has it.
    """
    found: list[CommittedBlock] = []
    size = 0
    last = from_height + min(count, BLOCKS_COUNT_MAX)
    rows = store.scan(Table.BLOCKS, number_key(from_height), number_key(last))
    with suppress(RowDamaged):
        for expected, (key, data) in enumerate(rows, start=from_height):
            size += len(data)
            if key != number_key(expected) or (found and size > RESPONSE_TARGET_BYTES):
                break
            found.append(decode(data, CommittedBlock, bytes_max=COMMITTED_BYTES_MAX))
    return tuple(found)

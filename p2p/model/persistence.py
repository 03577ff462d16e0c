"""What a node keeps on disk, as key and value bytes in named tables.

The replica alone decides what is written; a store only makes a batch of writes durable as a whole.
Keys that are numbers are 8 bytes, big-endian, so that key order is number order.
"""

from enum import Enum
from typing import Final

import msgspec


class Table(Enum):
    """One ordered map of bytes to bytes each."""

    META = "meta"
    """Chain id, sign state and other single values, by name."""
    BLOCKS = "blocks"
    """CommittedBlock by height."""
    HEADERS = "headers"
    """SignedHeader by height, of blocks that change the validators: kept where blocks go."""
    VALIDATORS = "validators"
    """ValidatorSet by root: every one that a header names."""
    SNAPSHOT = "snapshot"
    """The parts of a state that is being fetched; empty otherwise."""
    STATE = "state"
    """The ledger after the last block."""
    JOURNAL = "journal"
    """Consensus inputs of the open height, in order."""
    REWARDS = "rewards"
    """Reward rows by height."""
    SLASHES = "slashes"
    """Slash rows by height, where a block punished anybody."""
    POLKAS = "polkas"
    """Polkas of the last heights: with a commit they tell who forked a chain, if anybody did."""
    RECEIPTS = "receipts"
    """Newest receipt by channel, as provider and as consumer."""
    OBLIGATIONS = "obligations"
    """Blobs held for consumers, and blobs that providers hold for us."""
    PEERS = "peers"
    """Address book."""
    OFFER = "offer"
    """Our own offer and the last ad's sequence number."""


STATE_KEY: Final = b"state"
"""In `Table.STATE`: the ledger after the last block."""
SIGN_STATE_KEY: Final = b"sign_state"
"""In `Table.META`: the last slot that this node signed for."""


class Put(msgspec.Struct, frozen=True):
    """Write or replace one value."""

    table: Table
    key: bytes
    value: bytes


class Delete(msgspec.Struct, frozen=True):
    """Remove one value; removing what is not there is no error."""

    table: Table
    key: bytes


class DeleteRange(msgspec.Struct, frozen=True):
    """Remove all keys with start <= key < end."""

    table: Table
    start: bytes
    end: bytes


Write = Put | Delete | DeleteRange


def number_key(number: int) -> bytes:
    """A key whose order is the number's order."""
    return number.to_bytes(8)

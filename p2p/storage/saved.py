"""What a store holds for a node that starts again."""

from p2p.model.persistence import SIGN_STATE_KEY, STATE_KEY, Table
from p2p.primitives.units import Height
from p2p.protocol.interface import Saved
from p2p.storage.port import Store


def read_saved(store: Store) -> Saved:
    """Everything that a replica restores from. Raises StoreError."""
    lowest = next(store.scan(Table.BLOCKS, limit=1), None)
    return Saved(
        state=store.get(Table.STATE, STATE_KEY),
        sign_state=store.get(Table.META, SIGN_STATE_KEY),
        journal=tuple(store.scan(Table.JOURNAL)),
        receipts=tuple(store.scan(Table.RECEIPTS)),
        obligations=tuple(store.scan(Table.OBLIGATIONS)),
        peers=tuple(store.scan(Table.PEERS)),
        offer=tuple(store.scan(Table.OFFER)),
        snapshot=tuple(store.scan(Table.SNAPSHOT)),
        lowest_height=Height(0 if lowest is None else int.from_bytes(lowest[0])),
    )

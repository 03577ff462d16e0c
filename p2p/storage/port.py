"""The `Store` port: what the node asks of a disk.

A store is one ordered map of bytes to bytes for each `Table`. It knows nothing of what it keeps;
the replica decides what is written, and a store only makes a batch durable as a whole.

Calls are synchronous. One thread at a time commits (the node's worker thread, since a commit waits
for the disk); any thread may read meanwhile, and sees what was committed last.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from p2p.model.persistence import Table, Write

SCHEMA_VERSION: Final = 3
"""Version of what stands in the tables; a store of a later version is refused."""

SCHEMA_KEY: Final = b"schema"
"""Where a store on disk keeps its version, in `Table.META`."""


class StoreError(Exception):
    """The disk failed us; the text is a sentence for a person. The node must stop."""


class StoreFull(StoreError):
    """There is no room for the batch; nothing of it was committed."""


class StoreCorrupt(StoreError):
    """The file is not, or no longer, a store."""


class RowDamaged(StoreCorrupt):
    """A value is not what was written: its checksum says so. The other rows can be read."""

    def __init__(self, where: str, table: Table, key: bytes) -> None:
        super().__init__(f"{where}: the row {key.hex()} of {table.value!r} is damaged")
        self.table = table
        self.key = key


class StoreLocked(StoreError):
    """Another process has the store open."""


class Store(Protocol):
    """Ordered tables of bytes, written in durable batches."""

    def commit(self, writes: Sequence[Write]) -> None:
        """Carry out all writes in order and make them durable together, or none.

        Raises:
            StoreFull: no room; the store is as it was.
            StoreError: the disk failed; what it holds is known after opening it again.
        """

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value of a key, or None. Raises StoreError, RowDamaged."""

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < end in key order, downwards if `reverse`, at most `limit`.

        What is committed while a scan goes on may or may not show in it. Raises StoreError, and
        RowDamaged where a damaged row would come.
        """

    def close(self) -> None:
        """Let go of the disk; a second call does nothing."""

"""A store without a disk, for the virtual world and for tests.

Each table is a dictionary beside its sorted keys. A commit cannot fail half way: it only changes
memory, and its writes were checked by their types.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import assert_never

from p2p.model.persistence import Delete, DeleteRange, Put, Table, Write
from p2p.storage.port import StoreError


class MemoryStore:
    """Ordered tables in memory; passes the contract suite of every store."""

    def __init__(self) -> None:
        self._values: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._keys: dict[Table, list[bytes]] = {table: [] for table in Table}
        self._closed = False

    def commit(self, writes: Sequence[Write]) -> None:
        self._check_open()
        for write in writes:
            match write:
                case Put():
                    self._put(write)
                case Delete():
                    self._delete(write.table, write.key)
                case DeleteRange():
                    self._delete_range(write)
                case _:
                    assert_never(write)

    def get(self, table: Table, key: bytes) -> bytes | None:
        self._check_open()
        return self._values[table].get(key)

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check_open()
        keys, values = self._keys[table], self._values[table]
        low = bisect_left(keys, start)
        high = len(keys) if end is None else bisect_left(keys, end)
        found = keys[low : max(low, high)]
        if reverse:
            found.reverse()
        return iter([(key, values[key]) for key in found[:limit]])

    def close(self) -> None:
        self._closed = True

    def _put(self, write: Put) -> None:
        values = self._values[write.table]
        if write.key not in values:
            keys = self._keys[write.table]
            if keys and write.key < keys[-1]:
                insort(keys, write.key)
            else:  # most keys are numbers that grow
                keys.append(write.key)
        values[write.key] = write.value

    def _delete(self, table: Table, key: bytes) -> None:
        if self._values[table].pop(key, None) is not None:
            keys = self._keys[table]
            del keys[bisect_left(keys, key)]

    def _delete_range(self, write: DeleteRange) -> None:
        keys, values = self._keys[write.table], self._values[write.table]
        low, high = bisect_left(keys, write.start), bisect_left(keys, write.end)
        for key in keys[low:high]:
            del values[key]
        del keys[low : max(low, high)]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")

"""A store without a disk, for the virtual world and for tests.

Each table is a dictionary beside its sorted keys. A commit cannot fail half way: it only changes
memory, and its writes were checked by their types.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import assert_never

from p2p.model.persistence import Delete, DeleteRange, Put, Table, Write
from p2p.storage.port import RowDamaged, StoreError


class MemoryStore:
    """Ordered tables in memory; passes the contract suite of every store."""

    def __init__(self) -> None:
        self._values: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._keys: dict[Table, list[bytes]] = {table: [] for table in Table}
        self._damaged: dict[tuple[Table, bytes], None] = {}
        self._closed = False

    def damage(self, table: Table, key: bytes) -> None:
        """From now on a read finds this row damaged, until it is written anew or deleted."""
        if key in self._values[table]:
            self._damaged[table, key] = None

    def sizes(self, table: Table) -> list[tuple[bytes, int]]:
        """Keys in order and the bytes of their values, damaged or not."""
        return [(key, len(self._values[table][key])) for key in self._keys[table]]

    def commit(self, writes: Sequence[Write]) -> None:
        self._check_open()
        for write in writes:
            if self._damaged:
                self._mend(write)
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
        if (table, key) in self._damaged:
            raise RowDamaged("memory", table, key)
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
        if self._damaged:
            return self._checked(table, found[:limit])
        return iter([(key, values[key]) for key in found[:limit]])

    def _checked(self, table: Table, keys: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for key in keys:
            if (table, key) in self._damaged:
                raise RowDamaged("memory", table, key)
            yield key, self._values[table][key]

    def close(self) -> None:
        self._closed = True

    def _mend(self, write: Write) -> None:
        """What is written anew or deleted is damaged no longer."""
        match write:
            case Put() | Delete():
                self._damaged.pop((write.table, write.key), None)
            case DeleteRange(table=table, start=start, end=end):
                for place in [one for one in self._damaged if one[0] is table]:
                    if start <= place[1] < end:
                        del self._damaged[place]

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

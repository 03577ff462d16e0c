"""A store over another one, for those who change what a commit does and nothing else."""

from collections.abc import Iterator, Sequence

from p2p.model.persistence import Table, Write
from p2p.storage.port import Store


class WrappedStore:
    """Hands everything on to the inner store."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def commit(self, writes: Sequence[Write]) -> None:
        """As `Store.commit`."""
        self.inner.commit(writes)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """As `Store.get`."""
        return self.inner.get(table, key)

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """As `Store.scan`."""
        return self.inner.scan(table, start, end, limit, reverse)

    def close(self) -> None:
        """As `Store.close`."""
        self.inner.close()

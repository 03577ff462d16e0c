"""The store on disk: one SQLite file, a table without row ids per `Table`.

How it works
- Journal mode WAL with `synchronous = FULL`: a commit appends to the log and syncs it, and returns
  only then. A crash leaves whole batches or nothing of them; SQLite recovers on the next open.
- Two connections: one commits, in whatever thread the node commits in; the other reads, and in WAL
  mode neither waits for the other. Each has a lock, so that threads take turns on it.
- A scan reads page by page and holds nothing open between pages: a reader that stays in a read
  transaction would keep the log from being folded back into the file.
- A lock file beside the database keeps a second process out for as long as the first lives, also
  when that one is killed: the system lets go of `flock` with the process.
- SQLite notices a page that makes no sense, not a bit that flipped within a value. So each value
  stands behind a CRC-32 of its key and itself, which every read checks.

Source: sqlite.org/wal.html, sqlite.org/pragma.html (synchronous). docs/decisions/ has the choice.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, assert_never

from p2p.model.persistence import Delete, DeleteRange, Put, Table, Write
from p2p.primitives.units import KIB
from p2p.storage.port import (
    SCHEMA_KEY,
    SCHEMA_VERSION,
    RowDamaged,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
)

SCAN_PAGE_ROWS: Final = 64
"""Rows a scan reads at once: blocks are up to 0.5 MiB each, so a page stays below 33 MiB."""

BUSY_TIMEOUT_S: Final = 5.0
"""Our two connections never wait for one another; a copy or backup tool may hold us up briefly."""

_PAGE_BYTES: Final = 4 * KIB
_APPLICATION_ID: Final = 0x4769674D  # "GigM", which `file` shows
_SEAL_BYTES: Final = 4
_CORRUPT_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_GET: Final = {t: f"SELECT value FROM {t.value} WHERE key = ?" for t in Table}
_PUT: Final = {t: f"INSERT OR REPLACE INTO {t.value} VALUES (?, ?)" for t in Table}
_DELETE: Final = {t: f"DELETE FROM {t.value} WHERE key = ?" for t in Table}
_DELETE_RANGE: Final = {t: f"DELETE FROM {t.value} WHERE key >= ? AND key < ?" for t in Table}


class SqliteStore:
    """A store in one file, which this process alone may have open."""

    def __init__(self, path: Path, *, bytes_max: int | None = None) -> None:
        """Open the file, or make it.

        Args:
            path: the database; `<path>.lock` is made beside it. The directory must exist.
            bytes_max: largest size of the database; None leaves the limit to the disk.

        Raises:
            StoreLocked, StoreCorrupt, StoreFull, StoreError: as their docs say.
        """
        self._path = path
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._closed = False
        self._lock_descriptor = _take_lock(path)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._lock_descriptor)
            with _translated(path):
                self._writer = _connect(path, bytes_max)
                undo.callback(self._writer.close)
                _prepare(self._writer, path)
                self._reader = _connect(path, None)
                self._reader.execute("PRAGMA query_only = ON")
            undo.pop_all()

    def commit(self, writes: Sequence[Write]) -> None:
        if not writes:
            return
        with self._write_lock, _translated(self._path):
            self._check_open()
            execute = self._writer.execute
            execute("BEGIN IMMEDIATE")
            try:
                for write in writes:
                    match write:
                        case Put():
                            execute(_PUT[write.table], (write.key, _sealed(write.key, write.value)))
                        case Delete():
                            execute(_DELETE[write.table], (write.key,))
                        case DeleteRange():
                            execute(_DELETE_RANGE[write.table], (write.start, write.end))
                        case _:
                            assert_never(write)
                execute("COMMIT")
            finally:
                # A full disk has rolled back by itself already; anything else has not.
                if self._writer.in_transaction:
                    execute("ROLLBACK")

    def get(self, table: Table, key: bytes) -> bytes | None:
        with self._read_lock, _translated(self._path):
            self._check_open()
            row: tuple[bytes] | None = self._reader.execute(_GET[table], (key,)).fetchone()
        return self._unsealed(table, key, row[0]) if row else None

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        low_inclusive, left = True, limit
        while left is None or left > 0:
            wanted = SCAN_PAGE_ROWS if left is None else min(left, SCAN_PAGE_ROWS)
            query, arguments = _page_query(table, start, end, low_inclusive, reverse)
            with self._read_lock, _translated(self._path):
                self._check_open()
                page: list[tuple[bytes, bytes]] = self._reader.execute(
                    query, (*arguments, wanted)
                ).fetchall()
            for key, sealed in page:
                yield key, self._unsealed(table, key, sealed)
            if len(page) < wanted:
                return
            left = None if left is None else left - len(page)
            if reverse:
                end = page[-1][0]
            else:
                start, low_inclusive = page[-1][0], False

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            if self._closed:
                return
            self._closed = True
            with _translated(self._path):
                self._reader.close()
                self._writer.close()  # the last one folds the log into the file
            os.close(self._lock_descriptor)

    def _unsealed(self, table: Table, key: bytes, sealed: bytes) -> bytes:
        value = sealed[_SEAL_BYTES:]
        if sealed[:_SEAL_BYTES] != _seal(key, value):
            raise RowDamaged(str(self._path), table, key)
        return value

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self._path} is closed")


def _seal(key: bytes, value: bytes) -> bytes:
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(_SEAL_BYTES)


def _sealed(key: bytes, value: bytes) -> bytes:
    """A value as it lies on the disk."""
    return _seal(key, value) + value


def _page_query(
    table: Table, start: bytes, end: bytes | None, low_inclusive: bool, reverse: bool
) -> tuple[str, tuple[bytes, ...]]:
    query = f"SELECT key, value FROM {table.value} WHERE key {'>=' if low_inclusive else '>'} ?"
    arguments: tuple[bytes, ...] = (start,)
    if end is not None:
        query += " AND key < ?"
        arguments = (start, end)
    return f"{query} ORDER BY key {'DESC' if reverse else 'ASC'} LIMIT ?", arguments


def _take_lock(path: Path) -> int:
    """The descriptor of the held lock file. Raises StoreLocked, StoreError."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot open {lock_path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreLocked(
            f"{path} is in use by process {holder or '?'}: one home runs one node"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise _from_os(error, lock_path) from error
    return descriptor


def _connect(path: Path, bytes_max: int | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    if bytes_max is not None:
        connection.execute(f"PRAGMA max_page_count = {max(1, bytes_max // _PAGE_BYTES)}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours and of a version we know; fill an empty one."""
    is_new = connection.execute("PRAGMA schema_version").fetchone()[0] == 0
    if not is_new:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        if found != _APPLICATION_ID:
            raise StoreCorrupt(f"{path} is a database, but not one of a Gigmesh node")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for table in Table:
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table.value}"
            " (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )
    if is_new:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(
            _PUT[Table.META], (SCHEMA_KEY, _sealed(SCHEMA_KEY, str(SCHEMA_VERSION).encode()))
        )
    connection.execute("COMMIT")
    if is_new:
        _sync_directory(path.parent)
    _check_version(connection, path)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    row = connection.execute(_GET[Table.META], (SCHEMA_KEY,)).fetchone()
    # Version 1 had no checksums: its number stands alone.
    text = b"" if row is None else row[0]
    version = text.removeprefix(_seal(SCHEMA_KEY, text[_SEAL_BYTES:])).decode(errors="replace")
    if version != str(SCHEMA_VERSION):
        raise StoreError(
            f"{path} has schema version {version or 'none'}, and this program knows"
            f" {SCHEMA_VERSION}: run the program that wrote it"
        )


def _sync_directory(directory: Path) -> None:
    """Make the names of new files durable. Raises StoreError."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _from_os(error, directory) from error


def _from_os(error: OSError, path: Path) -> StoreError:
    return StoreError(f"cannot write {path}: {error.strerror}")


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours, each a sentence that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        # Python's own errors (a closed connection) carry no code of SQLite's.
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if isinstance(code, int) else None
        if primary == sqlite3.SQLITE_FULL:
            raise StoreFull(f"no room left to write {path}: free some space") from error
        if primary in _CORRUPT_CODES:
            raise StoreCorrupt(
                f"{path} is damaged ({error}): restore it, or remove it and sync again"
            ) from error
        raise StoreError(f"cannot use {path}: {error}") from error

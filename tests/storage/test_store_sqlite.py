"""What only a disk can do: fill up, rot, be shared, and lose power."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from p2p.model.persistence import Delete, Put, Table, number_key
from p2p.storage.port import (
    SCHEMA_KEY,
    RowDamaged,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
)
from p2p.storage.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gigmesh.db"


def test_a_store_opened_again_has_what_was_committed(path: Path) -> None:
    first = SqliteStore(path)
    first.commit([Put(Table.STATE, b"key", b"value")])
    first.close()
    second = SqliteStore(path)
    assert second.get(Table.STATE, b"key") == b"value"
    second.close()


def test_a_commit_is_synced_before_it_returns(path: Path) -> None:
    store = SqliteStore(path)
    pragmas = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for connection in (store._writer, store._reader)
        for name in ("journal_mode", "synchronous")
    ]
    store.close()
    assert pragmas == ["wal", 2, "wal", 2]


def test_a_home_cannot_be_run_by_two_processes(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreLocked) as caught:
        SqliteStore(path)
    assert str(caught.value) == (
        f"{path} is in use by process {os.getpid()}: one home runs one node"
    )
    store.close()
    SqliteStore(path).close()


def test_a_full_disk_commits_nothing_and_says_so(path: Path) -> None:
    store = SqliteStore(path, bytes_max=256 * 1024)
    store.commit([Put(Table.STATE, b"kept", b"value")])
    with pytest.raises(StoreFull) as caught:
        store.commit(
            [Put(Table.STATE, b"kept", b"lost"), Put(Table.STATE, b"large", bytes(512 * 1024))]
        )
    assert str(caught.value) == f"no room left to write {path}: free some space"
    assert list(store.scan(Table.STATE)) == [(b"kept", b"value")]
    store.commit([Delete(Table.STATE, b"kept")])  # and goes on when there is room
    assert list(store.scan(Table.STATE)) == []
    store.close()


def test_a_failing_disk_commits_nothing_and_says_so(path: Path) -> None:
    """A limit on the size of files is a disk error that needs no privilege."""
    program = """
import resource, sys
from pathlib import Path
from p2p.model.persistence import Put, Table
from p2p.storage.port import RowDamaged, StoreError
from p2p.storage.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.commit([Put(Table.STATE, b"kept", b"value")])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    store.commit([Put(Table.STATE, b"kept", b"lost"), Put(Table.STATE, b"large", bytes(900_000))])
except StoreError as error:
    print(error)
print(list(store.scan(Table.STATE)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"cannot use {path}: disk I/O error",
        "[(b'kept', b'value')]",
    ]
    store = SqliteStore(path)
    assert list(store.scan(Table.STATE)) == [(b"kept", b"value")]
    store.close()


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 300)
    with pytest.raises(StoreCorrupt, match=f"^{path} is damaged"):
        SqliteStore(path)
    path.unlink()
    SqliteStore(path).close()  # the failed open let go of the lock


def test_a_damaged_page_is_reported_not_returned(path: Path) -> None:
    store = SqliteStore(path)
    store.commit([Put(Table.STATE, number_key(n), bytes(200)) for n in range(200)])
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    with pytest.raises(StoreCorrupt, match=f"^{path} is damaged"):  # noqa: PT012 - either may notice
        damaged = SqliteStore(path)
        try:
            list(damaged.scan(Table.STATE))
        finally:
            damaged.close()


def test_a_database_of_something_else_is_refused(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE songs (name TEXT)")
    foreign.close()
    with pytest.raises(StoreCorrupt, match="not one of a Gigmesh node"):
        SqliteStore(path)


def test_a_store_of_a_later_version_is_refused(path: Path) -> None:
    store = SqliteStore(path)
    store.commit([Put(Table.META, SCHEMA_KEY, b"4")])
    store.close()
    with pytest.raises(StoreError, match="schema version 4, and this program knows 3"):
        SqliteStore(path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open .*nowhere/gigmesh.db.lock: No such file"):
        SqliteStore(tmp_path / "nowhere" / "gigmesh.db")


COMMIT_FOREVER = """
import sys
from pathlib import Path
from p2p.model.persistence import Delete, Put, Table, number_key
from p2p.storage.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
batch = int(sys.argv[2])
while True:
    rows = [Put(Table.JOURNAL, number_key(batch) + number_key(row), bytes(700)) for row in range(9)]
    newest = Put(Table.META, b"newest", number_key(batch))
    store.commit([Delete(Table.META, b"newest"), *rows, newest])
    sys.stdout.write(f"{batch}\\n")
    sys.stdout.flush()
    batch += 1
"""


@pytest.mark.parametrize("seed", range(5))
def test_what_was_acknowledged_survives_a_kill(path: Path, seed: int) -> None:
    """Given a process that commits and says so; when it is killed; then nothing said is lost."""
    draws, first = Random(seed), 0
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", COMMIT_FOREVER, str(path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        until = first + draws.randrange(1, 120)
        while int(child.stdout.readline()) < until:
            pass
        child.send_signal(signal.SIGKILL)
        said = [until, *(int(line) for line in child.stdout.read().split("\n")[:-1] if line)]
        child.wait()
        child.stdout.close()

        store = SqliteStore(path)
        newest = int.from_bytes(store.get(Table.META, b"newest") or b"")
        keys = [key for key, _ in store.scan(Table.JOURNAL)]
        store.close()
        assert newest >= said[-1]
        assert keys == [
            number_key(batch) + number_key(row) for batch in range(newest + 1) for row in range(9)
        ]
        first = newest + 1


def test_a_bit_that_flipped_within_a_value_is_found_by_its_checksum(tmp_path: Path) -> None:
    """SQLite itself reads such a row without a word."""
    path = tmp_path / "test.db"
    store = SqliteStore(path)
    needle = b"a value that stands in the file once" * 3
    store.commit([Put(Table.STATE, b"damaged", needle), Put(Table.STATE, b"whole", b"value")])
    store.close()
    data = bytearray(path.read_bytes())
    data[data.index(needle) + 40] ^= 4
    path.write_bytes(data)
    damaged = SqliteStore(path)
    assert damaged.get(Table.STATE, b"whole") == b"value"
    with pytest.raises(RowDamaged, match="'state' is damaged") as caught:
        damaged.get(Table.STATE, b"damaged")
    assert (caught.value.table, caught.value.key) == (Table.STATE, b"damaged")
    with pytest.raises(RowDamaged):
        list(damaged.scan(Table.STATE))
    damaged.commit([Put(Table.STATE, b"damaged", needle)])
    assert [key for key, _ in damaged.scan(Table.STATE)] == [b"damaged", b"whole"]
    damaged.close()

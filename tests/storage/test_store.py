"""The contract of every store, held by both."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.persistence import Delete, DeleteRange, Put, Table, Write, number_key
from p2p.storage.memory import MemoryStore
from p2p.storage.port import Store, StoreError
from p2p.storage.sqlite import SCAN_PAGE_ROWS, SqliteStore

Maker = Callable[[Path], Store]


def _sqlite(path: Path) -> Store:
    return SqliteStore(path / "test.db")


def _memory(path: Path) -> Store:
    return MemoryStore()


@pytest.fixture(params=[_memory, _sqlite], ids=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    maker: Maker = request.param
    made = maker(tmp_path)
    yield made
    made.close()


def put(key: bytes, value: bytes, table: Table = Table.BLOCKS) -> Put:
    return Put(table, key, value)


def fill(store: Store, count: int) -> list[tuple[bytes, bytes]]:
    rows = [(number_key(number), str(number).encode()) for number in range(count)]
    store.commit([put(key, value) for key, value in rows])
    return rows


def test_what_was_never_written_is_none(store: Store) -> None:
    assert store.get(Table.BLOCKS, b"key") is None
    assert list(store.scan(Table.BLOCKS)) == []


def test_a_written_value_is_read_back_from_its_table_alone(store: Store) -> None:
    store.commit([put(b"key", b"value")])
    assert store.get(Table.BLOCKS, b"key") == b"value"
    assert store.get(Table.STATE, b"key") is None


def test_a_later_put_replaces(store: Store) -> None:
    store.commit([put(b"key", b"old")])
    store.commit([put(b"key", b"new")])
    assert list(store.scan(Table.BLOCKS)) == [(b"key", b"new")]


def test_empty_keys_and_values_are_keys_and_values(store: Store) -> None:
    store.commit([put(b"", b"")])
    assert store.get(Table.BLOCKS, b"") == b""
    assert list(store.scan(Table.BLOCKS)) == [(b"", b"")]


def test_writes_of_a_batch_happen_in_order(store: Store) -> None:
    store.commit(
        [
            put(b"a", b"1"),
            put(b"b", b"1"),
            DeleteRange(Table.BLOCKS, b"a", b"b"),
            put(b"a", b"2"),
            Delete(Table.BLOCKS, b"b"),
        ]
    )
    assert list(store.scan(Table.BLOCKS)) == [(b"a", b"2")]


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.commit([Delete(Table.BLOCKS, b"x"), DeleteRange(Table.BLOCKS, b"z", b"a")])
    assert list(store.scan(Table.BLOCKS)) == []


def test_a_range_ends_before_its_end(store: Store) -> None:
    rows = fill(store, 6)
    store.commit([DeleteRange(Table.BLOCKS, number_key(1), number_key(4))])
    assert list(store.scan(Table.BLOCKS)) == [rows[0], rows[4], rows[5]]


def test_a_scan_is_in_key_order_whatever_the_order_of_writing(store: Store) -> None:
    store.commit([put(number_key(n), b"") for n in (300, 1, 256, 255, 2)])
    keys = [key for key, _ in store.scan(Table.BLOCKS)]
    assert keys == [number_key(n) for n in (1, 2, 255, 256, 300)]


def test_a_scan_keeps_to_its_bounds_and_direction(store: Store) -> None:
    rows = fill(store, 10)
    low, high = number_key(2), number_key(7)
    assert list(store.scan(Table.BLOCKS, low, high)) == rows[2:7]
    assert list(store.scan(Table.BLOCKS, low, high, reverse=True)) == rows[2:7][::-1]
    assert list(store.scan(Table.BLOCKS, low, high, limit=2)) == rows[2:4]
    assert list(store.scan(Table.BLOCKS, limit=2, reverse=True)) == rows[:-3:-1]
    assert list(store.scan(Table.BLOCKS, limit=0)) == []
    assert list(store.scan(Table.BLOCKS, high, low)) == []


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [SCAN_PAGE_ROWS - 1, SCAN_PAGE_ROWS, 2 * SCAN_PAGE_ROWS + 1])
def test_a_long_scan_has_every_row_once(store: Store, count: int, reverse: bool) -> None:
    rows = fill(store, count)
    expected = rows[::-1] if reverse else rows
    assert list(store.scan(Table.BLOCKS, reverse=reverse)) == expected
    limited = store.scan(Table.BLOCKS, limit=count - 1, reverse=reverse)
    assert list(limited) == expected[:-1]


def test_a_scan_survives_the_deletion_of_what_it_reads(store: Store) -> None:
    rows = fill(store, 3 * SCAN_PAGE_ROWS)
    scan = store.scan(Table.BLOCKS)
    assert next(scan) == rows[0]
    store.commit([DeleteRange(Table.BLOCKS, number_key(0), number_key(len(rows)))])
    assert set(scan) <= set(rows)


def test_a_closed_store_says_so_and_closes_twice(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get(Table.BLOCKS, b"key")
    with pytest.raises(StoreError, match="closed"):
        store.commit([put(b"key", b"value")])


def test_readers_see_whole_batches_while_another_thread_commits(store: Store) -> None:
    """Both keys of a batch carry its number, the second written first."""
    batches = 60

    def commit_all() -> None:
        for number in range(batches):
            store.commit([put(b"second", number_key(number)), put(b"first", number_key(number))])

    writer = threading.Thread(target=commit_all)
    writer.start()
    seen = 0
    while seen < batches - 1:
        first = store.get(Table.BLOCKS, b"first") or number_key(0)
        second = store.get(Table.BLOCKS, b"second") or number_key(0)
        assert seen <= int.from_bytes(first) <= int.from_bytes(second)
        seen = int.from_bytes(first)
    writer.join()


# ---- a property: both stores are one dictionary ----------------------------------------------

_keys = st.binary(max_size=2)
_tables = st.sampled_from([Table.BLOCKS, Table.STATE])
_writes = st.one_of(
    st.builds(Put, _tables, _keys, st.binary(max_size=3)),
    st.builds(Delete, _tables, _keys),
    st.builds(DeleteRange, _tables, _keys, _keys),
)


def _apply(model: dict[tuple[Table, bytes], bytes], write: Write) -> None:
    match write:
        case Put():
            model[write.table, write.key] = write.value
        case Delete():
            model.pop((write.table, write.key), None)
        case DeleteRange():
            for table, key in list(model):
                if table is write.table and write.start <= key < write.end:
                    del model[table, key]


@given(batches=st.lists(st.lists(_writes, max_size=6), max_size=6), low=_keys, high=_keys)
def test_every_store_behaves_as_a_sorted_dictionary(
    batches: list[list[Write]], low: bytes, high: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stores = [_memory(Path()), _sqlite(tmp_path_factory.mktemp("store"))]
    for store in stores:
        model: dict[tuple[Table, bytes], bytes] = {}
        for batch in batches:
            store.commit(batch)
            for write in batch:
                _apply(model, write)
        rows = sorted((key, value) for (table, key), value in model.items() if table is Table.STATE)
        within = [(key, value) for key, value in rows if low <= key < high]
        assert list(store.scan(Table.STATE)) == rows
        assert list(store.scan(Table.STATE, low, high)) == within
        assert list(store.scan(Table.STATE, low, high, limit=1, reverse=True)) == within[-1:]
        store.close()

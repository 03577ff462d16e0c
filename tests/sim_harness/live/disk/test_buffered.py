"""What a power cut takes of a file: pages that were not synced, whole or by half, and no others."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from sim_harness.live.disk import buffered
from sim_harness.live.disk.buffered import PAGE_BYTES, Buffered, Cut


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def write(kept: Buffered, file: int, offset: int, data: bytes) -> None:
    kept.before_write(file, offset, len(data))
    os.pwrite(file, data, offset)


def pages(file: int) -> list[bytes]:
    data = os.pread(file, 100 * PAGE_BYTES, 0)
    return [data[start : start + PAGE_BYTES] for start in range(0, len(data), PAGE_BYTES)]


def test_of_what_is_synced_nothing_is_lost(file: int) -> None:
    os.pwrite(file, b"a" * 3 * PAGE_BYTES, 0)
    assert not Buffered()
    assert Buffered().power_cut(file, Random(1)) == Cut(0, 0, 0)
    assert pages(file) == [b"a" * PAGE_BYTES] * 3


@pytest.mark.parametrize("seed", range(20))
def test_each_page_is_new_or_old_and_one_is_half_of_both(file: int, seed: int) -> None:
    os.pwrite(file, b"a" * 8 * PAGE_BYTES, 0)
    kept = Buffered()
    write(kept, file, PAGE_BYTES, b"b" * 6 * PAGE_BYTES)
    write(kept, file, 2 * PAGE_BYTES, b"c" * PAGE_BYTES)
    cut = kept.power_cut(file, Random(seed))
    found = pages(file)
    old, new, half = b"a" * PAGE_BYTES, b"b" * PAGE_BYTES, PAGE_BYTES // 2
    assert [found[0], found[7]] == [old, old]
    torn = [page for page in found if page[:half] != page[half:]]
    assert len(torn) == 1
    assert torn[0][half:] == b"a" * half
    whole = [page for page in found if page not in torn]
    assert set(whole) <= {old, new, b"c" * PAGE_BYTES}
    assert cut == Cut(6 * PAGE_BYTES, (whole.count(old) - 2) * PAGE_BYTES, half)
    assert not kept


@pytest.mark.parametrize("seed", range(20))
def test_what_was_appended_ends_where_the_last_page_that_was_written_ends(
    file: int, seed: int
) -> None:
    os.pwrite(file, b"a" * 100, 0)
    kept = Buffered()
    write(kept, file, 100, b"b" * (3 * PAGE_BYTES - 100))
    cut = kept.power_cut(file, Random(seed))
    data = os.pread(file, 10 * PAGE_BYTES, 0)
    assert data[:100] == b"a" * 100
    assert set(data[100:]) <= {0, ord("b")}
    assert 100 <= len(data) <= 3 * PAGE_BYTES
    assert cut.torn == PAGE_BYTES // 2
    lost = 3 * PAGE_BYTES - data.count(b"b") - 100
    assert lost > 0


@pytest.mark.parametrize("seed", range(10))
def test_what_was_cut_off_comes_back_whole_or_stays_away(file: int, seed: int) -> None:
    os.pwrite(file, b"a" * 2 * PAGE_BYTES, 0)
    kept = Buffered()
    kept.before_truncate(file, 10)
    os.ftruncate(file, 10)
    kept.power_cut(file, Random(seed))
    data = os.pread(file, 10 * PAGE_BYTES, 0)
    assert data in (b"a" * 10, b"a" * 2 * PAGE_BYTES)


def test_what_was_written_long_ago_counts_as_durable(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffered, "PAGES_MAX", 2)
    kept = Buffered()
    write(kept, file, 0, b"b" * 5 * PAGE_BYTES)
    assert kept.power_cut(file, Random(1)).buffered == 2 * PAGE_BYTES
    assert pages(file)[:3] == [b"b" * PAGE_BYTES] * 3

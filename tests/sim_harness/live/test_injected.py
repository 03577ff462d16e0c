"""A clock that is set apart, and a log whose last batch a power cut tore."""

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from p2p.model.persistence import Put, Table
from p2p.storage.sqlite import SqliteStore
from sim_harness.live.injected import HurtStore, InjectedClock, tear_log


def test_a_clock_set_ahead_jumps_and_one_set_right_slows_down_until_it_is() -> None:
    clock = InjectedClock()
    assert abs(clock.error_ms()) < 100
    clock.set_apart(offset_us=5_000_000, drift_ppm=0)
    assert 4_900 < clock.error_ms() < 5_100
    clock.set_apart(offset_us=0, drift_ppm=0)
    assert 4_800 < clock.error_ms() < 5_100  # it never runs backwards


def test_a_torn_commit_is_lost_whole_and_the_ones_before_it_are_not(tmp_path: Path) -> None:
    path = tmp_path / "gigmesh.db"
    pid = os.fork()
    if pid == 0:
        try:
            store = HurtStore(SqliteStore(path))
            for number in range(5):
                store.commit([Put(Table.META, b"%d" % number, bytes(3_000))])
            store.tears = True
            store.commit([Put(Table.META, b"5", bytes(9_000))])
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert tear_log(path) == 2_048
    with closing(SqliteStore(path)) as found:
        keys = [key for key, _ in found.scan(Table.META) if key.isdigit()]
    assert keys == [b"0", b"1", b"2", b"3", b"4"]


def test_without_a_tear_the_last_commit_of_a_killed_process_is_there(tmp_path: Path) -> None:
    path = tmp_path / "gigmesh.db"
    pid = os.fork()
    if pid == 0:
        try:
            store = HurtStore(SqliteStore(path))
            store.tears = True
            store.commit([Put(Table.META, b"5", bytes(9_000))])
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    with closing(SqliteStore(path)) as found:
        assert found.get(Table.META, b"5") == bytes(9_000)


def test_a_slow_disk_takes_its_time_and_counts_it(tmp_path: Path) -> None:
    with closing(HurtStore(SqliteStore(tmp_path / "gigmesh.db"))) as store:
        store.add_us = 30_000
        store.commit([Put(Table.META, b"1", b"")])
        store.commit([])
        assert store.commits == 1
        assert store.commits_s >= 0.03


@pytest.mark.parametrize("content", [b"", b"no log at all"])
def test_there_is_nothing_to_tear_in_what_is_no_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db-wal").write_bytes(content)
    assert tear_log(tmp_path / "x.db") == 0

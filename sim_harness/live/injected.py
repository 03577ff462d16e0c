"""A node's clock and disk as faults have them: injected, so that no privilege is needed.

The clock is the product's over a wall clock that can be set apart from the machine's; the disk is
the product's store, whose commits can be slow, or be the last thing that the process does.
"""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from p2p.model.persistence import Table, Write
from p2p.node.clock import SteadyClock
from p2p.storage.port import Store
from p2p.storage.sqlite import SqliteStore
from p2p.storage.wrapped import WrappedStore

PPM: Final = 1_000_000
US: Final = 1_000_000


class InjectedClock(SteadyClock):
    """Unix time that may be wrong; without skew it is the machine's."""

    def __init__(self) -> None:
        self._offset_us = 0
        self._drift_ppm = 0
        self._drifted_s = 0.0
        self._from_s = time.monotonic()
        super().__init__(self._wall_s, self._monotonic_s)

    def set_apart(self, *, offset_us: int, drift_ppm: int) -> None:
        """From now on; zeros set it right."""
        self._drifted_s = self._drift_s() if offset_us or drift_ppm else 0.0
        self._from_s = time.monotonic()
        self._offset_us, self._drift_ppm = offset_us, drift_ppm

    def error_ms(self) -> float:
        """How far this clock is ahead of the machine's."""
        return self.now_ms() - time.time() * 1000

    def _drift_s(self) -> float:
        return self._drifted_s + (time.monotonic() - self._from_s) * self._drift_ppm / PPM

    def _wall_s(self) -> float:
        return time.time() + self._offset_us / US + self._drift_s()

    def _monotonic_s(self) -> float:
        return time.monotonic() + self._drift_s()


class HurtStore(WrappedStore):
    """A store whose commits are hindered; reads are not."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.add_us = 0
        """Added to every commit."""
        self.tears = False
        """Whether the process dies within the next commit."""
        self.committed: Callable[[Sequence[Write]], None] | None = None
        """Hears of every commit that is durable, in the thread that commits."""
        self.commits = 0
        self.commits_s = 0.0
        """What they took together."""

    def commit(self, writes: Sequence[Write]) -> None:
        """As the inner store, in whatever thread the node commits in."""
        began_s = time.perf_counter()
        if self.add_us and writes:
            time.sleep(self.add_us / US)
        if self.tears and writes:
            # The log keeps the batch at its end, where `tear_log` finds it.
            if isinstance(self.inner, SqliteStore):
                keep_log(self.inner)
            self.inner.commit(writes)
            os.kill(os.getpid(), signal.SIGKILL)
        self.inner.commit(writes)
        if writes:
            self.commits += 1
            self.commits_s += time.perf_counter() - began_s
            if self.committed is not None:
                self.committed(writes)


def keep_log(store: SqliteStore) -> None:
    """Let the next commit stay in the write-ahead log, and not be folded into the file."""
    connection: sqlite3.Connection = store._writer
    connection.execute("PRAGMA wal_autocheckpoint = 0")


WAL_HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24


def tear_log(database: Path) -> int:
    """Tear the last page of a dead node's log, as a power cut within the write does.

    The second half of the last frame becomes zeros, so that its checksum, and with it the last
    batch, is no good. Returns the bytes torn; 0 when there is no frame.
    """
    log = database.with_name(f"{database.name}-wal")
    if not log.exists() or log.stat().st_size <= WAL_HEADER_BYTES:
        return 0
    with log.open("r+b") as file:
        header = file.read(WAL_HEADER_BYTES)
        page = int.from_bytes(header[8:12])
        frame = FRAME_HEADER_BYTES + page
        last = _last_frame(file.read(), header[16:24], frame)
        if last is None:
            return 0
        torn = page // 2
        file.seek(WAL_HEADER_BYTES + last * frame + FRAME_HEADER_BYTES + page - torn)
        file.write(bytes(torn - 8) + b"\x01torn\x00\x00\x01")
        file.flush()
        os.fsync(file.fileno())
    return torn


def damage_page(database: Path, table: str, draws: Random) -> str:
    """Overwrite bytes in a page of a dead node's file; what was damaged, for people.

    `table` names one; empty: any that holds something, but for the one with the sign state.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
        roots: dict[str, int] = dict(
            connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'")
        )
        count: dict[str, int] = {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in roots
        }
    able = sorted(name for name in roots if count[name] and name != Table.META.value)
    chosen = table if table in roots else draws.choice(able) if able else ""
    if not chosen:
        return "nothing"
    start = (roots[chosen] - 1) * page_bytes
    with database.open("r+b") as file:
        # Cells of a b-tree page stand at its end.
        file.seek(start + page_bytes - page_bytes // 4)
        file.write(draws.randbytes(64))
        file.flush()
        os.fsync(file.fileno())
    return f"page {roots[chosen]} ({chosen})"


def _last_frame(data: bytes, salt: bytes, frame: int) -> int | None:
    """The number of the last frame of the present log: older ones have another salt."""
    last = None
    for number in range(len(data) // frame):
        if data[number * frame + 8 : number * frame + 16] != salt:
            break
        last = number
    return last

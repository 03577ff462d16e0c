"""A modelled disk: one batch of writes at a time, durable after an fsync; a crash may lose it.

`crash_point` stops a process exactly where a power cut hurts most: it is asked before a batch is
durable and again after, before anything that was to follow it.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from p2p.model.persistence import Table, Write
from p2p.storage.memory import MemoryStore
from p2p.storage.rescue import SIGNED
from sim_harness.virtual.heap import EventHeap

SYNC_US: Final = 2_000
"""An fsync of a good SSD; up to twice as long, by lot."""

PAGE_BYTES: Final = 4_096

PAGES: Final = {table.value: table for table in Table if table not in SIGNED}
"""Tables whose pages may be damaged, by name."""

CrashPoint = Callable[[int, bool], bool]
"""Of a batch's number and whether it is durable: whether the process dies there."""


class Disk:
    """What the processes of one node wrote, and the batch under way."""

    def __init__(self, heap: EventHeap, draws: Random) -> None:
        self.store = MemoryStore()
        self.batches = 0
        """Batches begun so far, over all processes."""
        self.crash_point: CrashPoint | None = None
        self.slow_us = 0
        """Added to every fsync."""
        self.is_full = False
        """Whether writes fail for want of space: the process must stop with nothing half done."""
        self._heap = heap
        self._draws = draws
        self.is_busy = False
        """Whether a batch is under way."""
        self._writing: Sequence[Write] = ()

    def dies(self, *, durable: bool) -> bool:
        """Whether the process is to die at this point of the batch under way."""
        return self.crash_point is not None and self.crash_point(self.batches, durable)

    def write(
        self,
        writes: Sequence[Write],
        then: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """Make a batch durable; `then` follows, unless the process crashes before.

        `failed` follows instead when the disk refuses, with the reason.
        """
        assert not self.is_busy, "one batch at a time"
        self.batches += 1
        number = self.batches
        self.is_busy, self._writing = True, writes

        def synced() -> bytes:
            if not self.is_busy or self.batches != number:
                return b"lost"
            if self.is_full:
                self.is_busy = False
                failed("no space left on the disk")
                return b"refused"
            self.is_busy = False
            self.store.commit(writes)
            then()
            return b"%d" % len(writes)

        sync_us = SYNC_US + self._draws.randint(0, SYNC_US) + self.slow_us
        self._heap.after(sync_us, "synced", synced)

    def corrupt_page(self, table: str = "") -> str:
        """Damage a page of neighbouring rows, drawn from a table or from all in PAGES; says what.

        The others stay whole: who lost what it signed must not come back with its key.
        """
        tables = [one for one in Table if one.value == table] if table else list(PAGES.values())
        rows = [(one, key, size) for one in tables for key, size in self.store.sizes(one)]
        if not rows:
            return "nothing"
        place = self._draws.randrange(len(rows))
        first, used, count = rows[place][0], 0, 0
        for found, key, size in rows[place:]:
            if found is not first or (count and used + size > PAGE_BYTES):
                break
            self.store.damage(found, key)
            used, count = used + size, count + 1
        return f"{count} rows of {first.value}"

    def crash(self, *, survives: bool | None = None) -> None:
        """The process dies: the batch under way is lost or was written, by lot unless said."""
        if not self.is_busy:
            return
        writes, self.is_busy = self._writing, False
        drawn = self._draws.random() < 0.5
        if drawn if survives is None else survives:
            self.store.commit(writes)

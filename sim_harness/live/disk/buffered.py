"""What of a file is not durable yet: pages that were written since its last sync, as they were.

    before_write, before_truncate: remember how the pages stood that are about to change
    synced: all is durable
    power_cut: each page keeps its new bytes or gets its old ones back; one is torn in the middle

Writes go to the file beneath at once, so that everybody reads what was written; a power cut takes
some of them back. Disks write pages in any order, so each page is drawn for itself.
"""

import os
from random import Random
from typing import Final, NamedTuple

PAGE_BYTES: Final = 4_096
PAGES_MAX: Final = 4_096
"""Of a file; what was written before that counts as durable: kernels write back by themselves."""


class Cut(NamedTuple):
    """What a power cut took, in bytes."""

    buffered: int = 0
    """Written and not synced."""
    dropped: int = 0
    torn: int = 0
    """Of one page, whose other half was written."""


class Buffered:
    """What one file has to lose."""

    def __init__(self) -> None:
        self._pages: dict[int, bytes] = {}
        """By number, as they are durable; nothing of a page that is not there."""
        self._size: int | None = None
        """As it is durable; None: as it is."""

    def __bool__(self) -> bool:
        return bool(self._pages) or self._size is not None

    def before_write(self, descriptor: int, offset: int, size: int) -> None:
        """Remember what is about to be overwritten. Raises OSError."""
        if size:
            self._remember(descriptor, offset, offset + size)

    def before_truncate(self, descriptor: int, size: int) -> None:
        """Remember what is about to be cut off. Raises OSError."""
        end = os.fstat(descriptor).st_size
        self._remember(descriptor, min(size, end), max(size, end))

    def _remember(self, descriptor: int, start: int, end: int) -> None:
        if self._size is None:
            self._size = os.fstat(descriptor).st_size
        for page in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)):
            if page not in self._pages:
                room = max(0, min(PAGE_BYTES, self._size - page * PAGE_BYTES))
                self._pages[page] = os.pread(descriptor, room, page * PAGE_BYTES)
        while len(self._pages) > PAGES_MAX:
            del self._pages[next(iter(self._pages))]

    def power_cut(self, descriptor: int, draws: Random) -> Cut:
        """Take back what a power cut takes back. Raises OSError."""
        if self._size is None:
            return Cut()
        size, now = self._size, os.fstat(descriptor).st_size
        if now < size and draws.random() < 0.5:
            # What was cut off is gone for good.
            size = now
        pages = [page for page in sorted(self._pages) if page * PAGE_BYTES < max(now, size)]
        torn_page = draws.choice(pages) if pages else -1
        buffered = dropped = torn = 0
        end = size
        for page in pages:
            start = page * PAGE_BYTES
            written = max(0, min(PAGE_BYTES, now - start))
            length = max(written, min(PAGE_BYTES, size - start))
            old = self._pages[page][:length].ljust(length, b"\0")
            buffered += written
            if page == torn_page and written == length:
                half = length // 2
                os.pwrite(descriptor, old[half:], start + half)
                torn += length - half
                end = max(end, start + half)
            elif written < length or draws.random() < 0.5:
                os.pwrite(descriptor, old, start)
                dropped += written
            else:
                end = max(end, start + length)
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
        self._pages, self._size = {}, None
        return Cut(buffered, dropped, torn)

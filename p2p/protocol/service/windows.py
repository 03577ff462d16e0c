"""Windows: the pieces in which work and pay advance.

A transfer is cut into windows of whole chunks. The price of storage is due with the last window of
a put, when the provider holds the whole blob: a put that breaks off then costs its consumer no more
than the bytes that moved, and its provider one window of bytes.
"""

import msgspec

from p2p.model.blob import Manifest
from p2p.model.commands import Work
from p2p.primitives.units import MIB, div_ceil


class Window(msgspec.Struct, frozen=True):
    """Consecutive chunks between two signatures."""

    first_chunk: int
    chunk_count: int
    work: Work
    is_last: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer from `from_chunk` to the end of a blob, the same at both parties."""

    manifest: Manifest
    is_put: bool
    window_bytes: int
    from_chunk: int = 0
    mib_epochs: int = 0
    """Storage paid for in advance, with the last window."""

    @property
    def window_chunks(self) -> int:
        """Chunks in a full window, at least one."""
        return max(1, self.window_bytes // self.manifest.chunk_bytes)

    @property
    def windows(self) -> int:
        """Number of windows; an empty put has one, since its storage is agreed on in it."""
        count = div_ceil(self.manifest.chunks - self.from_chunk, self.window_chunks)
        return max(1, count) if self.is_put else count

    def window(self, index: int) -> Window:
        """Window `index` of the transfer. Raises IndexError."""
        if not 0 <= index < self.windows:
            raise IndexError(f"window {index} of {self.windows}")
        first = self.from_chunk + index * self.window_chunks
        count = min(self.window_chunks, self.manifest.chunks - first)
        is_last = index == self.windows - 1
        work = self.moved(first, count)
        if is_last:
            work += Work(mib_epochs=self.mib_epochs)
        return Window(first, count, work, is_last)

    def moved(self, first_chunk: int, count: int) -> Work:
        """The work of moving `count` chunks."""
        chunk, whole = self.manifest.chunk_bytes, self.manifest.size_bytes
        size = min((first_chunk + count) * chunk, whole) - min(first_chunk * chunk, whole)
        return Work(bytes_put=size) if self.is_put else Work(bytes_get=size)


def plan_put(manifest: Manifest, *, epochs: int, window_bytes: int) -> Plan:
    """The plan of storing a blob for so many epochs; every MiB begun counts."""
    mib_epochs = div_ceil(manifest.size_bytes, MIB) * epochs
    return Plan(manifest=manifest, is_put=True, window_bytes=window_bytes, mib_epochs=mib_epochs)


def plan_get(manifest: Manifest, *, from_chunk: int, window_bytes: int) -> Plan:
    """The plan of fetching a blob from a chunk onwards."""
    return Plan(manifest=manifest, is_put=False, window_bytes=window_bytes, from_chunk=from_chunk)


def total_work(plan: Plan) -> Work:
    """All work of a plan."""
    moved = plan.moved(plan.from_chunk, plan.manifest.chunks - plan.from_chunk)
    return moved + Work(mib_epochs=plan.mib_epochs)


def agree_window(chunk_bytes: int, ours: int, theirs: int) -> int:
    """The window that both accept: the smaller wish in whole chunks, but one at least."""
    return max(1, min(ours, theirs) // chunk_bytes) * chunk_bytes

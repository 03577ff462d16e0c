"""Local files: what is added, read and hashed; what is fetched, written aside and renamed."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import trio

from p2p.model.blob import Manifest, chunk_bytes_for, chunk_leaves, manifest_of
from p2p.primitives.units import MIB, Digest
from p2p.storage.blobs import BlobFault, read_at

HASH_BYTES: Final = 8 * MIB
"""Hashed in one call of a worker thread: about 10 ms, so that a cancel is prompt."""


class SourceFile:
    """A file being added: its shape, its leaves, and its chunks again."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises OSError, ValueError when it is too large or no file."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY)
        self._stat = os.fstat(self._fd)
        chunk_bytes = chunk_bytes_for(self._stat.st_size)
        if not os.path.isfile(path) or chunk_bytes is None:
            os.close(self._fd)
            raise ValueError("too large" if chunk_bytes is None else "not a regular file")
        self.size_bytes = self._stat.st_size
        self.chunk_bytes = chunk_bytes
        self.leaves: list[Digest] = []

    def __enter__(self) -> "SourceFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    async def hash(self, report: Callable[[int], None]) -> Manifest:
        """Hash the file in constant memory; `report` hears the bytes done. Raises OSError."""
        for start in range(0, self.size_bytes, HASH_BYTES):
            self.leaves += await trio.to_thread.run_sync(self._hash, start)
            report(min(start + HASH_BYTES, self.size_bytes))
        return manifest_of(self.leaves, size_bytes=self.size_bytes, chunk_bytes=self.chunk_bytes)

    def _hash(self, start: int) -> list[Digest]:
        leaves: list[Digest] = []
        end = min(start + HASH_BYTES, self.size_bytes)
        for piece in range(start, end, MIB):
            leaves += chunk_leaves(self._read(min(MIB, end - piece), piece), self.chunk_bytes)
        return leaves

    def read(self, first_chunk: int, count: int) -> bytes:
        """Bytes of consecutive chunks. Raises OSError, BlobFault when the file changed."""
        start = first_chunk * self.chunk_bytes
        return self._read(min(count * self.chunk_bytes, self.size_bytes - start), start)

    def _read(self, size: int, start: int) -> bytes:
        data = read_at(self._fd, size, start)
        if len(data) != size:
            raise BlobFault(f"{self.path} changed while it was being added")
        return data

    def is_unchanged(self) -> bool:
        """Whether the file looks as it did when it was opened."""
        now = os.fstat(self._fd)
        return (now.st_size, now.st_mtime_ns) == (self._stat.st_size, self._stat.st_mtime_ns)


class TargetFile:
    """A file being fetched: hidden beside its destination until it is whole."""

    def __init__(self, destination: Path) -> None:
        """Start it. Raises OSError."""
        self.destination = destination
        self._fd, self._name = tempfile.mkstemp(
            prefix=f".{destination.name}.", suffix=".part", dir=destination.parent
        )
        self._done = False

    def __enter__(self) -> "TargetFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)
        if not self._done:
            Path(self._name).unlink(missing_ok=True)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append chunks. Raises OSError."""
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._fd, view) :]

    def complete(self) -> None:
        """Make it durable and give it its name. Raises OSError."""
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(self._fd, 0o666 & ~mask)
        os.fsync(self._fd)
        os.replace(self._name, self.destination)
        self._done = True

"""Blob files: content-addressed, whole or not there.

    incoming/<number>/{data,leaves}        being written; swept away at start
    blobs/<2 hex>/<blob id>/{data,leaves}  complete: both files synced before the folder was renamed

A put reserves its room before the first byte moves, so that transfers side by side cannot promise
one byte twice. A folder moves as a whole: a crash leaves a blob entire or in `incoming`.

Calls are synchronous and may wait for the disk: shells make them in a worker thread. Bookkeeping is
guarded by a lock; one writer or reader belongs to one task.
"""

import errno
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from p2p.model.blob import LEAVES_BYTES_MAX, Manifest, split_leaves
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.digests import DIGEST_BYTES
from p2p.primitives.units import KIB, MIB, BlobId

SYNC_BYTES: Final = 32 * MIB
"""Written between two syncs of a file under way, so that the last one is short."""
DISK_MARGIN_BYTES: Final = 64 * MIB
"""Left free on the disk for the node's own store and logs."""
MANIFEST_BYTES_MAX: Final = 256
BUFFERS_MAX: Final = 512
"""Buffers in one write; Linux takes 1024."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BlobFault(Exception):
    """The disk failed us; the text is a sentence for a person."""


class NoSpace(BlobFault):
    """There is no room for the blob; nothing of it remains."""


class BlobFiles:
    """The blobs of one folder."""

    def __init__(self, directory: Path, *, capacity_bytes: int) -> None:
        """Open or make the folder, and sweep what a crash left. Raises BlobFault."""
        self.capacity_bytes = capacity_bytes
        self._incoming = directory / "incoming"
        self._blobs = directory / "blobs"
        self._lock = threading.Lock()
        """Guards the numbers below; never held while the disk works."""
        self._names = threading.Lock()
        """Held while a folder gets or loses its name, which waits for the disk."""
        self._manifests: dict[BlobId, Manifest] = {}
        self._used_bytes = 0
        self._reserved_bytes = 0
        self._unwritten_bytes = 0
        """Part of the reservations that the disk still counts as free."""
        self._next = 0
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            self._blobs.mkdir(exist_ok=True)
            self._sweep()
        except OSError as error:
            raise _fault("opening the blob folder", error) from error

    @property
    def used_bytes(self) -> int:
        """Bytes of complete blobs."""
        return self._used_bytes

    def free_bytes(self) -> int:
        """Room for further blobs: within our capacity, and on the disk. Raises BlobFault."""
        try:
            disk_bytes = shutil.disk_usage(self._blobs).free
        except OSError as error:
            raise _fault("measuring the disk", error) from error
        with self._lock:
            ours = self.capacity_bytes - self._used_bytes - self._reserved_bytes
            disk = disk_bytes - self._unwritten_bytes - DISK_MARGIN_BYTES
        return max(0, min(ours, disk))

    def blobs(self) -> tuple[BlobId, ...]:
        """Complete blobs, by id."""
        with self._lock:
            return tuple(sorted(self._manifests))

    def manifest(self, blob: BlobId) -> Manifest | None:
        """The manifest of a complete blob, or None."""
        with self._lock:
            return self._manifests.get(blob)

    def leaves(self, blob: BlobId) -> bytes:
        """The leaves of a complete blob, as they go over the wire. Raises BlobFault, KeyError."""
        manifest = self._manifests[blob]
        try:
            return self._read_leaves(self._folder(blob))[1]
        except (OSError, Malformed) as error:
            raise _fault(f"reading the leaves of {manifest.blob.hex()}", error) from error

    def begin(self, manifest: Manifest) -> "BlobWriter":
        """Reserve room and start to write. Raises NoSpace, BlobFault."""
        need = _footprint(manifest)
        free = self.free_bytes()
        with self._lock:
            if need > free or need > self.capacity_bytes - self._used_bytes - self._reserved_bytes:
                raise NoSpace(f"{need} bytes wanted, {free} free")
            self._reserved_bytes += need
            self._unwritten_bytes += need
            self._next += 1
            folder = self._incoming / str(self._next)
        try:
            return BlobWriter(self, manifest, folder)
        except OSError as error:
            self._release(need, unwritten_bytes=need)
            shutil.rmtree(folder, ignore_errors=True)
            raise _fault("starting a blob", error) from error

    def open(self, blob: BlobId) -> "BlobReader":
        """Read a complete blob. Raises KeyError, BlobFault."""
        with self._lock:
            manifest = self._manifests[blob]
        try:
            return BlobReader(manifest, self._folder(blob) / "data")
        except OSError as error:
            raise _fault(f"opening {blob.hex()}", error) from error

    def remove(self, blob: BlobId) -> bool:
        """Let a blob go; whether it was there. Open readers read on. Raises BlobFault."""
        with self._names:
            with self._lock:
                manifest = self._manifests.pop(blob, None)
                if manifest is None:
                    return False
                self._used_bytes -= _footprint(manifest)
                self._next += 1
                trash = self._incoming / str(self._next)
            try:
                os.rename(self._folder(blob), trash)  # atomic: never half a blob
            except OSError as error:
                raise _fault(f"removing {blob.hex()}", error) from error
        shutil.rmtree(trash, ignore_errors=True)  # what remains is swept at the next start
        return True

    def retain(self, wanted: Iterable[BlobId]) -> tuple[BlobId, ...]:
        """Remove every blob that is not wanted; which those were. Raises BlobFault."""
        keep = frozenset(wanted)
        gone = tuple(blob for blob in self.blobs() if blob not in keep)
        for blob in gone:
            self.remove(blob)
        return gone

    # ---- for the writers -------------------------------------------------------------------------

    def _adopt(self, manifest: Manifest, folder: Path) -> None:
        """Give a finished folder its name. Raises OSError."""
        blob, target = manifest.blob, self._folder(manifest.blob)
        with self._names:
            if self.manifest(blob) is not None:  # a twin was faster
                shutil.rmtree(folder, ignore_errors=True)
                return
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True)
                _sync_folder(self._blobs)
            try:
                os.rename(folder, target)
                _sync_folder(target.parent)
            except OSError:
                # Named, but perhaps not for good: it must not stand in the way of the next try.
                shutil.rmtree(target, ignore_errors=True)
                raise
            with self._lock:
                self._manifests[blob] = manifest
                self._used_bytes += _footprint(manifest)

    def _release(self, reserved_bytes: int, *, unwritten_bytes: int) -> None:
        with self._lock:
            self._reserved_bytes -= reserved_bytes
            self._unwritten_bytes -= unwritten_bytes

    def _wrote(self, size: int) -> None:
        with self._lock:
            self._unwritten_bytes -= size

    # ---- at start --------------------------------------------------------------------------------

    def _sweep(self) -> None:
        for folder in sorted(self._incoming.iterdir()):
            shutil.rmtree(folder)
        for group in sorted(self._blobs.iterdir()):
            for folder in sorted(group.iterdir()):
                manifest = self._whole(folder)
                if manifest is None:
                    shutil.rmtree(folder)
                    continue
                self._manifests[manifest.blob] = manifest
                self._used_bytes += _footprint(manifest)

    def _whole(self, folder: Path) -> Manifest | None:
        """The manifest of a folder whose files have the right sizes and leaves, or None."""
        try:
            manifest, leaves = self._read_leaves(folder)
            whole = (folder / "data").stat().st_size == manifest.size_bytes
        except (FileNotFoundError, NotADirectoryError, Malformed):
            return None
        named = folder.name == manifest.blob.hex()
        return manifest if whole and named and split_leaves(manifest, leaves) is not None else None

    def _read_leaves(self, folder: Path) -> tuple[Manifest, bytes]:
        data = (folder / "leaves").read_bytes()
        if not data or len(data) > 1 + MANIFEST_BYTES_MAX + LEAVES_BYTES_MAX:
            raise Malformed("not a file of leaves")
        end = 1 + data[0]
        return decode(data[1:end], Manifest, bytes_max=MANIFEST_BYTES_MAX), data[end:]

    def _folder(self, blob: BlobId) -> Path:
        text = blob.hex()
        return self._blobs / text[:2] / text


class BlobWriter:
    """A blob on its way to the disk. Leaving the `with` block without `complete` abandons it."""

    def __init__(self, files: BlobFiles, manifest: Manifest, folder: Path) -> None:
        """Made by `BlobFiles.begin`. Raises OSError."""
        self.manifest = manifest
        self._files = files
        self._folder = folder
        self._written_bytes = 0
        self._synced_bytes = 0
        self._done = False
        os.mkdir(folder)
        self._fd = os.open(folder / "data", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append chunks that were checked. Raises NoSpace, BlobFault."""
        try:
            _write_all(self._fd, chunks)
            size = sum(map(len, chunks))
            self._written_bytes += size
            self._files._wrote(size)
            if self._written_bytes - self._synced_bytes >= SYNC_BYTES:
                os.fsync(self._fd)
                self._synced_bytes = self._written_bytes
        except OSError as error:
            raise _fault("writing a blob", error) from error

    def complete(self, leaves: bytes) -> None:
        """Make the blob durable. Raises NoSpace, BlobFault; ValueError when it is not whole."""
        if self._written_bytes != self.manifest.size_bytes:
            raise ValueError(f"{self._written_bytes} of {self.manifest.size_bytes} bytes written")
        head = encode(self.manifest)
        try:
            os.fsync(self._fd)
            fd = os.open(self._folder / "leaves", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _write_all(fd, [bytes([len(head)]), head, leaves])
                os.fsync(fd)
            finally:
                os.close(fd)
            _sync_folder(self._folder)
            self._files._adopt(self.manifest, self._folder)
        except OSError as error:
            raise _fault("completing a blob", error) from error
        self._end()

    def abandon(self) -> None:
        """Give up, unless complete: nothing remains. Never raises."""
        if not self._done:
            self._end()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        self._done = True
        os.close(self._fd)
        need = _footprint(self.manifest)
        self._files._release(need, unwritten_bytes=need - self._written_bytes)


class BlobReader:
    """A complete blob, read by chunks."""

    def __init__(self, manifest: Manifest, path: Path) -> None:
        """Made by `BlobFiles.open`. Raises OSError."""
        self.manifest = manifest
        self._fd = os.open(path, os.O_RDONLY)

    def __enter__(self) -> "BlobReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def read(self, first_chunk: int, count: int) -> bytes:
        """The bytes of consecutive chunks. Raises BlobFault, also when the file is short."""
        chunk, size = self.manifest.chunk_bytes, self.manifest.size_bytes
        start = first_chunk * chunk
        want = min(start + count * chunk, size) - start
        try:
            data = read_at(self._fd, want, start)
        except OSError as error:
            raise _fault("reading a blob", error) from error
        if len(data) != want:
            raise BlobFault(f"{self.manifest.blob.hex()} is shorter than it was")
        return data


def read_at(fd: int, size: int, offset: int) -> bytes:
    """`size` bytes from `offset`; fewer at the end of the file. Raises OSError."""
    data = os.pread(fd, size, offset)
    while 0 < len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _footprint(manifest: Manifest) -> int:
    return manifest.size_bytes + manifest.chunks * DIGEST_BYTES + KIB


def _write_all(fd: int, parts: Sequence[bytes]) -> None:
    views = [memoryview(part) for part in parts if part]
    while views:
        written = os.writev(fd, views[:BUFFERS_MAX])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fault(doing: str, error: Exception) -> BlobFault:
    if isinstance(error, OSError) and error.errno in _FULL:
        return NoSpace(f"{doing}: {error.strerror}")
    return BlobFault(f"{doing}: {error}")

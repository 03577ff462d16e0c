"""Blob files: whole or not there, room reserved before it is used, nothing left by a crash."""

import errno
import os as real_os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2p.model.blob import CHUNK_BYTES_MIN, Manifest, chunk_leaves, manifest_of
from p2p.primitives.digests import leaf_digest
from p2p.storage import blobs as module
from p2p.storage.blobs import BlobFault, BlobFiles, NoSpace

CHUNK = CHUNK_BYTES_MIN
CAPACITY = 100 * CHUNK


def content(seed: int, size: int = 3 * CHUNK + 7) -> bytes:
    return bytes((seed + index * 7) % 251 for index in range(size))


def shape(data: bytes) -> tuple[Manifest, bytes]:
    leaves = chunk_leaves(data, CHUNK)
    manifest = manifest_of(leaves, size_bytes=len(data), chunk_bytes=CHUNK)
    return manifest, b"".join(leaves)


def chunks(data: bytes) -> list[bytes]:
    return [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]


def put(files: BlobFiles, data: bytes) -> Manifest:
    manifest, leaves = shape(data)
    with files.begin(manifest) as writer:
        for chunk in chunks(data):
            writer.write([chunk])
        writer.complete(leaves)
    return manifest


def read(files: BlobFiles, manifest: Manifest) -> bytes:
    with files.open(manifest.blob) as reader:
        return reader.read(0, manifest.chunks)


def left_over(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "incoming").iterdir())


@pytest.fixture
def files(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path, capacity_bytes=CAPACITY)


def test_a_blob_is_read_back_by_chunk_also_after_a_restart(
    files: BlobFiles, tmp_path: Path
) -> None:
    data = content(1)
    manifest = put(files, data)
    for each in (files, BlobFiles(tmp_path, capacity_bytes=CAPACITY)):
        assert each.blobs() == (manifest.blob,)
        assert each.manifest(manifest.blob) == manifest
        assert each.leaves(manifest.blob) == shape(data)[1]
        assert read(each, manifest) == data
        with each.open(manifest.blob) as reader:
            assert reader.read(2, 2) == data[2 * CHUNK :]
            assert reader.read(3, 1) == data[3 * CHUNK :]
        assert each.used_bytes == files.used_bytes
    assert left_over(tmp_path) == []


def test_the_empty_blob_is_kept_too(files: BlobFiles) -> None:
    manifest = put(files, b"")
    assert read(files, manifest) == b""


def test_a_blob_that_is_not_completed_leaves_nothing(files: BlobFiles, tmp_path: Path) -> None:
    free = files.free_bytes()
    manifest, leaves = shape(content(1))
    with files.begin(manifest) as writer:
        writer.write(chunks(content(1))[:2])
        assert files.free_bytes() < free
        with pytest.raises(ValueError, match="2048 of 3079 bytes written"):
            writer.complete(leaves)
    assert files.free_bytes() == free
    assert files.blobs() == ()
    assert left_over(tmp_path) == []


def test_room_is_reserved_before_a_byte_moves(tmp_path: Path) -> None:
    manifest, leaves = shape(content(1))
    files = BlobFiles(tmp_path, capacity_bytes=2 * len(content(1)))
    with files.begin(manifest) as first:
        with pytest.raises(NoSpace):
            files.begin(shape(content(2))[0])
        first.write(chunks(content(1)))
        first.complete(leaves)
    with pytest.raises(NoSpace):
        files.begin(shape(content(2))[0])
    assert files.remove(manifest.blob)
    put(files, content(2))


def test_a_disk_without_a_margin_takes_nothing(
    files: BlobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DISK_MARGIN_BYTES", 2**62)
    assert files.free_bytes() == 0
    with pytest.raises(NoSpace):
        files.begin(shape(content(1))[0])


def test_two_writers_of_one_blob_leave_one_copy(files: BlobFiles, tmp_path: Path) -> None:
    data = content(1)
    manifest, leaves = shape(data)
    with files.begin(manifest) as first, files.begin(manifest) as second:
        for writer in (first, second):
            writer.write(chunks(data))
        first.complete(leaves)
        used = files.used_bytes
        second.complete(leaves)
    assert files.used_bytes == used
    assert read(files, manifest) == data
    assert left_over(tmp_path) == []


def test_unwanted_blobs_are_let_go_and_open_readers_read_on(
    files: BlobFiles, tmp_path: Path
) -> None:
    kept, gone = put(files, content(1)), put(files, content(2))
    with files.open(gone.blob) as reader:
        assert files.retain([kept.blob]) == (gone.blob,)
        assert reader.read(0, 4) == content(2)
    assert files.blobs() == (kept.blob,)
    assert not files.remove(gone.blob)
    with pytest.raises(KeyError):
        files.open(gone.blob)
    assert left_over(tmp_path) == []


# ---- damage -------------------------------------------------------------------------------------


def folder_of(directory: Path, manifest: Manifest) -> Path:
    text = manifest.blob.hex()
    return directory / "blobs" / text[:2] / text


def cut_data(folder: Path) -> None:
    real_os.truncate(folder / "data", 5)


def lose_data(folder: Path) -> None:
    (folder / "data").unlink()


def cut_leaves(folder: Path) -> None:
    real_os.truncate(folder / "leaves", 50)


def empty_leaves(folder: Path) -> None:
    (folder / "leaves").write_bytes(b"")


def change_leaves(folder: Path) -> None:
    data = bytearray((folder / "leaves").read_bytes())
    data[-1] ^= 1
    (folder / "leaves").write_bytes(data)


def misname(folder: Path) -> None:
    folder.rename(folder.parent / ("00" * 32))


@pytest.mark.parametrize(
    "damage", [cut_data, lose_data, cut_leaves, empty_leaves, change_leaves, misname]
)
def test_a_torn_blob_is_swept_at_start(
    files: BlobFiles, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole, torn = put(files, content(1)), put(files, content(2))
    damage(folder_of(tmp_path, torn))
    files = BlobFiles(tmp_path, capacity_bytes=CAPACITY)
    assert files.blobs() == (whole.blob,)
    put(files, content(2))
    assert read(files, torn) == content(2)


def test_a_file_that_shrank_is_a_fault_and_not_a_short_answer(
    files: BlobFiles, tmp_path: Path
) -> None:
    manifest = put(files, content(1))
    cut_data(folder_of(tmp_path, manifest))
    with files.open(manifest.blob) as reader, pytest.raises(BlobFault, match="shorter"):
        reader.read(0, 4)
    empty_leaves(folder_of(tmp_path, manifest))
    with pytest.raises(BlobFault, match="leaves"):
        files.leaves(manifest.blob)


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "incoming").write_text("a file")
    with pytest.raises(BlobFault, match="opening the blob folder"):
        BlobFiles(tmp_path, capacity_bytes=CAPACITY)


# ---- crashes ------------------------------------------------------------------------------------


class Crash(BaseException):
    """The machine went down."""


class FlakyDisk:
    """Stands in for `os`: fails at one call, and remembers what is not yet on the platter."""

    def __init__(self, fail_at: int, fault: BaseException) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.fault = fault
        self.unsynced: dict[str, int] = {}
        """File by path: the bytes that are surely durable."""
        self.renames: list[tuple[str, str]] = []
        """Renames whose new folder was not synced."""
        self.paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(real_os, name)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.fault

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._count()
        fd = real_os.open(path, flags, mode)
        self.paths[fd] = str(path)
        if flags & real_os.O_CREAT:
            self.unsynced[str(path)] = 0
        return fd

    def mkdir(self, path: Path) -> None:
        self._count()
        real_os.mkdir(path)

    def writev(self, fd: int, views: Sequence[memoryview]) -> int:
        self._count()
        return real_os.writev(fd, [views[0][: max(1, len(views[0]) // 2)]])  # a short write

    def fsync(self, fd: int) -> None:
        self._count()
        path = self.paths[fd]
        if path in self.unsynced:
            self.unsynced[path] = real_os.fstat(fd).st_size
        self.renames = [(old, new) for old, new in self.renames if str(Path(new).parent) != path]

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        real_os.rename(old, new)
        self.renames.append((str(old), str(new)))
        moved = {path: size for path, size in self.unsynced.items() if path.startswith(str(old))}
        for path, size in moved.items():
            del self.unsynced[path]
            self.unsynced[path.replace(str(old), str(new))] = size

    def power_off(self, *, keep_renames: bool) -> None:
        """Lose what was not synced; a rename that was not may have reached the disk or not."""
        for path, size in self.unsynced.items():
            if Path(path).exists():
                real_os.truncate(path, size)
        if not keep_renames:
            for old, new in reversed(self.renames):
                if Path(new).exists():
                    real_os.rename(new, old)


@contextmanager
def flaky(disk: FlakyDisk) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "os", disk)
        yield


def calls_of_a_put(directory: Path) -> int:
    disk = FlakyDisk(0, Crash())
    with flaky(disk):
        put(BlobFiles(directory, capacity_bytes=CAPACITY), content(1))
    return disk.calls


@pytest.mark.parametrize("keep_renames", [False, True])
def test_a_crash_at_any_call_leaves_each_blob_whole_or_not_there(
    tmp_path: Path, keep_renames: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYNC_BYTES", CHUNK)
    data, calls = content(1), calls_of_a_put(tmp_path / "count")
    outcomes = set()
    for fail_at in range(1, calls + 2):
        directory = tmp_path / str(fail_at)
        before = put(BlobFiles(directory, capacity_bytes=CAPACITY), content(9))
        disk = FlakyDisk(fail_at, Crash())
        done = False
        with flaky(disk):
            try:
                put(BlobFiles(directory, capacity_bytes=CAPACITY), data)
                done = True
            except Crash:
                pass
            disk.fail_at = 0
        disk.power_off(keep_renames=keep_renames)
        files = BlobFiles(directory, capacity_bytes=CAPACITY)
        manifest, leaves = shape(data)
        kept = files.manifest(manifest.blob) is not None
        assert kept or not done, "what was told complete is durable"
        if kept:
            stored = read(files, manifest)
            assert b"".join(map(leaf_digest, chunks(stored))) == leaves
        assert read(files, before) == content(9)
        assert left_over(directory) == []
        put(files, data)
        outcomes.add(kept)
    assert outcomes == {False, True}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_at_any_call_is_a_clean_refusal(tmp_path: Path, code: int) -> None:
    calls = calls_of_a_put(tmp_path / "count")
    for fail_at in range(1, calls + 1):
        directory = tmp_path / str(fail_at)
        files = BlobFiles(directory, capacity_bytes=CAPACITY)
        free = files.free_bytes()
        expected = BlobFault if code == errno.EIO else NoSpace
        with flaky(FlakyDisk(fail_at, OSError(code, "the disk says no"))):
            with pytest.raises(BlobFault) as caught:
                put(files, content(1))
            assert type(caught.value) is expected
        assert files.free_bytes() in {free, free - 1}
        assert left_over(directory) == []
        put(files, content(1))

"""A file system over a directory: everything goes through to the files beneath, and may be hurt.

An inode is a descriptor (`O_PATH`) of the file beneath, for as long as the kernel remembers it; a
file belongs to the node whose home it lies in, `node-007`. Nothing is cached in the kernel but
pages of open files, so that what the harness does to the homes of nodes that are down is seen.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pyfuse3
import trio

from sim_harness.live.disk.buffered import Buffered, Cut
from sim_harness.live.disk.hurts import NodeDisk

HOME: Final = re.compile(rb"node-(\d+)")
COPIED: Final = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev", "st_size", "st_blocks")
TIMES: Final = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
BLOCK_BYTES: Final = 4_096


class Inode:
    """A file or directory beneath that the kernel knows."""

    def __init__(self, number: int, descriptor: int, disk: NodeDisk) -> None:
        self.number = number
        self.descriptor = descriptor
        self.disk = disk
        self.lookups = 0
        self.buffered = Buffered()

    @property
    def path(self) -> str:
        """Where it can be opened anew, whatever it is called by now."""
        return f"/proc/self/fd/{self.descriptor}"


class HurtFiles(pyfuse3.Operations):  # type: ignore[misc] # without types where it is not installed
    """The file system; `disks` are the nodes', by number, -1 being nobody's."""

    def __init__(self, root: Path, told: Callable[[int, Cut], None]) -> None:
        super().__init__()
        self.disks: dict[int, NodeDisk] = {}
        self._told = told
        descriptor = os.open(root, os.O_PATH | os.O_CLOEXEC)
        top = Inode(pyfuse3.ROOT_INODE, descriptor, self.disk(-1))
        self._inodes = {pyfuse3.ROOT_INODE: top}
        self._top_number = os.fstat(descriptor).st_ino
        self._files: dict[int, Inode] = {}
        """Open files and directories by descriptor."""

    def disk(self, node: int) -> NodeDisk:
        """A node's disk."""
        return self.disks.setdefault(node, NodeDisk(node))

    def settle(self, node: int) -> None:
        """All of a node's files are durable, and its disk has power."""
        disk = self.disk(node)
        disk.is_off = False
        for inode in list(self._inodes.values()):
            if inode.disk is disk:
                inode.buffered = Buffered()
                if inode.lookups <= 0:
                    self._let_go(inode)

    def _let_go(self, inode: Inode) -> None:
        os.close(inode.descriptor)
        del self._inodes[inode.number]

    # ---- names -------------------------------------------------------------------------------

    def _entry(self, parent: Inode, name: bytes) -> pyfuse3.EntryAttributes:
        """What a name leads to; the kernel knows it from now on. Raises OSError."""
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent.descriptor)
        found = os.fstat(descriptor)
        number = pyfuse3.ROOT_INODE if found.st_ino == self._top_number else found.st_ino
        inode = self._inodes.get(number)
        if inode is None:
            inode = Inode(number, descriptor, self._disk_of(parent, name))
            self._inodes[number] = inode
        else:
            os.close(descriptor)
        inode.lookups += 1
        return _attributes(found, number)

    def _disk_of(self, parent: Inode, name: bytes) -> NodeDisk:
        if parent.number != pyfuse3.ROOT_INODE:
            return parent.disk
        match = HOME.fullmatch(name)
        return self.disk(int(match[1]) if match else -1)

    async def lookup(self, parent: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        with _answered():
            return self._entry(self._inodes[parent], name)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for number, count in inode_list:
            inode = self._inodes[number]
            inode.lookups -= count
            # What has a name and is not synced can be lost still; it goes when the node starts.
            is_kept = bool(inode.buffered) and os.fstat(inode.descriptor).st_nlink > 0
            if inode.lookups <= 0 and number != pyfuse3.ROOT_INODE and not is_kept:
                self._let_go(inode)

    async def getattr(self, number: int, ctx: object) -> pyfuse3.EntryAttributes:
        with _answered():
            return _attributes(os.fstat(self._inodes[number].descriptor), number)

    async def setattr(
        self,
        number: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: object,
    ) -> pyfuse3.EntryAttributes:
        inode = self._inodes[number]
        with _answered():
            inode.disk.want_power()
            if fields.update_size:
                if attr.st_size > os.fstat(inode.descriptor).st_size:
                    inode.disk.want_room()
                with _opened(inode) as descriptor:
                    inode.buffered.before_truncate(descriptor, attr.st_size)
                    os.ftruncate(descriptor, attr.st_size)
            if fields.update_mode:
                os.chmod(inode.path, attr.st_mode & 0o7777)
            if fields.update_uid or fields.update_gid:
                user = attr.st_uid if fields.update_uid else -1
                os.chown(inode.path, user, attr.st_gid if fields.update_gid else -1)
            if fields.update_atime or fields.update_mtime:
                now = os.fstat(inode.descriptor)
                read_ns = attr.st_atime_ns if fields.update_atime else now.st_atime_ns
                wrote_ns = attr.st_mtime_ns if fields.update_mtime else now.st_mtime_ns
                os.utime(inode.path, ns=(read_ns, wrote_ns))
            return _attributes(os.fstat(inode.descriptor), number)

    def _made(
        self, parent: int, name: bytes, make: Callable[[int], None]
    ) -> pyfuse3.EntryAttributes:
        """A new name, made in the directory of this descriptor."""
        inode = self._inodes[parent]
        with _answered():
            self._disk_of(inode, name).want_room()
            make(inode.descriptor)
            return self._entry(inode, name)

    async def mkdir(
        self, parent: int, name: bytes, mode: int, ctx: object
    ) -> pyfuse3.EntryAttributes:
        return self._made(parent, name, lambda at: os.mkdir(name, mode, dir_fd=at))

    async def mknod(
        self, parent: int, name: bytes, mode: int, rdev: int, ctx: object
    ) -> pyfuse3.EntryAttributes:
        return self._made(parent, name, lambda at: os.mknod(name, mode, rdev, dir_fd=at))

    async def symlink(
        self, parent: int, name: bytes, target: bytes, ctx: object
    ) -> pyfuse3.EntryAttributes:
        return self._made(parent, name, lambda at: os.symlink(target, name, dir_fd=at))

    async def link(
        self, number: int, parent: int, name: bytes, ctx: object
    ) -> pyfuse3.EntryAttributes:
        path = self._inodes[number].path
        return self._made(
            parent, name, lambda at: os.link(path, name, dst_dir_fd=at, follow_symlinks=True)
        )

    async def readlink(self, number: int, ctx: object) -> bytes:
        with _answered():
            return os.readlink(b"", dir_fd=self._inodes[number].descriptor)

    async def unlink(self, parent: int, name: bytes, ctx: object) -> None:
        with _answered():
            self._inodes[parent].disk.want_power()
            os.unlink(name, dir_fd=self._inodes[parent].descriptor)

    async def rmdir(self, parent: int, name: bytes, ctx: object) -> None:
        with _answered():
            self._inodes[parent].disk.want_power()
            os.rmdir(name, dir_fd=self._inodes[parent].descriptor)

    async def rename(
        self, parent: int, name: bytes, parent_new: int, name_new: bytes, flags: int, ctx: object
    ) -> None:
        with _answered():
            if flags:
                raise OSError(errno.EINVAL, "only plain renames")
            here, there = self._inodes[parent], self._inodes[parent_new]
            here.disk.want_power()
            os.rename(name, name_new, src_dir_fd=here.descriptor, dst_dir_fd=there.descriptor)

    # ---- bytes -------------------------------------------------------------------------------

    async def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: object
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        def make(at: int) -> None:
            exclusive = os.O_CREAT | os.O_CLOEXEC | (flags & os.O_EXCL)
            os.close(os.open(name, os.O_RDWR | exclusive, mode, dir_fd=at))

        entry = self._made(parent, name, make)
        return await self.open(entry.st_ino, flags, ctx), entry

    async def open(self, number: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        inode = self._inodes[number]
        # The kernel appends and creates; to remember what is overwritten we read, too.
        kept = flags & ~(os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_TRUNC)
        if kept & os.O_ACCMODE == os.O_WRONLY:
            kept = kept & ~os.O_ACCMODE | os.O_RDWR
        with _answered():
            descriptor = os.open(inode.path, kept | os.O_CLOEXEC)
            if flags & os.O_TRUNC:
                inode.buffered.before_truncate(descriptor, 0)
                os.ftruncate(descriptor, 0)
        self._files[descriptor] = inode
        return pyfuse3.FileInfo(fh=descriptor)

    async def read(self, fh: int, offset: int, size: int) -> bytes:
        with _answered():
            return os.pread(fh, size, offset)

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        inode = self._files[fh]
        with _answered():
            inode.disk.want_room()
            inode.buffered.before_write(fh, offset, len(data))
            return os.pwrite(fh, data, offset)

    async def fsync(self, fh: int, datasync: bool) -> None:
        inode = self._files[fh]
        with _answered():
            await self._sync(fh, inode)
            inode.buffered = Buffered()

    async def _sync(self, fh: int, inode: Inode) -> None:
        work = partial(trio.to_thread.run_sync, os.fsync, fh)
        lost = await inode.disk.sync(work, partial(self._cut, inode.disk))
        if inode.disk.is_off:
            self._told(inode.disk.now.node, lost)
            inode.disk.want_power()

    def _cut(self, disk: NodeDisk, draws: Random) -> Cut:
        """Take what was not synced from all files of a disk."""
        found = [Cut()]
        for inode in list(self._inodes.values()):
            if inode.disk is disk and inode.buffered:
                with _opened(inode) as descriptor:
                    found.append(inode.buffered.power_cut(descriptor, draws))
        return Cut(*(sum(column) for column in zip(*found, strict=True)))

    async def flush(self, fh: int) -> None:
        return None

    async def release(self, fh: int) -> None:
        del self._files[fh]
        os.close(fh)

    # ---- directories -------------------------------------------------------------------------

    async def opendir(self, number: int, ctx: object) -> int:
        inode = self._inodes[number]
        with _answered():
            descriptor = os.open(inode.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files[descriptor] = inode
        return descriptor

    async def readdir(self, fh: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        inode = self._files[fh]
        names = sorted(os.fsencode(name) for name in os.listdir(fh))
        for place, name in enumerate(names[start:], start + 1):
            try:
                entry = self._entry(inode, name)
            except FileNotFoundError:
                continue  # It has just gone.
            if not pyfuse3.readdir_reply(token, name, entry, place):
                await self.forget([(entry.st_ino, 1)])
                return

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        with _answered():
            await self._sync(fh, self._files[fh])

    async def releasedir(self, fh: int) -> None:
        await self.release(fh)

    async def statfs(self, ctx: object) -> pyfuse3.StatvfsData:
        found = os.statvfs(self._inodes[pyfuse3.ROOT_INODE].path)
        told = pyfuse3.StatvfsData()
        for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail"):
            setattr(told, name, getattr(found, name))
        for name in ("f_files", "f_ffree", "f_favail", "f_namemax"):
            setattr(told, name, getattr(found, name))
        return told

    async def access(self, number: int, mode: int, ctx: object) -> bool:
        return True


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Errors of the files beneath, and of hurt disks, as the kernel's."""
    try:
        yield
    except OSError as error:
        raise pyfuse3.FUSEError(error.errno or errno.EIO) from None


@contextlib.contextmanager
def _opened(inode: Inode) -> Iterator[int]:
    descriptor = os.open(inode.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _attributes(found: os.stat_result, number: int) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    for name in (*COPIED, *TIMES):
        setattr(entry, name, getattr(found, name))
    entry.st_ino = number
    entry.st_blksize = BLOCK_BYTES
    entry.generation = 0
    entry.entry_timeout = entry.attr_timeout = 0
    return entry

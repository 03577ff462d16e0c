"""What is wrong with each node's disk, and what it did: the file system asks here."""

import errno
import os
import signal
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import trio

from sim_harness.live.disk.buffered import Cut
from sim_harness.live.disk.words import DiskSet

US: Final = 1_000_000


class DiskHurt(OSError):
    """What a hurt disk answers."""


class NodeDisk:
    """One node's."""

    def __init__(self, node: int) -> None:
        self.now = DiskSet(node)
        self.is_off = False
        """After a power cut, until the node starts."""
        self.syncs = 0
        self.refused = 0

    def want_room(self) -> None:
        """Before anything that needs room. Raises DiskHurt."""
        self.want_power()
        if self.now.full:
            self.refused += 1
            raise DiskHurt(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def want_power(self) -> None:
        """Before anything that changes the disk. Raises DiskHurt."""
        if self.is_off:
            raise DiskHurt(errno.EIO, os.strerror(errno.EIO))

    async def sync(self, work: Callable[[], Awaitable[None]], cut: Callable[[Random], Cut]) -> Cut:
        """Sync, as slowly as this disk does; what was lost if power failed. Raises OSError."""
        self.want_power()
        if self.now.sync_us:
            await trio.sleep(self.now.sync_us / US)
            self.want_power()
        if self.now.cut_pid:
            self.is_off = True
            os.kill(self.now.cut_pid, signal.SIGKILL)
            return cut(Random(f"power {self.now.seed} {self.now.node}"))
        await work()
        self.syncs += 1
        return Cut()

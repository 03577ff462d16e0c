"""The harness's side of the disk process: start it, say what is wrong, ask what it measured.

harness --DiskSet, Settled, Probe--> disk process        harness <--PowerCut, Probed-- it
"""

import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, assert_never

import msgspec
import trio
import trio.socket

from p2p.node.errors import UserError
from sim_harness.live.disk.words import (
    PACKET_BYTES_MAX,
    DiskOrder,
    DiskSet,
    Mounted,
    PowerCut,
    Probe,
    Probed,
    Refused,
    Settled,
    pack,
    unpack_news,
)

MOUNT_DEADLINE_S: Final = 30.0
ANSWER_S: Final = 30.0
"""For an order: a probe waits as long as the disk is slow."""


class DiskGone(Exception):
    """The disk process ended by itself, or answers no more."""


class FuseDisk:
    """The disks of all nodes, as a process of ours serves them; made by `open_disk`."""

    def __init__(self, process: "subprocess.Popen[bytes]", root: Path) -> None:
        self._process = process
        self.root = root
        """Where it is mounted, for those who see it."""
        self._channel: trio.socket.SocketType | None = None
        self._asking = trio.Lock()
        self._send, self._answers = trio.open_memory_channel[Probed](1)
        self._state: dict[int, DiskSet] = {}
        self._cuts: defaultdict[int, trio.Event] = defaultdict(trio.Event)
        self.lost: dict[int, PowerCut] = {}
        """What the last power cut took of a node."""

    @property
    def pid(self) -> int:
        """The process whose mounts nodes are to see."""
        return self._process.pid

    async def wait_mounted(self, channel: trio.socket.SocketType) -> None:
        """Until it is there. Raises UserError."""
        self._channel = channel
        with trio.move_on_after(MOUNT_DEADLINE_S):
            data = await channel.recv(PACKET_BYTES_MAX)
            news = unpack_news(data) if data else Refused("see its error output above")
            if isinstance(news, Mounted):
                return
            assert isinstance(news, Refused)
            raise UserError(f"--disk fuse: cannot mount {self.root}: {news.why}")
        raise UserError(f"--disk fuse: {self.root} was not mounted in {MOUNT_DEADLINE_S:.0f} s")

    async def run(self) -> None:
        """Hear what it tells, until cancelled. Raises DiskGone."""
        assert self._channel is not None
        while data := await self._channel.recv(PACKET_BYTES_MAX):
            match unpack_news(data):
                case Probed() as probed:
                    await self._send.send(probed)
                case PowerCut() as cut:
                    self.lost[cut.node] = cut
                    self._cuts[cut.node].set()
                case Mounted() | Refused():
                    pass
                case _ as never:
                    assert_never(never)
        raise DiskGone("the process that serves the disks ended by itself")

    async def _ask(self, order: DiskOrder) -> Probed:
        assert self._channel is not None
        async with self._asking:
            with trio.move_on_after(ANSWER_S), trio.CancelScope(shield=True):
                await self._channel.send(pack(order))
                return await self._answers.receive()
        raise DiskGone(f"the disk of node {order.node} answers no more")

    async def _set(self, node: int, **changes: int | bool) -> None:
        state = msgspec.structs.replace(self._state.get(node, DiskSet(node)), **changes)
        self._state[node] = state
        await self._ask(state)

    # ---- words -------------------------------------------------------------------------------

    async def slow(self, node: int, sync_us: int) -> None:
        """Let every sync of a node take so much longer."""
        await self._set(node, sync_us=sync_us)

    async def fill(self, node: int, *, full: bool) -> None:
        """Let whatever needs room be refused, or no more."""
        await self._set(node, full=full)

    async def cut_power(self, node: int, pid: int, seed: int) -> None:
        """Let a process die in its next sync, and lose of what it did not sync what is drawn."""
        self.lost.pop(node, None)
        self._cuts.pop(node, None)
        await self._set(node, cut_pid=pid, seed=seed)

    async def keep_power(self, node: int) -> None:
        """Let it die no more."""
        await self._set(node, cut_pid=0)

    async def settle(self, node: int) -> None:
        """A node is about to start: what it finds is durable."""
        await self._set(node, cut_pid=0)
        await self._ask(Settled(node))

    async def probe(self, node: int) -> Probed:
        """What a sync takes now, and what was refused so far."""
        return await self._ask(Probe(node))


@asynccontextmanager
async def open_disk(root: Path) -> AsyncIterator[FuseDisk]:
    """Mount the file system over a directory of homes, for the processes that enter it.

    Raises:
        UserError: it cannot be mounted.
    """
    root = Path.cwd() / root
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "sim_harness.live.disk.disk_process"]
    with theirs:
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns within milliseconds
            [*command, str(theirs.fileno()), str(root)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    disk = FuseDisk(process, root)
    channel = trio.socket.from_stdlib_socket(ours)
    try:
        await disk.wait_mounted(channel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.run)
            yield disk
            nursery.cancel_scope.cancel()
    finally:
        channel.close()
        process.kill()
        process.wait()

"""The harness's side of the zygote: start it, fork nodes, signal them, hear of their end."""

import array
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals
from typing import Final, assert_never

import trio
import trio.socket

from sim_harness.live.cpu_groups import CpuGroups
from sim_harness.live.disk.fuse_disk import FuseDisk
from sim_harness.live.messages import (
    PACKET_BYTES_MAX,
    Exited,
    NodeOrder,
    NodeWord,
    Order,
    Signal,
    Spawn,
    Spawned,
    Warmed,
    pack,
    unpack_news,
    unpack_word,
)

NODE_ENTRY: Final = "sim_harness.live.node_process:run"
WARM_DEADLINE_S: Final = 90.0
SPAWN_DEADLINE_S: Final = 30.0
CLOSE_DEADLINE_S: Final = 5.0
TELL_DEADLINE_S: Final = 5.0
"""For a node to make room for an order: a frozen one makes none."""


class ZygoteError(Exception):
    """The zygote could not start, or died; the text says what to look at."""


class Child:
    """One forked process. `code` is None while it runs, then its exit code or minus a signal."""

    def __init__(self, zygote: "Zygote", pid: int, channel: trio.socket.SocketType) -> None:
        self._zygote = zygote
        self._channel = channel
        self.pid = pid
        self.code: int | None = None
        self.exited = trio.Event()

    async def signal(self, number: Signals) -> None:
        """Send it a signal; nothing happens when it is gone. Raises ZygoteError."""
        if self.code is None:
            await self._zygote.order(Signal(self.pid, number))

    async def word(self) -> NodeWord | None:
        """What it tells next; None when its process has ended."""
        try:
            data = await self._channel.recv(PACKET_BYTES_MAX)
        except ConnectionResetError:
            return None
        return unpack_word(data) if data else None

    async def tell(self, order: NodeOrder) -> bool:
        """Order something of it; False when it is gone, or deaf for `TELL_DEADLINE_S`."""
        with trio.move_on_after(TELL_DEADLINE_S):
            try:
                await self._channel.send(pack(order))
            except OSError:
                return False
            return True
        return False

    def close(self) -> None:
        """Let go of its socket; a child that still runs ends itself."""
        self._zygote.release(self._channel)


class _Forking:
    """A spawn that was ordered and not answered yet."""

    def __init__(self, channel: trio.socket.SocketType) -> None:
        self.channel = channel
        self.answered = trio.Event()
        self.child: Child | None = None


class Zygote:
    """A warmed process that nodes are forked from; made by `open_zygote`."""

    def __init__(self, process: subprocess.Popen[bytes], channel: trio.socket.SocketType) -> None:
        self._process = process
        self._channel = channel
        self._sending = trio.Lock()
        self._forking: dict[int, _Forking] = {}
        self._children: dict[int, Child] = {}
        self._lines: set[trio.socket.SocketType] = set()
        """Open sockets to children, alive or not."""
        # Deaths are heard of while everything else is being cancelled, too.
        self.hearing = trio.CancelScope(shield=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def spawn(
        self, *, node: int, home: Path, log: Path, options: dict[str, str] | None = None
    ) -> Child:
        """Fork a process that runs the entry function, one at a time for a node.

        Args:
            node: number of the node, for the entry function.
            home: the node's directory.
            log: file that the process's output is added to.
            options: for the entry function alone.

        Raises:
            ZygoteError: the zygote is gone or does not answer.
        """
        assert node not in self._forking
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        forking = _Forking(trio.socket.from_stdlib_socket(ours))
        self._lines.add(forking.channel)
        self._forking[node] = forking
        try:
            with theirs:
                order = Spawn(node, str(home), str(log), options or {})
                await self.order(order, descriptor=theirs.fileno())
            with trio.move_on_after(SPAWN_DEADLINE_S):
                await forking.answered.wait()
        finally:
            del self._forking[node]
            if forking.child is None:
                self.release(forking.channel)
        if forking.child is None:
            raise ZygoteError(f"node {node} was not forked within {SPAWN_DEADLINE_S:.0f} s")
        return forking.child

    async def order(self, order: Order, *, descriptor: int | None = None) -> None:
        """Send one order, with a descriptor if it needs one. Raises ZygoteError."""
        descriptors = array.array("i", [] if descriptor is None else [descriptor])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else []
        async with self._sending:
            try:
                await self._channel.sendmsg([pack(order)], rights)
            except (BrokenPipeError, ConnectionResetError):
                raise ZygoteError("the zygote process is gone") from None

    def release(self, line: trio.socket.SocketType) -> None:
        """Close a child's socket."""
        line.close()
        self._lines.discard(line)

    async def wait_warmed(self) -> Warmed:
        """Until it has imported everything. Raises ZygoteError."""
        with trio.move_on_after(WARM_DEADLINE_S):
            data = await self._channel.recv(PACKET_BYTES_MAX)
            if data:
                news = unpack_news(data)
                assert isinstance(news, Warmed)
                return news
        raise ZygoteError("the zygote did not start: see its error output above")

    async def run(self) -> None:
        """Hear of births and deaths until `hearing` is cancelled. Raises ZygoteError at its end."""
        with self.hearing:
            while data := await self._channel.recv(PACKET_BYTES_MAX):
                news = unpack_news(data)
                match news:
                    case Spawned():
                        self._born(news)
                    case Exited():
                        self._died(news)
                    case Warmed():
                        pass
                    case _:
                        assert_never(news)
            raise ZygoteError("the zygote process ended by itself")

    def _born(self, news: Spawned) -> None:
        forking = self._forking.get(news.node)
        if forking is None:
            # Whoever ordered it waits no more; the end of its socket has ended it already.
            return
        forking.child = Child(self, news.pid, forking.channel)
        self._children[news.pid] = forking.child
        forking.answered.set()

    def _died(self, news: Exited) -> None:
        child = self._children.pop(news.pid, None)
        if child is not None:
            child.code = news.code
            child.exited.set()

    async def close(self) -> None:
        """End it, and with it every child; no process and no socket is left on return."""
        with trio.move_on_after(CLOSE_DEADLINE_S):
            try:
                self._channel.shutdown(socket.SHUT_WR)
                while await self._channel.recv(PACKET_BYTES_MAX):
                    pass
            except OSError:
                pass  # It is gone already.
        self._channel.close()
        for line in tuple(self._lines):
            self.release(line)
        # Nothing is left to do for it; if it hangs, its children die with it.
        self._process.kill()
        self._process.wait()
        CpuGroups(self.pid).remove()


@asynccontextmanager
async def open_zygote(
    entry: str = NODE_ENTRY,
    *,
    scratch: Sequence[Path] = (),
    within: Sequence[str] = (),
    disk: FuseDisk | None = None,
) -> AsyncIterator[Zygote]:
    """A warmed zygote for `module:function`; its end removes all of `scratch`. Raises ZygoteError.

    With a disk it and its children see the homes through that.
    The function takes a `NodeTask`; its module may have `warm()`, called once before any fork.
    `within` are words that the command is put behind: they make namespaces, and become it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    removed = [str(path) for path in scratch]
    with theirs:
        # Started from this very thread: the kernel's parent-death signal looks at the thread, and
        # trio starts its processes from worker threads that end when idle.
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns within milliseconds
            [
                *within,
                sys.executable,
                "-m",
                "sim_harness.live.zygote_process",
                str(theirs.fileno()),
                str(os.getpid()),
                entry,
                *(("0", "") if disk is None else (str(disk.pid), str(disk.root))),
                *removed,
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    zygote = Zygote(process, trio.socket.from_stdlib_socket(ours))
    try:
        await zygote.wait_warmed()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zygote.run)
            try:
                yield zygote
            finally:
                zygote.hearing.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await zygote.close()

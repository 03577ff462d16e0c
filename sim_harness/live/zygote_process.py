"""The zygote: a warmed process that node processes are forked from.

    import the entry module and all that it needs, once
    then for ever:  Spawn -> fork -> the child runs entry(task)
                    (before the first one, the entry module's `prepare(home)`, if it has one)
                    Signal -> kill, if the child was not reaped yet
                    SIGCHLD -> waitpid -> Exited
                    end of the harness's socket -> SIGKILL to every child, exit

It has one thread and never runs trio, so that a fork copies nothing half done. Nobody is orphaned:
the zygote ends with its socket to the harness, kills all children and removes what was to be
removed; each child dies with the zygote, by the kernel's parent-death signal (Linux). Children
share the zygote's pages: `gc.freeze` keeps the collector from touching, and so copying, them.

It leads a session of its own, so that Ctrl-C reaches the harness alone.
"""

import ctypes
import gc
import importlib
import os
import random
import select
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

from sim_harness.live.cpu_groups import CpuGroups
from sim_harness.live.disk.namespaces import detach, enter
from sim_harness.live.messages import (
    PACKET_BYTES_MAX,
    Exited,
    News,
    Signal,
    Spawn,
    Spawned,
    Warmed,
    pack,
    unpack_order,
)
from sim_harness.live.process_memory import resident_bytes
from sim_harness.live.task import Entry, NodeTask, Reporter

PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15

Prepare = Callable[[Path], None]


def main() -> None:
    """Serve the harness at the other end of the socket whose descriptor is the first argument."""
    descriptor, parent, entry_name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if os.getppid() != parent:
        return
    take_precedence_of(parent)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    began_s = time.monotonic()
    gc.disable()
    mounts, root = int(sys.argv[4]), Path(sys.argv[5])
    if mounts:
        enter(mounts)
    entry = load_entry(entry_name)
    if threading.active_count() != 1 or len(os.listdir("/proc/self/task")) != 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        sys.exit(f"zygote: importing {entry_name} started threads ({names}), so it cannot fork")
    # No collection first: what it freed would leave holes in pages that the children then fill,
    # each page copied for that (3 MiB a node, measured).
    gc.freeze()
    warmed = Warmed(os.getpid(), time.monotonic() - began_s, resident_bytes())
    try:
        channel.sendall(pack(warmed))
        Zygote(channel, entry, prepare_of(entry)).serve()
    finally:
        CpuGroups(os.getpid()).remove()
        if mounts:
            # The process behind the mount may be gone; the files beneath are what is removed.
            detach(root)
        # The harness may have been killed; what it would have removed, nobody else removes.
        for scratch in sys.argv[6:]:
            shutil.rmtree(scratch, ignore_errors=True)


class Zygote:
    """Forks, signals and reaps as the harness orders."""

    def __init__(
        self, channel: socket.socket, entry: Entry, prepare: Prepare | None = None
    ) -> None:
        self._channel = channel
        self._entry = entry
        self._prepare = prepare
        self._children: set[int] = set()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        """Until the harness is gone; then no child is left."""
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            while True:
                orders = self._channel.fileno()
                ready, _, _ = select.select([orders, self._wake_read], [], [])
                if self._wake_read in ready:
                    self._reap()
                if orders in ready and not self._obey():
                    return
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            for pid in self._children:
                os.kill(pid, signal.SIGKILL)
            for pid in self._children:
                os.waitpid(pid, 0)

    def _reap(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._tell(Exited(pid, os.waitstatus_to_exitcode(status)))

    def _obey(self) -> bool:
        """Carry out one order; False at the harness's end."""
        data, descriptors, _, _ = socket.recv_fds(self._channel, PACKET_BYTES_MAX, 1)
        if not data:
            return False
        order = unpack_order(data)
        match order:
            case Spawn():
                self._fork(order, descriptors[0])
            case Signal():
                # Not reaped yet, so the number is still this child's.
                if order.pid in self._children:
                    os.kill(order.pid, order.signal)
            case _:
                assert_never(order)
        return True

    def _fork(self, order: Spawn, descriptor: int) -> None:
        if self._prepare is not None:
            self._prepare(Path(order.home))
            self._prepare = None
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(order, descriptor, parent)
        os.close(descriptor)
        self._children.add(pid)
        self._tell(Spawned(order.node, pid))

    def _be_child(self, order: Spawn, descriptor: int, parent: int) -> None:
        """Run the entry function in this new process; never returns."""
        code = 1
        try:
            die_with_parent(parent)
            self._channel.close()
            os.close(self._wake_read)
            _reset_signals()
            os.close(self._wake_write)
            _redirect(order.log)
            _name(f"gigmesh-{order.node:03}")
            random.seed()
            gc.enable()
            reporter = Reporter(socket.socket(fileno=descriptor))
            self._entry(NodeTask(order.node, Path(order.home), reporter, order.options))
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:  # noqa: BLE001 - this is the bottom of a process
            traceback.print_exc()
        finally:
            # The zygote's own exit handlers and buffers are not this process's to run. Whatever
            # fails here (a disk that is full), it must never go on as a second zygote.
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def _tell(self, news: News) -> None:
        self._channel.sendall(pack(news))


def take_precedence_of(parent: int) -> None:
    """Let this session, the nodes', have the processor share that the harness's has.

    Linux shares the processors between sessions first: a hundred nodes in one count as one.
    """
    try:
        text = Path(f"/proc/{parent}/autogroup").read_text(encoding="ascii")
        Path("/proc/self/autogroup").write_text(text.rpartition(" ")[2], encoding="ascii")
    except (OSError, ValueError):
        pass  # Another kernel, or not ours to ask for: then it is as it is.


def prepare_of(entry: Entry) -> Prepare | None:
    """What the entry's module does before the first fork: read what all nodes have in common."""
    prepare: Prepare | None = getattr(sys.modules[entry.__module__], "prepare", None)
    return prepare


def load_entry(name: str) -> Entry:
    """The function `module:function`, after its module's `warm()` if it has one."""
    module_name, _, function_name = name.partition(":")
    module = importlib.import_module(module_name)
    warm = getattr(module, "warm", None)
    if warm is not None:
        warm()
    entry: Entry = getattr(module, function_name)
    return entry


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent ends; exit when it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _redirect(log: str) -> None:
    """Standard input from nothing; output and errors added to a file."""
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(null)
    os.close(file)


def _name(name: str) -> None:
    """What `ps -o comm` and `top` call this process; at most 15 characters."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _ignore(_number: int, _frame: object) -> None:
    """A handler must stand for the wakeup descriptor to be written to."""


if __name__ == "__main__":
    main()

"""The process that is the file system: mounts it where only its family sees it, and takes orders.

It ends with its socket to the harness; the mount ends with the last process that sees it.
"""

import os
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final, assert_never

import pyfuse3
import trio

from sim_harness.live.disk.buffered import Cut
from sim_harness.live.disk.file_system import HurtFiles
from sim_harness.live.disk.namespaces import be_apart
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
    unpack_order,
)

TASKS_MAX: Final = 1_000
"""Requests at one time: those of slow disks wait inside."""
PROBE: Final = ".probe"
PROBE_BYTES: Final = 4_096
DESCRIPTORS: Final = 65_536
"""One for each file that the kernel remembers."""


def main() -> None:
    """Serve the harness at the other end of the socket whose descriptor is the first argument."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    root = Path(sys.argv[2])
    os.umask(0)
    _have_descriptors()
    try:
        files = HurtFiles(root, partial(_tell_cut, channel))
        be_apart()
        options = {*pyfuse3.default_options, "fsname=gigmesh"}
        pyfuse3.init(files, str(root), options)
    except (OSError, RuntimeError) as error:
        channel.send(pack(Refused(str(error))))
        return
    trio.run(_serve, files, channel, root)
    # Not unmounted: others may see it still, and it goes with the last of them.
    os._exit(0)


def _have_descriptors() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def _serve(files: HurtFiles, channel: socket.socket, root: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(pyfuse3.main, max_tasks=TASKS_MAX))
        line = trio.socket.from_stdlib_socket(channel)
        await line.send(pack(Mounted()))
        while data := await line.recv(PACKET_BYTES_MAX):
            answer = await _obey(files, unpack_order(data), root)
            await line.send(pack(answer))
        nursery.cancel_scope.cancel()


async def _obey(files: HurtFiles, order: DiskOrder, root: Path) -> Probed:
    disk = files.disk(order.node)
    match order:
        case DiskSet():
            disk.now = order
            return Probed(order.node)
        case Settled():
            files.settle(order.node)
            return Probed(order.node)
        case Probe():
            home = root / f"node-{order.node:03}"
            took_us, error = await trio.to_thread.run_sync(_probe, home / PROBE)
            return Probed(order.node, took_us, error, disk.syncs, disk.refused)
        case _:
            assert_never(order)


def _probe(path: Path) -> tuple[int, str]:
    """What a sync takes, through the mount; and why it failed, if it did."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return 0, os.strerror(error.errno or 0)
    try:
        os.pwrite(descriptor, bytes(PROBE_BYTES), 0)
        began_ns = time.perf_counter_ns()
        os.fsync(descriptor)
        return (time.perf_counter_ns() - began_ns) // 1_000, ""
    except OSError as error:
        return 0, os.strerror(error.errno or 0)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _tell_cut(channel: socket.socket, node: int, cut: Cut) -> None:
    channel.send(pack(PowerCut(node, cut.buffered, cut.dropped, cut.torn)))


if __name__ == "__main__":
    main()

"""A cluster over homes that exist: the disk, the network and the parent of its processes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from sim_harness.live.cluster import LiveCluster
from sim_harness.live.disk.fuse_disk import FuseDisk, open_disk
from sim_harness.live.disk.kinds import DiskKind
from sim_harness.live.kernel.faults import open_kernel_faults
from sim_harness.live.kernel.namespace import unshare_words
from sim_harness.live.kernel.offer import Offer
from sim_harness.live.zygote import NODE_ENTRY, open_zygote


@asynccontextmanager
async def open_homes(
    homes: Sequence[Path],
    *,
    entry: str = NODE_ENTRY,
    options: dict[str, str] | None = None,
    scratch: Sequence[Path] = (),
    logs: Path | None = None,
    kernel: Offer | None = None,
    seed: int = 0,
    disk: DiskKind = DiskKind.INJECTED,
) -> AsyncIterator[LiveCluster]:
    """A cluster over homes that exist; no node is started yet, and none is left at the end.

    Args:
        homes: one directory a node, in node order.
        entry: `module:function` that a node's process runs.
        options: for the entry function alone.
        scratch: directories to be removed at the end, also when this process is killed.
        logs: a directory for the nodes' output; None: each in its home.
        kernel: what the kernel has, to give the nodes a network namespace of their own; None: the
            machine's network.
        seed: of what is drawn there.
        disk: how disks are hurt.

    Raises:
        UserError: this kind of disk is not to be had here.
        ZygoteError: the parent of all processes could not start, or died.
        KernelError: the namespace could not be set up.
    """
    within = () if kernel is None else unshare_words()
    async with AsyncExitStack() as stack:
        mounted = await stack.enter_async_context(_disk_under(homes, disk))
        zygote = await stack.enter_async_context(
            open_zygote(entry, scratch=scratch, within=within, disk=mounted)
        )
        cluster = LiveCluster(zygote, homes, options, logs=logs, disk=mounted)
        if kernel is not None:
            cluster.kernel = await stack.enter_async_context(
                open_kernel_faults(zygote.pid, kernel, len(homes), seed=seed)
            )
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(cluster.run)
        yield cluster
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _disk_under(homes: Sequence[Path], kind: DiskKind) -> AsyncIterator[FuseDisk | None]:
    if kind is DiskKind.INJECTED:
        yield None
        return
    async with open_disk(homes[0].parent) as disk:
        yield disk

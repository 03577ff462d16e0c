"""Chunks between a file and a stream: disk and network overlap, memory stays bounded.

reader thread --batches of 1 MiB, 2 waiting--> sender
receiver, each chunk checked --batches of 1 MiB, 2 waiting--> writer thread
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from p2p.model.blob import Manifest
from p2p.network.port import MessageStream
from p2p.node.blobs.session import PeerFault, run_both, send_raw
from p2p.primitives.digests import leaf_digest
from p2p.primitives.units import MIB, Digest
from p2p.protocol.service import Window

BATCH_BYTES: Final = MIB
"""Read or written in one call of a worker thread, which costs about 0.1 ms."""
BATCHES_MAX: Final = 2
"""Batches that wait between disk and network."""

Read = Callable[[int, int], bytes]
"""The bytes of `count` chunks from chunk `first`; called in a worker thread."""
Write = Callable[[Sequence[bytes]], None]
"""Appends chunks; called in a worker thread."""


async def send_chunks(
    stream: MessageStream,
    manifest: Manifest,
    window: Window,
    *,
    read: Read,
    moved: Callable[[int], None],
    stall_s: float,
) -> None:
    """Send a window; `moved(1)` after each chunk. Raises StreamClosed, BlobFault, OSError."""
    chunk_bytes = manifest.chunk_bytes
    batch_chunks = max(1, BATCH_BYTES // chunk_bytes)
    end = window.first_chunk + window.chunk_count
    put, take = trio.open_memory_channel[bytes](BATCHES_MAX)

    async def load() -> None:
        with put:
            for first in range(window.first_chunk, end, batch_chunks):
                count = min(batch_chunks, end - first)
                await put.send(await trio.to_thread.run_sync(read, first, count))

    async def send() -> None:
        async for batch in take:
            view = memoryview(batch)
            for start in range(0, len(batch), chunk_bytes):
                await send_raw(stream, view[start : start + chunk_bytes], deadline_s=stall_s)
                moved(1)

    await run_both(load, send)


async def receive_chunks(
    stream: MessageStream,
    manifest: Manifest,
    window: Window,
    *,
    leaves: Sequence[Digest],
    write: Write,
    moved: Callable[[int], None],
    stall_s: float,
) -> None:
    """Receive a window; `moved(n)` after n chunks are checked and written.

    Raises:
        StreamClosed: the peer went away or stalled.
        PeerFault: a chunk is not the one that the blob's id promises.
        BlobFault, OSError: our disk.
    """
    batch_chunks = max(1, BATCH_BYTES // manifest.chunk_bytes)
    put, take = trio.open_memory_channel[list[bytes]](BATCHES_MAX)

    async def receive() -> None:
        batch: list[bytes] = []
        with put:
            for index in range(window.first_chunk, window.first_chunk + window.chunk_count):
                size = manifest.chunk_size(index)
                chunk = await stream.receive(bytes_max=size, deadline_s=stall_s)
                if leaf_digest(chunk) != leaves[index]:
                    raise PeerFault(f"chunk {index} is not the blob's")
                batch.append(chunk)
                if len(batch) == batch_chunks:
                    await put.send(batch)
                    batch = []
            if batch:
                await put.send(batch)

    async def save() -> None:
        async for batch in take:
            await trio.to_thread.run_sync(write, batch)
            moved(len(batch))

    await run_both(receive, save)

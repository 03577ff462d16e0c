"""Ctrl-C and SIGTERM as a cancellation: everything ends in its own order."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Interruptible:
    """What runs until it is done or somebody interrupts."""

    def __init__(self) -> None:
        self.interrupted = False


@asynccontextmanager
async def interruptible() -> AsyncIterator[Interruptible]:
    """Cancel the block at SIGINT or SIGTERM; later ones do not hurry the cleaning up."""
    state = Interruptible()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                async for _ in signals:
                    state.interrupted = True
                    nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            yield state
            nursery.cancel_scope.cancel()

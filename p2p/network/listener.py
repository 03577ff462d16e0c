"""Accepting connections while strangers hold sockets open and say nothing.

A socket has `handshake_timeout_s` to finish the handshake. Beyond `pending_inbound_max` of them
the oldest is evicted: an honest peer is the newest and needs milliseconds, an idle one is the
oldest, so a flood of idle sockets costs a file descriptor each and keeps nobody out.
"""

import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from p2p.network.limits import TransportLimits
from p2p.network.links import guarded

logger = logging.getLogger(__name__)

EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
EXHAUSTED_PAUSE_S: Final = 0.1

Handshake = Callable[[trio.abc.Stream], Awaitable[None]]
"""Completes when the connection is authenticated or has failed; cancelled when it is too slow."""


class Acceptor:
    """Accepts sockets and bounds those that are not authenticated yet."""

    def __init__(self, limits: TransportLimits, handshake: Handshake) -> None:
        self._limits = limits
        self._handshake = handshake
        self._pending: dict[int, trio.CancelScope] = {}
        self._accepted_count = 0

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    async def serve(
        self, listener: trio.abc.Listener[trio.abc.Stream], nursery: trio.Nursery
    ) -> None:
        """Accept until cancelled."""
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    # A peer that reset before we accepted is its own business; a lack of file
                    # descriptors is ours: the oldest half of the waiting sockets makes room.
                    if error.errno in EXHAUSTED:
                        logger.warning("cannot accept a connection: %s", error)
                        self._evict(len(self._pending) // 2)
                        await trio.sleep(EXHAUSTED_PAUSE_S)
                    continue
                nursery.start_soon(self._admit, stream)

    async def _admit(self, stream: trio.abc.Stream) -> None:
        number = self._accepted_count
        self._accepted_count += 1
        self._evict(len(self._pending) + 1 - self._limits.pending_inbound_max)
        with trio.move_on_after(self._limits.handshake_timeout_s) as scope:
            self._pending[number] = scope
            try:
                await guarded(self._handshake, stream)
            finally:
                self._pending.pop(number, None)

    def _evict(self, count: int) -> None:
        for number in list(self._pending)[: max(count, 0)]:
            self._pending.pop(number).cancel()

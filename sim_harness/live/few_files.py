"""Processes without a descriptor, and strangers at their doors who can be let in by nobody.

The nodes' own processes take every descriptor (`held_descriptors`); here a bounded number of plain
connections is opened to each of them, which the kernel completes and nobody can accept. Whoever
stayed is let in, and sent away for saying nothing, when it is over.
"""

import os
import resource
import socket
from typing import Final

from sim_harness.live.hands import Hands

STRANGERS: Final = 16
"""Connections to a node: two looks of an accept loop that evicts by halves never end them all."""
KNOCK_S: Final = 0.5
"""For the kernel to complete one: its queue is longer than there are strangers."""


class FewFilesHarm:
    """Nodes that have no descriptor, from `begin` until `stop`."""

    def __init__(self, hands: Hands, nodes: list[int]) -> None:
        self._hands = hands
        self._nodes = nodes
        self._strangers: list[socket.socket] = []

    async def begin(self) -> None:
        """From now on."""
        await self._hands.each(self._nodes, self._hands.hold_descriptors)
        for index in self._nodes:
            self._knock(index)

    async def stop(self) -> None:
        """They have descriptors again."""
        await self._hands.each(self._nodes, self._hands.free_descriptors)
        while self._strangers:
            self._strangers.pop().close()

    def _knock(self, index: int) -> None:
        ready = self._hands.cluster.nodes[index].ready
        if ready is None or not ready.addresses:
            return
        # /ip4/127.0.0.1/tcp/7707
        _, _, host, _, port = ready.addresses[0].split("/")[:5]
        for _ in range(STRANGERS):
            try:
                self._strangers.append(socket.create_connection((host, int(port)), KNOCK_S))
            except OSError:
                return  # It has just ended.


def descriptors_of(pid: int) -> tuple[int, int] | None:
    """How many descriptors a process has open, and how many it may have; None when it is gone."""
    try:
        limit, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        return len(os.listdir(f"/proc/{pid}/fd")), limit
    except (FileNotFoundError, ProcessLookupError):
        return None

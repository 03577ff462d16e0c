"""What a node process is given: its home, and a line to the harness.

    tell(word) -> sent at once, or kept in order, at most `BACKLOG_MAX`, until `flush` finds room
    tell_newest(word) -> sent at once or not at all: the next one will be as good

Nothing here waits, so watching a node never delays it. What finds no room is dropped and counted.
"""

import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from sim_harness.live.messages import PACKET_BYTES_MAX, NodeOrder, NodeWord, pack, unpack_node_order

BACKLOG_MAX: Final = 20_000
"""Words of some hundred bytes that wait for a harness which is slow."""


class Reporter:
    """A node's end of its status socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._backlog: deque[bytes] = deque()
        self.dropped = 0
        self.kept: Callable[[], None] | None = None
        """Called when a first word has to wait for `flush`; in any thread."""

    def fileno(self) -> int:
        """The socket; it becomes readable with an order, and when the harness is gone."""
        return self._channel.fileno()

    def tell(self, word: NodeWord) -> bool:
        """Send one word now or later; False when it was dropped."""
        data = pack(word)
        if self._backlog or not self._send(data):
            if len(self._backlog) >= BACKLOG_MAX:
                self.dropped += 1
                return False
            self._backlog.append(data)
            if len(self._backlog) == 1 and self.kept is not None:
                self.kept()
        return True

    def tell_newest(self, word: NodeWord) -> bool:
        """Send one word now or never; whether it left."""
        if self._backlog or not self._send(pack(word)):
            self.dropped += 1
            return False
        return True

    @property
    def has_backlog(self) -> bool:
        """Whether words wait for `flush`."""
        return bool(self._backlog)

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self._backlog and self._send(self._backlog[0]):
            self._backlog.popleft()

    def order(self) -> NodeOrder | None:
        """The order that is there to be read; None at the harness's end."""
        data = self._channel.recv(PACKET_BYTES_MAX)
        return unpack_node_order(data) if data else None

    def _send(self, data: bytes) -> bool:
        try:
            self._channel.send(data, socket.MSG_DONTWAIT)
        except OSError:
            # No room, or the harness is gone: neither is the node's trouble.
            return False
        return True


class NodeTask(msgspec.Struct, frozen=True):
    """What a child is to do, as its entry function gets it."""

    node: int
    home: Path
    reporter: Reporter
    options: dict[str, str]


Entry = Callable[[NodeTask], None]

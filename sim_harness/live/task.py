"""What a node process is given: its home, and a line to the harness.

Words leave at once or not at all. The socket's buffer is the bound: when the harness is slow the
word is dropped and counted, so watching a node never delays it.
"""

import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from sim_harness.live.messages import NodeWord, pack


class Reporter:
    """A node's end of its status socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.dropped = 0

    def fileno(self) -> int:
        """The socket; it becomes readable when the harness is gone."""
        return self._channel.fileno()

    def tell(self, word: NodeWord) -> bool:
        """Send one word; whether it left."""
        try:
            self._channel.send(pack(word), socket.MSG_DONTWAIT)
        except OSError:
            # No room, or the harness is gone: neither is the node's trouble.
            self.dropped += 1
            return False
        return True


class NodeTask(msgspec.Struct, frozen=True):
    """What a child is to do, as its entry function gets it."""

    node: int
    home: Path
    reporter: Reporter
    options: dict[str, str]


Entry = Callable[[NodeTask], None]

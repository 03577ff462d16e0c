"""Messages at the verifier: seen, not yet forwarded.

A message is marked as seen before it is checked, so that however long the verdict takes, nothing
is checked or delivered twice. Peers that send it meanwhile are remembered: they need no copy, and
share the fault if it is false.
"""

from collections.abc import Callable
from typing import Final

from p2p.model.rpc import Message, MessageId
from p2p.primitives.units import PeerId
from p2p.protocol.gossip.neighbours import Neighbour
from p2p.protocol.gossip.parameters import GossipParameters


class Pending:
    """One message that waits for its verdict."""

    __slots__ = ("first", "message", "senders", "since_ms")

    def __init__(self, message: Message, first: Neighbour, since_ms: int) -> None:
        self.message = message
        self.first = first
        self.senders: dict[PeerId, None] = {first.peer: None}
        self.since_ms = since_ms


class Validations:
    """Messages at the verifier, oldest first, bounded by number, by bytes and by sender."""

    __slots__ = ("_bytes", "_parameters", "_pending", "get")

    def __init__(self, parameters: GossipParameters) -> None:
        self._parameters = parameters
        self._pending: dict[MessageId, Pending] = {}
        self.get: Final[Callable[[MessageId], Pending | None]] = self._pending.get
        """A message at the verifier, or None."""
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def bytes(self) -> int:
        """Size of the messages at the verifier."""
        return self._bytes

    def has_room(self, message: Message, sender: Neighbour) -> bool:
        """Whether one more may be checked."""
        parameters = self._parameters
        return (
            len(self._pending) < parameters.validations_max
            and sender.validating < parameters.validations_per_peer_max
            and self._bytes + len(message.data) <= parameters.validation_bytes_max
        )

    def add(self, message: Message, sender: Neighbour, now_ms: int) -> None:
        """The message goes to the verifier."""
        self._pending[message.id] = Pending(message, sender, now_ms)
        self._bytes += len(message.data)
        sender.validating += 1

    def pop(self, message_id: MessageId) -> Pending | None:
        """The message is back, or is not waited for any more; None when it was not there."""
        pending = self._pending.pop(message_id, None)
        if pending is not None:
            self._bytes -= len(pending.message.data)
            pending.first.validating -= 1
        return pending

    def expire(self, now_ms: int) -> int:
        """Give up what has been away for too long; how many."""
        if not self._pending:
            return 0
        before_ms = now_ms - self._parameters.validation_timeout_ms
        late = [
            message_id
            for message_id, pending in self._pending.items()
            if pending.since_ms <= before_ms
        ]
        for message_id in late:
            self.pop(message_id)
        return len(late)

"""What was seen lately, and what can still be asked for.

`SeenIds` answers "was this message here before", by first sight and for a fixed time, bounded by
number: when full, the oldest is forgotten early. `MessageCache` (the specification's mcache) keeps
the messages themselves for a few heartbeats, so that neighbours outside the mesh can be offered
them (IHAVE) and ask (IWANT).
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from p2p.model.rpc import Message, MessageId
from p2p.primitives.units import PeerId
from p2p.protocol.gossip.parameters import GossipParameters


class SeenIds:
    """Message ids by the moment at which they are forgotten; time to live is not extended."""

    __slots__ = ("_count_max", "_order", "_ttl_ms", "_until_ms", "has", "rejected")

    def __init__(self, parameters: GossipParameters) -> None:
        self._ttl_ms = parameters.seen_ttl_ms
        self._count_max = parameters.seen_max
        self._until_ms: dict[MessageId, int] = {}
        self.has: Final[Callable[[MessageId], bool]] = self._until_ms.__contains__
        """Whether an id was seen."""
        self._order: deque[MessageId] = deque()
        self.rejected: set[MessageId] = set()
        """Ids of messages that were found false."""

    def __len__(self) -> int:
        return len(self._until_ms)

    def lacks(self, ids: Iterable[MessageId]) -> list[MessageId]:
        """Those of the ids that are not here."""
        return [message_id for message_id in ids if message_id not in self._until_ms]

    def add(self, message_id: MessageId, now_ms: int) -> None:
        """Remember an id that was not there."""
        if len(self._order) >= self._count_max:
            self._forget_oldest()
        self._until_ms[message_id] = now_ms + self._ttl_ms
        self._order.append(message_id)

    def reject(self, message_id: MessageId) -> None:
        """Remember, as long as the id itself, that its message is false."""
        if message_id in self._until_ms:
            self.rejected.add(message_id)

    def expire(self, now_ms: int) -> None:
        """Forget what is too old."""
        order, until_ms = self._order, self._until_ms
        while order and until_ms[order[0]] <= now_ms:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        message_id = self._order.popleft()
        del self._until_ms[message_id]
        self.rejected.discard(message_id)


class _Kept:
    """A message in the cache, its window, and how often each peer was sent it on request."""

    __slots__ = ("message", "near_ms", "senders", "sent", "window")

    def __init__(
        self, message: Message, window: int, senders: dict[PeerId, None], near_ms: int
    ) -> None:
        self.message = message
        self.window = window
        self.sent: dict[PeerId, int] = {}
        self.senders = senders
        """Who brought it, in time."""
        self.near_ms = near_ms
        """Until when a copy counts as a delivery (P3)."""


class MessageCache:
    """Messages of the last `history_windows` heartbeats, bounded by number and bytes."""

    __slots__ = ("_bytes", "_kept", "_order", "_parameters", "_recent", "_window")

    def __init__(self, parameters: GossipParameters) -> None:
        self._parameters = parameters
        self._window = 0
        self._bytes = 0
        self._kept: dict[MessageId, _Kept] = {}
        self._order: deque[MessageId] = deque()
        self._recent: deque[dict[str, deque[MessageId]]] = deque(
            [{}], maxlen=parameters.history_gossip
        )
        """Ids by topic, one map a window, newest last: what gossip offers."""

    def __contains__(self, message_id: MessageId) -> bool:
        return message_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Size of the messages that are kept."""
        return self._bytes

    def put(
        self, message: Message, senders: dict[PeerId, None] | None = None, near_ms: int = -1
    ) -> None:
        """Keep a message, once; the oldest go when there are too many.

        `senders` brought it, and others may until `near_ms`; nobody brings us our own.
        """
        if message.id in self._kept:
            return
        self._kept[message.id] = _Kept(message, self._window, senders or {}, near_ms)
        self._order.append(message.id)
        window = self._recent[-1]
        if message.topic not in window:
            window[message.topic] = deque(maxlen=self._parameters.history_messages_max)
        window[message.topic].append(message.id)
        self._bytes += message.size
        while (
            len(self._order) > self._parameters.history_messages_max
            or self._bytes > self._parameters.history_bytes_max
        ):
            self._forget_oldest()

    def is_near_first(self, peer: PeerId, message_id: MessageId, now_ms: int) -> bool:
        """Note a copy of a peer: whether it is its first, and nearly the first of all."""
        kept = self._kept.get(message_id)
        if kept is None or now_ms > kept.near_ms or peer in kept.senders:
            return False
        kept.senders[peer] = None
        return True

    def get_for(self, peer: PeerId, message_id: MessageId) -> Message | None:
        """A message for a peer that asks; None when gone, or asked for too often by that peer."""
        kept = self._kept.get(message_id)
        if kept is None:
            return None
        # gossipsub v1.1: spam protection: IWANT answers are limited per peer and message.
        times = kept.sent.get(peer, 0)
        if times >= self._parameters.iwant_repeats_max:
            return None
        kept.sent[peer] = times + 1
        return kept.message

    @property
    def window(self) -> int:
        """Number of the window that is open: heartbeats so far."""
        return self._window

    def newest(self, topic: str) -> int:
        """The last window in which a message of the topic came that gossip is about; else -1."""
        for behind, window in enumerate(reversed(self._recent)):
            if topic in window:
                return self._window - behind
        return -1

    def gossip_ids(self, topic: str) -> list[MessageId]:
        """Ids of a topic in the windows that gossip is about, oldest first."""
        kept = self._kept
        return [
            message_id
            for window in self._recent
            if topic in window
            for message_id in window[topic]
            if message_id in kept
        ]

    def shift(self) -> None:
        """A heartbeat has passed: open a window, and forget the oldest."""
        self._window += 1
        self._recent.append({})
        oldest = self._window - self._parameters.history_windows
        while self._order and self._kept[self._order[0]].window <= oldest:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        kept = self._kept.pop(self._order.popleft())
        self._bytes -= kept.message.size

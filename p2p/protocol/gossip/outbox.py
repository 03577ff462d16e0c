"""Everything due to one peer, until it leaves.

At most one RPC is in flight to a peer; the rest waits here, bounded, by priority class, and leaves
coalesced. So a slow peer costs memory up to a bound and holds up nobody else. Control entries merge
while they wait: of GRAFT and PRUNE for one topic the last word counts, newer gossip replaces older,
and a subscription that was not yet sent is undone by its opposite.
"""

from collections.abc import Callable
from itertools import islice
from typing import Final, TypeVar

import msgspec

from p2p.model.rpc import (
    MESSAGE_ID_BYTES,
    IHave,
    Message,
    MessageId,
    Prune,
    Rpc,
    Subscription,
)
from p2p.primitives.units import PeerId
from p2p.protocol.gossip.parameters import GossipParameters, Priority

T = TypeVar("T")
Entries = list[tuple[str, T]]
"""What waits, by topic."""

_ENTRY_BYTES: Final = 24
"""At least the keys, lengths and numbers of one control entry beside its topic, ids and peers."""
_CONTROL_BYTES: Final = 8
"""At least the key and length of the control part."""
_ID_BYTES: Final = 2 + MESSAGE_ID_BYTES
WORD_EVERY: Final = 16
"""Of copies that a peer no longer needs, one in so many is sent all the same: where its words come
before ours each time, we would say nothing, and count as mute. More than the share owed (P3)."""


class Outbox:
    """Queues of one peer.

    `waiting` and `patient` are shared: outboxes with something new to send, at once or when there
    is company.
    """

    __slots__ = (
        "_bytes",
        "_dropped",
        "_idontwant",
        "_ihave",
        "_iwant",
        "_links",
        "_overdue",
        "_parameters",
        "_patient",
        "_queues",
        "_spared",
        "_subscriptions",
        "_waiting",
        "in_flight",
        "messages",
        "peer",
    )

    def __init__(
        self,
        peer: PeerId,
        parameters: GossipParameters,
        *,
        waiting: dict[PeerId, "Outbox"],
        patient: dict[PeerId, "Outbox"],
        dropped: list[int],
    ) -> None:
        self.peer = peer
        self.in_flight = False
        self._parameters = parameters
        self._waiting = waiting
        waits = parameters.patience_ms and not parameters.flush_ms
        self._patient = patient if waits else waiting
        self._dropped = dropped
        self._subscriptions: dict[str, bool] = {}
        self._links: dict[str, Prune | None] = {}
        """GRAFT (None) or PRUNE of a topic."""
        self._ihave: dict[str, IHave] = {}
        self._iwant: dict[MessageId, None] = {}
        self._idontwant: dict[MessageId, None] = {}
        self._queues: tuple[dict[MessageId, Message], ...] = tuple({} for _ in Priority)
        self._spared = [0] * len(Priority)
        """By class: copies that the peer did not need."""
        self._overdue: int | None = None
        """Class whose first message did not fit into the last RPC: it starts the next one."""
        self._bytes = 0
        self.messages = 0
        """How many wait."""

    @property
    def bytes(self) -> int:
        """Size of the messages that wait."""
        return self._bytes

    # ---- what is due

    def add_message(self, message: Message) -> None:
        """Queue a message, once; too much drops the lowest class first, in it the oldest."""
        priority = self._parameters.priority(message.topic)
        queue = self._queues[priority]
        if message.id in queue:
            return
        queue[message.id] = message
        self.messages += 1
        self._bytes += message.size
        due = self._patient if priority is Priority.ADS else self._waiting
        due[self.peer] = self
        if (
            self.messages > self._parameters.queue_messages_max
            or self._bytes > self._parameters.queue_bytes_max
        ):
            self._shed()

    def forget_message(self, message: Message) -> None:
        """The peer has shown that it has the message: a word now and then, else nothing."""
        if not self.messages:
            return
        priority = self._parameters.priority(message.topic)
        if message.id in self._queues[priority]:
            self._spared[priority] += 1
            if self._spared[priority] % WORD_EVERY:
                self._pop(priority, message.id)

    def forget_id(self, message_id: MessageId) -> None:
        """The peer has said that it has a message: do not send it."""
        if self.messages:
            for priority, queue in enumerate(self._queues):
                if message_id in queue:
                    self._pop(priority, message_id)

    def add_idontwant(self, message_id: MessageId) -> None:
        """Say that we need no copy; what the peer would have sent meanwhile, it has sent."""
        if len(self._idontwant) >= self._parameters.idontwant_ids_max:
            del self._idontwant[next(iter(self._idontwant))]
        self._idontwant[message_id] = None
        self._waiting[self.peer] = self

    def add_subscription(self, topic: str, *, subscribe: bool) -> None:
        """Announce that we want a topic's messages, or no longer."""
        if self._subscriptions.get(topic, subscribe) != subscribe:
            del self._subscriptions[topic]
            return
        self._subscriptions[topic] = subscribe
        self._waiting[self.peer] = self

    def add_graft(self, topic: str) -> None:
        """Ask the peer into our mesh."""
        self._add_link(topic, None)

    def add_prune(self, prune: Prune) -> None:
        """Tell the peer that it is not in our mesh."""
        self._add_link(prune.topic, prune)

    def add_ihave(self, ihave: IHave) -> None:
        """Offer messages; replaces what was to be offered of the topic."""
        self._ihave[ihave.topic] = ihave
        self._waiting[self.peer] = self

    def add_iwant(self, ids: list[MessageId]) -> None:
        """Ask for messages, up to a bound."""
        room = self._parameters.ihave_ids_max - len(self._iwant)
        self._iwant.update(dict.fromkeys(ids[:room]))
        self._dropped[Priority.CONTROL] += max(0, len(ids) - room)
        self._waiting[self.peer] = self

    def _add_link(self, topic: str, prune: Prune | None) -> None:
        if topic not in self._links and len(self._links) >= 2 * self._parameters.topics_max:
            del self._links[next(iter(self._links))]
            self._dropped[Priority.CONTROL] += 1
        self._links[topic] = prune
        self._waiting[self.peer] = self

    def _shed(self) -> None:
        parameters = self._parameters
        for priority in reversed(Priority):
            queue = self._queues[priority]
            while queue:
                self._pop(priority, next(iter(queue)))
                self._dropped[priority] += 1
                if (
                    self.messages <= parameters.queue_messages_max
                    and self._bytes <= parameters.queue_bytes_max
                ):
                    return

    def _pop(self, priority: int, message_id: MessageId) -> None:
        message = self._queues[priority].pop(message_id, None)
        if message is not None:
            self.messages -= 1
            self._bytes -= message.size

    # ---- what leaves

    def take(self) -> Rpc | None:
        """The next RPC: control first, then messages by class; None when nothing waits."""
        has_control = (
            self._ihave or self._iwant or self._idontwant or self._links or self._subscriptions
        )
        if not has_control and not self.messages:
            return None
        if not has_control and self._overdue is None:
            return self._take_only() if self.messages == 1 else Rpc((), self._take_messages(0))
        if not self.messages and self._has_offers_alone():
            return self._take_offers()
        overdue = self._take_overdue() if self._overdue is not None else ()
        if overdue and overdue[0].size > self._parameters.rpc_bytes_max:
            return Rpc(publish=overdue)
        used = sum([message.size for message in overdue])
        if not has_control:
            return Rpc((), overdue + self._take_messages(used))
        control, control_bytes = self._take_control(self._parameters.rpc_bytes_max - used)
        messages = overdue + self._take_messages(used + control_bytes)
        return msgspec.structs.replace(control, publish=messages) if messages else control

    def _has_offers_alone(self) -> bool:
        """Whether all that waits is offers of messages, and they fit."""
        if self._iwant or self._idontwant or self._links or self._subscriptions:
            return False
        size = _CONTROL_BYTES + sum([ihave.size for ihave in self._ihave.values()])
        return size <= self._parameters.rpc_bytes_max

    def _take_offers(self) -> Rpc:
        """The usual case of a heartbeat."""
        rpc = Rpc(ihave=tuple(self._ihave.values()))
        self._ihave.clear()
        return rpc

    def _take_overdue(self) -> tuple[Message, ...]:
        """The message that did not fit last time goes first, lest smaller ones always pass it."""
        priority, self._overdue = self._overdue, None
        if priority is None or not self._queues[priority]:
            return ()
        message = next(iter(self._queues[priority].values()))
        self._pop(priority, message.id)
        return (message,)

    def _take_only(self) -> Rpc | None:
        """The usual case: one message waits, and leaves alone, however large it is."""
        self.messages = self._bytes = 0
        for queue in self._queues:
            if queue:
                return queue.popitem()[1].alone
        return None

    def _take_messages(self, used: int) -> tuple[Message, ...]:
        if not self.messages:
            return ()
        taken: list[Message] = []
        for priority, queue in enumerate(self._queues):
            if not queue:
                continue
            start = len(taken)
            for message in queue.values():
                used += message.size
                if used > self._parameters.rpc_bytes_max and used > message.size:
                    self._overdue = priority
                    break
                taken.append(message)
            for message in taken[start:]:
                self._pop(priority, message.id)
            if self._overdue is not None:
                break
        return tuple(taken)

    def _take_control(self, room: int) -> tuple[Rpc, int]:
        """As many control entries as there is room for, and what they take; the rest waits on."""
        left = room - _CONTROL_BYTES
        subscriptions: Entries[bool] = []
        links: Entries[Prune | None] = []
        iwant: list[MessageId] = []
        idontwant: list[MessageId] = []
        if self._idontwant:
            idontwant, left = _take_ids(self._idontwant, left)
        if self._subscriptions:
            subscriptions, left = _take_fitting(self._subscriptions, _subscription_bytes, left)
        if self._links:
            links, left = _take_fitting(self._links, _link_bytes, left)
        if self._iwant:
            iwant, left = _take_ids(self._iwant, left)
        ihave: list[IHave] = []
        for topic in list(self._ihave):
            ids = self._ihave.pop(topic).ids
            topic_bytes = len(topic.encode())
            fitting = max(0, (left - topic_bytes - _ENTRY_BYTES) // _ID_BYTES)
            if fitting:
                ihave.append(IHave(topic, ids[:fitting]))
                left -= topic_bytes + _ENTRY_BYTES + _ID_BYTES * len(ihave[-1].ids)
            if len(ids) > fitting:
                self._ihave[topic] = IHave(topic, ids[fitting:])
        rpc = Rpc(
            subscriptions=tuple(Subscription(wanted, topic) for topic, wanted in subscriptions),
            ihave=tuple(ihave),
            iwant=tuple(iwant),
            graft=tuple(topic for topic, prune in links if prune is None),
            prune=tuple(prune for _, prune in links if prune is not None),
            idontwant=tuple(idontwant),
        )
        return rpc, room - left


def _subscription_bytes(topic: str, _: bool) -> int:
    return len(topic.encode()) + _ENTRY_BYTES


def _link_bytes(topic: str, prune: Prune | None) -> int:
    peers = prune.peers if prune is not None else ()
    suggested = sum(len(info.peer) + len(info.record) + _ENTRY_BYTES for info in peers)
    return len(topic.encode()) + _ENTRY_BYTES + suggested


def _take_fitting(
    entries: dict[str, T], size_of: Callable[[str, T], int], left: int
) -> tuple[Entries[T], int]:
    """The oldest entries that fit into what is left, removed, and what is left then."""
    taken: Entries[T] = []
    for topic, entry in entries.items():
        size = size_of(topic, entry)
        if size > left:
            break
        left -= size
        taken.append((topic, entry))
    for topic, _ in taken:
        del entries[topic]
    return taken, left


def _take_ids(ids: dict[MessageId, None], left: int) -> tuple[list[MessageId], int]:
    fitting = max(0, (left - _ENTRY_BYTES) // _ID_BYTES)
    taken = list(islice(ids, fitting))
    for message_id in taken:
        del ids[message_id]
    return taken, left - (len(taken) and _ENTRY_BYTES + _ID_BYTES * len(taken))

"""A virtual node: the product's replica and verifier, with a modelled disk, timers and crashes.

It carries out effects as the live driver does: in order, and nothing that follows a `Persist` before
its writes are durable. While the disk is busy inputs wait. A crash loses what was not durable.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, assert_never

from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import RequestFailed, TimerFired
from p2p.model.persistence import Write
from p2p.model.rejection import Rejected
from p2p.model.requests import Blocks, Response
from p2p.model.rpc import RpcReceived, RpcSent, SendRpc, encode_rpc
from p2p.node.verifier import Verifier
from p2p.primitives.codec import encode
from p2p.primitives.keys import Key
from p2p.primitives.units import Millis
from p2p.protocol.interface import (
    Command,
    Event,
    MessageRefused,
    MessageVerified,
    Notify,
    PeerMisbehaved,
    ReplicaEffect,
    ReplicaInput,
    RequestArrived,
    Respond,
    RespondBlocks,
    ResponseArrived,
    SendRequest,
    Started,
    Verify,
)
from p2p.protocol.replica import Replica
from p2p.storage.blocks import stored_blocks
from p2p.storage.memory import MemoryStore
from p2p.storage.saved import read_saved

if TYPE_CHECKING:
    from sim_harness.virtual.world import World

SYNC_US: Final = 2_000
"""An fsync of a good SSD."""


class VirtualNode:
    """One node of a `World`; `index` names it there."""

    def __init__(self, world: "World", index: int, key: Key, verifier: Verifier) -> None:
        self.world = world
        self.index = index
        self.key = key
        self.store = MemoryStore()
        self.replica: Replica | None = None
        self.incarnation = 0
        self.events: list[tuple[Millis, Event]] = []
        self._verifier = verifier
        self._timers: dict[str, Millis] = {}
        self._inbox: deque[ReplicaInput] = deque()
        self._syncing: list[Write] = []
        self._is_syncing = False
        self._replies: dict[int, Callable[[object], None]] = {}
        self._next_ticket = 1
        self._asked: dict[int, Callable[[Response | None], None]] = {}
        self._next_asked = 1
        self._open_requests: set[int] = set()

    @property
    def is_up(self) -> bool:
        """Whether the process runs."""
        return self.replica is not None

    @property
    def height(self) -> int:
        """Last height committed by the running process, 0 while down."""
        return 0 if self.replica is None else self.replica.state.height

    # ---- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, or begin again on the same disk."""
        self.incarnation += 1
        self.replica = self.world.new_replica(self, read_saved(self.store))
        self.feed(Started((self.world.address_of(self.index),)))

    def crash(self) -> None:
        """Stop at once. Writes under way are lost, or made it, as the disk's stream says."""
        if self._is_syncing and self.world.draw_survival():
            self.store.commit(self._syncing)
        self.replica = None
        self._timers.clear()
        self._inbox.clear()
        self._syncing, self._is_syncing = [], False
        self._replies.clear()
        self._asked.clear()
        self._open_requests.clear()
        self.incarnation += 1

    # ---- steps -------------------------------------------------------------------------------

    def feed(self, item: ReplicaInput) -> None:
        """Let something happen to the node, now or when its disk is done."""
        if self.replica is None:
            return
        if self._is_syncing:
            self._inbox.append(item)
        else:
            self._carry_out(self._step(item))

    def ask(self, command: Callable[[int], Command], then: Callable[[object], None]) -> None:
        """Give a command; `then` gets its result, unless the node crashes before."""
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        self._replies[ticket] = then
        self.feed(command(ticket))

    def _step(self, item: ReplicaInput) -> list[ReplicaEffect]:
        assert self.replica is not None
        effects: list[ReplicaEffect] = []
        for effect in self.replica.step(item, self.world.now_ms):
            if isinstance(effect, Verify):
                effects += self._step(self._verified(effect))
            else:
                effects.append(effect)
        return effects

    def _verified(self, effect: Verify) -> MessageVerified | MessageRefused:
        assert self.replica is not None
        answer = self._verifier.message(effect.topic, effect.data, self.replica.admits)
        origin = (effect.message_id, effect.topic, effect.peer)
        if isinstance(answer, Rejected):
            return MessageRefused(*origin, answer.reason, answer.detail)
        return MessageVerified(*origin, answer)

    def _carry_out(self, effects: list[ReplicaEffect]) -> None:
        for place, effect in enumerate(effects):
            if isinstance(effect, Persist):
                self._sync(list(effect.writes), effects[place + 1 :])
                return
            self._order(effect)

    def _sync(self, writes: list[Write], rest: list[ReplicaEffect]) -> None:
        self._syncing, self._is_syncing = writes, True
        incarnation = self.incarnation

        def synced() -> bytes:
            if self.incarnation != incarnation:
                return b"%d gone" % self.index
            self.store.commit(self._syncing)
            self._syncing, self._is_syncing = [], False
            self._carry_out(rest)
            while self._inbox and not self._is_syncing:
                self._carry_out(self._step(self._inbox.popleft()))
            return b"%d" % self.index

        self.world.heap.after(self.world.sync_us(), "synced", synced)

    # ---- effects -----------------------------------------------------------------------------

    def _order(self, effect: ReplicaEffect) -> None:
        match effect:
            case SendRpc():
                self._send_rpc(effect)
            case SetTimer():
                self._set_timer(effect)
            case CancelTimer():
                self._timers.pop(effect.key, None)
            case Dial():
                self.world.dial(self.index, effect.peer)
            case HangUp():
                self.world.hang_up(self.index, effect.peer)
            case SendRequest():
                self._send_request(effect)
            case Respond():
                self._respond(effect.request_id, effect.response)
            case RespondBlocks():
                found = stored_blocks(self.store, effect.from_height, effect.count)
                self._respond(effect.request_id, Blocks(found))
            case Reply():
                then = self._replies.pop(effect.ticket, None)
                if then is not None:
                    then(effect.result)
            case Notify():
                self.events.append((self.world.now_ms, effect.event))
                self.world.heard(self, effect.event)
            case Persist() | Verify():
                raise AssertionError("carried out before")
            case _:
                assert_never(effect)

    def _set_timer(self, effect: SetTimer) -> None:
        self._timers[effect.key] = effect.at_ms
        incarnation = self.incarnation

        def fire() -> bytes:
            if self.incarnation == incarnation and self._timers.get(effect.key) == effect.at_ms:
                del self._timers[effect.key]
                self.feed(TimerFired(effect.key))
            return b"%d %b" % (self.index, effect.key.encode())

        self.world.heap.at(effect.at_ms * 1_000, "timer", fire)

    def _send_rpc(self, effect: SendRpc) -> None:
        target = self.world.by_peer.get(effect.peer)
        if target is None:
            return
        size = len(encode_rpc(effect.rpc))
        names = b"".join(message.id[:4] for message in effect.rpc.publish)

        def deliver() -> bytes:
            target.feed(RpcReceived(self.key.peer, effect.rpc))
            return b"%d>%d %d %b" % (self.index, target.index, size, names)

        leaves_us = self.world.links.send(self.index, target.index, size, "rpc", deliver)
        incarnation = self.incarnation

        def sent() -> bytes:
            if self.incarnation == incarnation:
                self.feed(RpcSent(effect.peer))
            return b"%d" % self.index

        self.world.heap.at(leaves_us, "sent", sent)

    # ---- requests ----------------------------------------------------------------------------

    def _send_request(self, effect: SendRequest) -> None:
        target = self.world.by_peer.get(effect.peer)
        incarnation = self.incarnation
        self._open_requests.add(effect.request_id)

        def fail() -> bytes:
            if self.incarnation == incarnation and effect.request_id in self._open_requests:
                self._open_requests.remove(effect.request_id)
                self.feed(RequestFailed(effect.request_id, effect.peer))
            return b"%d" % self.index

        self.world.heap.after(effect.deadline_ms * 1_000, "deadline", fail)
        if target is None or not self.world.links.is_up(self.index, target.index):
            self.world.heap.after(0, "unreachable", fail)
            return

        def deliver() -> bytes:
            target.receive_request(self, effect, incarnation)
            return b"%d>%d" % (self.index, target.index)

        size = len(encode(effect.request))
        self.world.links.send(self.index, target.index, size, "request", deliver)

    def receive_request(self, asker: "VirtualNode", sent: SendRequest, incarnation: int) -> None:
        """A request arrives from another node; the answer travels back over the link."""
        request_id, self._next_asked = self._next_asked, self._next_asked + 1

        def answer(response: Response | None) -> None:
            def deliver() -> bytes:
                asker.receive_response(self, sent, response, incarnation)
                return b"%d>%d" % (self.index, asker.index)

            size = 1 if response is None else len(encode(response))
            self.world.links.send(self.index, asker.index, size, "response", deliver)

        self._asked[request_id] = answer
        self.feed(RequestArrived(request_id, asker.key.peer, sent.request))

    def _respond(self, request_id: int, response: Response | None) -> None:
        answer = self._asked.pop(request_id, None)
        if answer is not None:
            answer(response)

    def receive_response(
        self,
        source: "VirtualNode",
        sent: SendRequest,
        response: Response | None,
        incarnation: int,
    ) -> None:
        """The answer to a request of ours arrives."""
        if self.incarnation != incarnation or sent.request_id not in self._open_requests:
            return
        self._open_requests.remove(sent.request_id)
        verified = None if response is None else self._verifier.response(response)
        if verified is None or isinstance(verified, Rejected):
            if isinstance(verified, Rejected):
                self.feed(PeerMisbehaved(source.key.peer, verified.reason, verified.detail))
            self.feed(RequestFailed(sent.request_id, source.key.peer))
        else:
            self.feed(ResponseArrived(sent.request_id, source.key.peer, verified))

"""A virtual node: the product's replica and verifier, with a modelled disk, timers and crashes.

It carries out effects as the live driver does: in order, and nothing that follows a `Persist`
before its writes are durable. While the disk is busy inputs wait. A crash loses what was not
durable.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, assert_never

from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import PeerDisconnected, RequestFailed, TimerFired
from p2p.model.light import LightRequest
from p2p.model.persistence import Write
from p2p.model.rejection import Rejected
from p2p.model.requests import Blocks, Request, Response
from p2p.model.rpc import Rpc, RpcReceived, RpcSent, SendRpc
from p2p.node.verifier import Verifier
from p2p.primitives.codec import encode
from p2p.primitives.keys import Key
from p2p.primitives.units import Millis, PeerId
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
from p2p.storage.light import light_answer
from p2p.storage.memory import MemoryStore
from p2p.storage.rescue import restore
from sim_harness.virtual.clocks import SkewedClock
from sim_harness.virtual.disk import Disk
from sim_harness.virtual.heap import MICROS_PER_MS, What
from sim_harness.virtual.links import Connection

if TYPE_CHECKING:
    from sim_harness.virtual.world import World

Behaviour = Callable[["VirtualNode", ReplicaInput, list[ReplicaEffect]], list[ReplicaEffect]]
"""Sees each input and what the core makes of it; what it returns is carried out instead."""
LightTeller = Callable[[PeerId, Request, Response | None, Millis], Response | None]
"""Sees who asks what, and the true answer; what it returns is answered instead."""


class VirtualNode:
    """One node of a `World`; `index` names it there."""

    def __init__(self, world: "World", index: int, key: Key, verifier: Verifier) -> None:
        self.world = world
        self.index = index
        self.key = key
        self.disk = Disk(world.heap, world.stream("disk"))
        self.clock = SkewedClock(world.heap)
        self.behaviour: Behaviour | None = None
        """An adversary's, or a watcher's; None is the product as it is."""
        self.tells_light: LightTeller | None = None
        """An adversary's answer to light clients; None is what is stored."""
        self.stops: list[tuple[Millis, str]] = []
        """When and why processes ended by themselves."""
        self.mended: list[tuple[Millis, str]] = []
        """When it found which damage on its disk, and mended it."""
        self.lives: list[tuple[Millis, Millis | None]] = []
        """From when to when its processes ran; None: it runs."""
        self.is_paused = False
        self.connected: dict[PeerId, tuple[VirtualNode, Connection]] = {}
        """Whom it believes to be connected to, and by what; the network's word."""
        self.replica: Replica | None = None
        self.incarnation = 0
        """Starts and crashes so far: names the process, for news that comes late."""
        self.crashes = 0
        self.events: list[tuple[Millis, Event]] = []
        """What its processes notified of, and when."""
        self._verifier = verifier
        self._timers: dict[str, Millis] = {}
        self._inbox: deque[ReplicaInput] = deque()
        self._held: list[ReplicaEffect] | None = None
        """What a paused process has still to do of its last step."""
        self._is_draining = False
        self._replies: dict[int, Callable[[object], None]] = {}
        self._next_ticket = 1
        self._asked: dict[int, Callable[[Response | None], None]] = {}
        self._next_asked = 1
        self._open_requests: dict[int, PeerId] = {}

    @property
    def store(self) -> MemoryStore:
        """What is durable."""
        return self.disk.store

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
        self.lives.append((self.world.now_ms, None))
        self.clock.restart()
        saved, mended = restore(self.store, self.world.genesis)
        self.mended += [(self.world.now_ms, one) for one in mended]
        self.replica = self.world.new_replica(self, saved)
        self.feed(Started((self.world.address_of(self.index),)))

    def crash(self, *, survives: bool | None = None) -> None:
        """Stop at once; `survives`: whether a batch under way is found on the disk.

        For the world alone, whose `crash` also tells the neighbours.
        """
        self.disk.crash(survives=survives)
        self.replica = None
        self.lives[-1] = (self.lives[-1][0], self.world.now_ms)
        self.crashes += 1
        self._timers.clear()
        self._inbox.clear()
        self._held = None
        self._replies.clear()
        self._asked.clear()
        self._open_requests.clear()
        self.incarnation += 1

    def pause(self) -> None:
        """Freeze the process; for the world alone, whose `pause` also holds its connections."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on: first with what was under way, then with what waited."""
        self.is_paused = False
        held, self._held = self._held, None
        if self.replica is not None:
            self._drain(held)

    def wake_timers(self) -> None:
        """The clock was set: look at all timers anew."""
        for key, at_ms in list(self._timers.items()):
            self._plan_timer(key, at_ms)

    # ---- steps -------------------------------------------------------------------------------

    def feed(self, item: ReplicaInput) -> None:
        """Let something happen to the node, now or when its disk is done."""
        if self.replica is not None:
            self._inbox.append(item)
            if not self._is_draining:
                self._drain()

    def lost(self, peer: PeerId, reason: str) -> None:
        """A connection is gone, and every answer that was to come over it."""
        self.feed(PeerDisconnected(peer, reason))
        for request_id in [one for one, asked in self._open_requests.items() if asked == peer]:
            self._fail(request_id)

    def ask(self, command: Callable[[int], Command], then: Callable[[object], None]) -> None:
        """Give a command; `then` gets its result, unless the node crashes before."""
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        self._replies[ticket] = then
        self.feed(command(ticket))

    def _step(self, item: ReplicaInput) -> list[ReplicaEffect]:
        assert self.replica is not None
        effects = self.replica.step(item, self.clock.now_ms())
        for effect in effects:
            if isinstance(effect, Verify):
                return self._with_verdicts(effects)
        return effects

    def _with_verdicts(self, ordered: list[ReplicaEffect]) -> list[ReplicaEffect]:
        """Answer every question for a verdict in the step that asked it, as the driver does."""
        effects: list[ReplicaEffect] = []
        for effect in ordered:
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

    def _drain(self, rest: list[ReplicaEffect] | None = None) -> None:
        """Carry out what is left of a step, then step what waits, until the disk is busy."""
        if self.is_paused:
            self._held = rest if rest is not None else self._held
            return
        if self._is_draining:
            return  # An effect caused this input: its turn comes after the effects beside it.
        self._is_draining = True
        inbox, disk = self._inbox, self.disk
        try:
            if rest:
                self._carry_out(rest)
            while inbox and not disk.is_busy:
                item = inbox.popleft()
                effects = self._step(item)
                if self.behaviour is not None:
                    effects = self.behaviour(self, item, effects)
                if effects:
                    self._carry_out(effects)
        finally:
            self._is_draining = False

    def _carry_out(self, effects: list[ReplicaEffect]) -> None:
        incarnation = self.incarnation
        for place, effect in enumerate(effects):
            if isinstance(effect, SendRpc):
                self._send_rpc(effect)
            elif isinstance(effect, Persist):
                self._persist(effect.writes, effects[place + 1 :])
                return
            else:
                self._order(effect)
            if self.incarnation != incarnation:
                return

    def _persist(self, writes: Sequence[Write], rest: list[ReplicaEffect]) -> None:
        def durable() -> None:
            if self.disk.dies(durable=True):
                self.world.crash(self)
            else:
                self._drain(rest)

        def failed(why: str) -> None:
            self.stops.append((self.world.now_ms, why))
            self.world.crash(self, survives=False)

        self.disk.write(writes, durable, failed)
        if self.disk.dies(durable=False):
            self.world.crash(self, survives=False)

    # ---- effects -----------------------------------------------------------------------------

    def _order(self, effect: ReplicaEffect) -> None:
        match effect:
            case SetTimer():
                self._set_timer(effect)
            case CancelTimer():
                self._timers.pop(effect.key, None)
            case Dial():
                self.world.network.dial(self, effect.peer)
            case HangUp():
                self.world.heard_hang_up(self, effect)
                self.world.network.hang_up(self, effect.peer, effect.reason)
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
            case SendRpc() | Persist() | Verify():
                raise AssertionError("carried out before")
            case _:
                assert_never(effect)

    def _set_timer(self, effect: SetTimer) -> None:
        self._timers[effect.key] = effect.at_ms
        self._plan_timer(effect.key, effect.at_ms)

    def _plan_timer(self, key: str, at_ms: Millis) -> None:
        incarnation = self.incarnation

        def fire() -> What:
            if self.incarnation == incarnation and self._timers.get(key) == at_ms:
                if self.clock.now_ms() < at_ms:
                    self._plan_timer(key, at_ms)
                else:
                    del self._timers[key]
                    self.feed(TimerFired(key))
            return self.index, key

        self.world.heap.after(self.clock.wait_us(at_ms), "timer", fire)

    def _send_rpc(self, effect: SendRpc) -> None:
        world, peer = self.world, effect.peer
        if world.network.strangers:
            stranger = world.network.strangers.get(peer)
            if stranger is not None:
                stranger.heard(self, effect.rpc)
        believed = self.connected.get(peer)
        if believed is None:
            return
        target, connection = believed
        rpc = world.on_the_wire(self, target, effect.rpc)
        size = rpc.size
        if world.tap is not None:
            world.tap(self, rpc, size)
        deliver = partial(target.receive_rpc, self, rpc, size)
        sent = partial(self._sent, peer, believed, self.incarnation)
        if world.links.send(connection, self.index, size, "rpc", deliver, sent):
            self._inbox.append(RpcSent(peer))

    def receive_rpc(self, source: "VirtualNode", rpc: Rpc, size: int) -> What:
        """An RPC arrives from another node."""
        self.feed(RpcReceived(source.key.peer, rpc))
        if not rpc.publish:
            return source.index, self.index, size
        return source.index, self.index, size, *[message.id for message in rpc.publish]

    def _sent(self, peer: PeerId, over: object, incarnation: int) -> What:
        # The news belongs to the connection: the next one begins with nothing in flight.
        if self.incarnation == incarnation and self.connected.get(peer) is over:
            self.feed(RpcSent(peer))
        return (self.index,)

    # ---- requests ----------------------------------------------------------------------------

    def _send_request(self, effect: SendRequest) -> None:
        believed = self.connected.get(effect.peer)
        incarnation = self.incarnation
        self._open_requests[effect.request_id] = effect.peer

        def fail() -> bytes:
            if self.incarnation == incarnation:
                self._fail(effect.request_id)
            return b"%d" % self.index

        self.world.heap.after(effect.deadline_ms * MICROS_PER_MS, "deadline", fail)
        if believed is None:
            self.world.heap.after(0, "unreachable", fail)
            return
        target, connection = believed

        def deliver() -> bytes:
            target.receive_request(self, connection, effect)
            return b"%d>%d" % (self.index, target.index)

        size = len(encode(effect.request))
        self.world.links.send(connection, self.index, size, "request", deliver)

    def _fail(self, request_id: int) -> None:
        peer = self._open_requests.pop(request_id, None)
        if peer is not None:
            self.feed(RequestFailed(request_id, peer))

    def receive_request(
        self, asker: "VirtualNode", connection: Connection, sent: SendRequest
    ) -> None:
        """A request arrives from another node; the answer goes back over the same connection."""
        request_id, self._next_asked = self._next_asked, self._next_asked + 1
        incarnation = asker.incarnation

        def answer(response: Response | None) -> None:
            def deliver() -> bytes:
                if asker.incarnation == incarnation:
                    asker.receive_response(self, sent, response)
                return b"%d>%d" % (self.index, asker.index)

            size = 1 if response is None else len(encode(response))
            self.world.links.send(connection, self.index, size, "response", deliver)

        if isinstance(sent.request, LightRequest):
            if self.replica is not None:
                found: Response | None
                found = light_answer(self.store, self.replica.state, sent.request)
                if self.tells_light is not None:
                    found = self.tells_light(asker.key.peer, sent.request, found, self.world.now_ms)
                answer(found)
            return
        self._asked[request_id] = answer
        self.feed(RequestArrived(request_id, asker.key.peer, sent.request))

    def _respond(self, request_id: int, response: Response | None) -> None:
        answer = self._asked.pop(request_id, None)
        if answer is not None:
            if response is not None and self.world.is_honest(self):
                self.world.book.note_response(response)
            answer(response)

    def receive_response(
        self, source: "VirtualNode", sent: SendRequest, response: Response | None
    ) -> None:
        """The answer to a request of ours arrives."""
        if sent.request_id not in self._open_requests:
            return
        verified = None
        if response is not None and self.replica is not None:
            verified = self._verifier.response(response, self.replica.voters)
        if verified is None or isinstance(verified, Rejected):
            if isinstance(verified, Rejected):
                self.feed(PeerMisbehaved(source.key.peer, verified.reason, verified.detail))
            self._fail(sent.request_id)
        else:
            del self._open_requests[sent.request_id]
            self.feed(ResponseArrived(sent.request_id, source.key.peer, verified))

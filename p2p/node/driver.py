"""The driver: carries out in the live world what the replica orders.

    transport, timers, commands -> inbox -> Replica.step -> effects, in order:
        Persist ........ one store transaction a batch, before any later effect leaves
        SendRpc, Dial .. the transport
        Verify ......... the verifier, whose answer is stepped in the same batch
        Reply, Notify .. whoever asked, whoever watches

One task steps the replica, a batch of inputs at a time; while a commit is under way inputs wait in
the inbox, whose bound is the back-pressure on peers. So the replica may speak to a connection that
is gone meanwhile; what it says is dropped, not said to the peer's next one.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, assert_never, cast

import trio

from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Dial, HangUp, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.light import LIGHT_PROTOCOL, LightRequest, LightResponse
from p2p.model.persistence import Write
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import (
    PEERS_PROTOCOL,
    REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    SYNC_PROTOCOL,
    Blocks,
    PeersProtocolRequest,
    PeersProtocolResponse,
    Request,
    Response,
    SyncRequest,
    SyncResponse,
)
from p2p.model.rpc import RpcReceived, RpcSent, SendRpc, encode_rpc
from p2p.network.port import Direction, MessageStream, Transport, TransportError
from p2p.node.clock import SteadyClock
from p2p.node.recent_rpcs import RecentRpcs
from p2p.node.timers import Timers
from p2p.node.verifier import Verifier
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import (
    Command,
    DialFailed,
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
    Verify,
)
from p2p.protocol.replica import Replica
from p2p.storage.blocks import stored_blocks
from p2p.storage.light import light_answer
from p2p.storage.port import Store

log = logging.getLogger(__name__)

INBOX_MAX: Final = 1_024
"""Inputs that wait to be stepped before peers are made to wait."""
BATCH_MAX: Final = 64
"""Inputs stepped before the loop lets others run: at 100 us each, about 6 ms."""
EVENTS_MAX: Final = 1_000
"""Events that a slow watcher may lag behind before it misses some."""


StreamHandler = Callable[[MessageStream], Awaitable[None]]


class Driver:
    """Runs one replica over a store and a transport. It is the transport's handler."""

    def __init__(
        self,
        *,
        replica: Replica,
        store: Store,
        transport: Transport,
        verifier: Verifier,
        clock: SteadyClock,
        after_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._replica = replica
        self._store = store
        self._transport = transport
        self._verifier = verifier
        self._clock = clock
        self._timers = Timers()
        self._after_step = after_step
        self._inbox: deque[ReplicaInput] = deque()
        self._wake = trio.Event()
        self._room = trio.Event()
        self._tickets: dict[int, trio.MemorySendChannel[object]] = {}
        self._next_ticket = 1
        self._asked: dict[int, trio.MemorySendChannel[Response | None]] = {}
        self._next_asked = 1
        self._watchers: list[trio.MemorySendChannel[Event]] = []
        self._decoded = RecentRpcs()
        self._unseen_losses: dict[PeerId, int] = {}
        """How many times a peer disconnected that the replica has not been told yet."""
        self._nursery: trio.Nursery | None = None
        self.streams: dict[str, StreamHandler] = {}
        """Who serves the message streams of a protocol."""

    # ---- the loop ----------------------------------------------------------------------------

    async def run(self, first: ReplicaInput) -> None:
        """Step the replica until cancelled. Raises StoreError when a commit fails."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.put(first)
            try:
                while True:
                    await self._wait()
                    await self._carry_out(self._step_batch())
            finally:
                nursery.cancel_scope.cancel()

    def put(self, item: ReplicaInput) -> None:
        """Add an input to the inbox."""
        self._inbox.append(item)
        self._wake.set()

    def look_again(self) -> None:
        """The clock was set: timers may be due that were not."""
        self._wake.set()

    async def _wait(self) -> None:
        due_ms = self._timers.next_ms()
        if self._inbox:
            await trio.lowlevel.checkpoint()
            return
        self._wake = trio.Event()
        if due_ms is None:
            await self._wake.wait()
            return
        delay_s = (due_ms - self._clock.now_ms()) / 1000
        with trio.move_on_after(max(0.0, delay_s)):
            await self._wake.wait()

    def _step_batch(self) -> list[ReplicaEffect]:
        now_ms = self._clock.now_ms()
        effects: list[ReplicaEffect] = []
        for _ in range(BATCH_MAX):
            if self._inbox:
                item = self._inbox.popleft()
            elif (key := self._timers.pop_due(now_ms)) is not None:
                item = TimerFired(key)
            else:
                break
            self._step(item, now_ms, effects)
        # Timers are never starved by a full inbox.
        while (key := self._timers.pop_due(now_ms)) is not None:
            self._step(TimerFired(key), now_ms, effects)
        if len(self._inbox) < INBOX_MAX and not self._room.is_set():
            self._room.set()
        return effects

    def _step(self, item: ReplicaInput, now_ms: Millis, effects: list[ReplicaEffect]) -> None:
        told = self._replica.step(item, now_ms)
        self._after_step()
        if isinstance(item, PeerDisconnected):
            self._see_loss(item.peer, effects)
        for effect in told:
            match effect:
                case Verify():
                    self._step(self._verified(effect), now_ms, effects)
                # Timers are no news to anybody outside, so they need not wait for a commit.
                case SetTimer():
                    self._timers.set(effect.key, effect.at_ms)
                case CancelTimer():
                    self._timers.cancel(effect.key)
                case _:
                    effects.append(effect)

    def _see_loss(self, peer: PeerId, effects: list[ReplicaEffect]) -> None:
        """The replica knows now; what this batch meant for that connection goes nowhere."""
        left = self._unseen_losses.pop(peer, 1) - 1
        if left:
            self._unseen_losses[peer] = left
        effects[:] = [
            one for one in effects if not (isinstance(one, SendRpc | HangUp) and one.peer == peer)
        ]

    def _verified(self, effect: Verify) -> MessageVerified | MessageRefused:
        answer = self._verifier.message(effect.topic, effect.data, self._replica.admits)
        if isinstance(answer, Rejected):
            return MessageRefused(
                effect.message_id, effect.topic, effect.peer, answer.reason, answer.detail
            )
        return MessageVerified(effect.message_id, effect.topic, effect.peer, answer)

    # ---- effects -----------------------------------------------------------------------------

    async def _carry_out(self, effects: Sequence[ReplicaEffect]) -> None:
        writes: list[Write] = []
        for effect in effects:
            if isinstance(effect, Persist):
                writes.extend(effect.writes)
        if writes:
            # A commit that has begun is finished even when the node is told to stop.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._store.commit, writes)
        for effect in effects:
            self._order(effect)

    def _order(self, effect: ReplicaEffect) -> None:
        nursery = self._nursery
        assert nursery is not None
        match effect:
            case SendRpc():
                if effect.peer not in self._unseen_losses:
                    self._transport.send_rpc(effect.peer, encode_rpc(effect.rpc))
            case SendRequest():
                nursery.start_soon(self._request, effect)
            case Respond():
                self._respond(effect.request_id, effect.response)
            case RespondBlocks():
                found = stored_blocks(self._store, effect.from_height, effect.count)
                self._respond(effect.request_id, Blocks(found))
            case Dial():
                nursery.start_soon(self._dial, effect)
            case HangUp():
                # One meant for a connection that is gone must not close a newer one.
                if effect.peer not in self._unseen_losses:
                    nursery.start_soon(self._transport.hang_up, effect.peer)
            case Reply():
                if (waiting := self._tickets.pop(effect.ticket, None)) is not None:
                    waiting.send_nowait(effect.result)
            case Notify():
                self._tell(effect.event)
            case Persist() | SetTimer() | CancelTimer() | Verify():
                pass  # done before
            case _:
                assert_never(effect)

    def _respond(self, request_id: int, response: Response | None) -> None:
        if (waiting := self._asked.pop(request_id, None)) is not None:
            waiting.send_nowait(response)

    async def _dial(self, effect: Dial) -> None:
        try:
            await self._transport.dial(effect.peer, effect.addresses)
        except TransportError as error:
            log.debug("dial failed: %s", error)
            self.put(DialFailed(effect.peer))

    async def _request(self, effect: SendRequest) -> None:
        protocol, kind = SYNC_PROTOCOL, cast("object", SyncResponse)
        if isinstance(effect.request, PeersProtocolRequest):
            protocol, kind = PEERS_PROTOCOL, PeersProtocolResponse
        elif isinstance(effect.request, LightRequest):
            protocol, kind = LIGHT_PROTOCOL, LightResponse
        failed = RequestFailed(effect.request_id, effect.peer)
        try:
            data = await self._transport.request(
                effect.peer,
                protocol,
                encode(effect.request),
                bytes_max=RESPONSE_BYTES_MAX,
                deadline_s=effect.deadline_ms / 1000,
            )
        except TransportError as error:
            log.debug("request failed: %s", error)
            self.put(failed)
            return
        try:
            response: Response = decode(data, kind, bytes_max=RESPONSE_BYTES_MAX)  # type: ignore[arg-type]
        except Malformed as error:
            self.put(PeerMisbehaved(effect.peer, Reason.MALFORMED, str(error)))
            self.put(failed)
            return
        verified = self._verifier.response(response, self._replica.voters)
        if isinstance(verified, Rejected):
            self.put(PeerMisbehaved(effect.peer, verified.reason, verified.detail))
            self.put(failed)
        else:
            self.put(ResponseArrived(effect.request_id, effect.peer, verified))

    # ---- commands and watchers -----------------------------------------------------------------

    async def ask(self, command: Callable[[int], Command]) -> object:
        """Give a command, made from its ticket, and wait for its durable result."""
        ticket = self._next_ticket
        self._next_ticket += 1
        send, receive = trio.open_memory_channel[object](1)
        self._tickets[ticket] = send
        self.put(command(ticket))
        try:
            return await receive.receive()
        finally:
            self._tickets.pop(ticket, None)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Subscribe to events until the block ends."""
        send, receive = trio.open_memory_channel[Event](EVENTS_MAX)
        self._watchers.append(send)
        try:
            yield receive
        finally:
            self._watchers.remove(send)

    def _tell(self, event: Event) -> None:
        log.debug("%s", event)
        for watcher in self._watchers:
            try:
                watcher.send_nowait(event)
            except trio.WouldBlock:
                log.warning("a watcher of events is too slow and missed one")

    # ---- TransportHandler ----------------------------------------------------------------------

    def peer_connected(self, peer: PeerId, direction: Direction, address: str) -> None:
        self.put(PeerConnected(peer, direction is Direction.OUTBOUND, address))

    def peer_disconnected(self, peer: PeerId, reason: str) -> None:
        self._unseen_losses[peer] = self._unseen_losses.get(peer, 0) + 1
        self.put(PeerDisconnected(peer, reason))

    def rpc_sent(self, peer: PeerId) -> None:
        self.put(RpcSent(peer))

    def rpc_received(self, peer: PeerId, data: bytes) -> trio.Event | None:
        rpc = self._decoded.get(data)
        if rpc is None:
            try:
                rpc = self._decoded.decode(data)
            except Malformed as error:
                self.put(PeerMisbehaved(peer, Reason.MALFORMED, str(error)))
                return None
        self.put(RpcReceived(peer, rpc))
        if len(self._inbox) < INBOX_MAX:
            return None
        # One event for all who wait: replaced, it would leave the others asleep for ever.
        if self._room.is_set():
            self._room = trio.Event()
        return self._room

    async def request_received(self, peer: PeerId, protocol: str, data: bytes) -> bytes | None:
        if protocol == LIGHT_PROTOCOL:
            return self._answer_light(peer, data)
        kind: object = PeersProtocolRequest if protocol == PEERS_PROTOCOL else SyncRequest
        try:
            request: Request = decode(data, kind, bytes_max=REQUEST_BYTES_MAX)  # type: ignore[arg-type]
        except Malformed as error:
            self.put(PeerMisbehaved(peer, Reason.MALFORMED, str(error)))
            return None
        request_id = self._next_asked
        self._next_asked += 1
        send, receive = trio.open_memory_channel[Response | None](1)
        self._asked[request_id] = send
        self.put(RequestArrived(request_id, peer, request))
        try:
            response = await receive.receive()
        finally:
            self._asked.pop(request_id, None)
        return None if response is None else encode(response)

    def _answer_light(self, peer: PeerId, data: bytes) -> bytes | None:
        """What a light client asks for, which needs nobody's decision: it trusts no answer."""
        kind: object = LightRequest
        try:
            request: LightRequest = decode(data, kind, bytes_max=REQUEST_BYTES_MAX)  # type: ignore[arg-type]
        except Malformed as error:
            self.put(PeerMisbehaved(peer, Reason.MALFORMED, str(error)))
            return None
        answer = light_answer(self._store, self._replica.state, request)
        return None if answer is None else encode(answer)

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None:
        handler = self.streams.get(protocol)
        if handler is not None:
            await handler(stream)

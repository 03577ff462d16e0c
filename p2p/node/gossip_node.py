"""A node that gossips and does nothing else: the gossip machine over a transport.

    transport ──RpcReceived, RpcSent, peers──► Gossip.step ──SendRpc──► transport
    clock ─────TimerFired────────────────────►            ──Validate─► received(...), a verdict

For those who want gossip without the chain, for benchmarks beside other stacks, and for tests of
interoperability. One task waits for timers; everything else is stepped where it happens.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, assert_never

import trio

from p2p.model.effects import Penalize, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.rejection import Reason
from p2p.model.rpc import RpcReceived, RpcSent, SendRpc, encode_rpc
from p2p.network import TransportLimits, Wires, open_transport
from p2p.network.port import Direction, MessageStream, Transport
from p2p.node.clock import SteadyClock
from p2p.node.recent_rpcs import RecentRpcs
from p2p.node.timers import Timers
from p2p.primitives.codec import Malformed
from p2p.primitives.keys import Key
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.gossip import (
    Gossip,
    GossipEffect,
    GossipInput,
    GossipParameters,
    MessageValidated,
    Published,
    Started,
    Subscribed,
    SuggestPeers,
    Unsubscribed,
    Validate,
    Verdict,
)

log = logging.getLogger(__name__)

PENALTIES_MAX: Final = 1_024
"""The last penalties that are remembered, for whoever asks."""

Received = Callable[[Validate], Verdict]
"""Takes a message seen for the first time; what it answers decides about forwarding."""


class GossipNode:
    """One gossiping peer. It is the transport's handler."""

    def __init__(
        self,
        key: Key,
        listen: Sequence[str],
        received: Received,
        *,
        parameters: GossipParameters,
        seed: bytes,
        limits: TransportLimits | None = None,
        wires: Wires | None = None,
    ) -> None:
        self.transport: Transport = open_transport(
            key, listen, limits, requests=(), streams=(), wires=wires
        )
        self.gossip = Gossip(key.peer, parameters, seed)
        self.penalties: deque[Penalize] = deque(maxlen=PENALTIES_MAX)
        self._received = received
        self._clock = SteadyClock()
        self._now_ms = self._clock.now_ms()
        self._timers = Timers()
        self._decoded = RecentRpcs()
        self._inputs: deque[GossipInput] = deque()
        self._is_stepping = False
        self._earlier = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and gossip until cancelled. Raises TransportError when it cannot listen."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.transport.run, self)
            self._step(Started())
            task_status.started()
            while True:
                await self._wait_timer()
                while (key := self._timers.pop_due(self._clock.now_ms())) is not None:
                    self._step(TimerFired(key))

    def subscribe(self, topic: str) -> None:
        """Take part in a topic."""
        self._step(Subscribed(topic))

    def unsubscribe(self, topic: str) -> None:
        """Leave a topic."""
        self._step(Unsubscribed(topic))

    def publish(self, topic: str, data: bytes) -> None:
        """Say something. Raises ValueError when it is too large."""
        self._step(Published(topic, data))

    # ---- TransportHandler ----------------------------------------------------------------------

    def peer_connected(self, peer: PeerId, direction: Direction, address: str) -> None:
        self._step(PeerConnected(peer, direction is Direction.OUTBOUND, address))

    def peer_disconnected(self, peer: PeerId, reason: str) -> None:
        self._step(PeerDisconnected(peer, reason))

    def rpc_sent(self, peer: PeerId) -> None:
        self._step(RpcSent(peer))

    def rpc_received(self, peer: PeerId, data: bytes) -> trio.Event | None:
        rpc = self._decoded.get(data)
        if rpc is None:
            try:
                rpc = self._decoded.decode(data)
            except Malformed as error:
                self.penalties.append(Penalize(peer, Reason.MALFORMED, str(error)))
                return None
        self._step(RpcReceived(peer, rpc))
        return None

    async def request_received(self, peer: PeerId, protocol: str, data: bytes) -> bytes | None:
        return None

    async def stream_opened(self, protocol: str, stream: MessageStream) -> None:
        await stream.reset()

    # ---- the loop ------------------------------------------------------------------------------

    async def _wait_timer(self) -> None:
        due_ms = self._timers.next_ms()
        if due_ms is None:
            await self._earlier.wait()
        else:
            with trio.move_on_after(max(0.0, (due_ms - self._clock.now_ms()) / 1000)):
                await self._earlier.wait()
        if self._earlier.is_set():
            self._earlier = trio.Event()

    def _step(self, item: GossipInput) -> None:
        """Step, and what follows from it; what arrives meanwhile waits its turn."""
        inputs = self._inputs
        inputs.append(item)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            # That an RPC left is no news that time matters for: it comes right after others.
            if not isinstance(item, RpcSent):
                self._now_ms = self._clock.now_ms()
            now_ms = self._now_ms
            step, order = self.gossip.step, self._order
            while inputs:
                for effect in step(inputs.popleft(), now_ms):
                    order(effect)
        finally:
            self._is_stepping = False

    def _order(self, effect: GossipEffect) -> None:
        match effect:
            case SendRpc():
                self.transport.send_rpc(effect.peer, encode_rpc(effect.rpc))
            case Validate():
                verdict = self._received(effect)
                self._inputs.append(MessageValidated(effect.message_id, verdict))
            case SetTimer():
                self._set_timer(effect.key, effect.at_ms)
            case Penalize():
                self.penalties.append(effect)
            case SuggestPeers():
                pass  # whom to dial is the business of whoever runs this node
            case _:
                assert_never(effect)

    def _set_timer(self, key: str, at_ms: Millis) -> None:
        next_ms = self._timers.next_ms()
        self._timers.set(key, at_ms)
        if next_ms is None or at_ms < next_ms:
            self._earlier.set()

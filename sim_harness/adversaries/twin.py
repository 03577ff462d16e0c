"""twin: one key in two places: two honest cores that do not know of each other.

    peers of side 0 <--> the node's own core and disk
    peers of side 1 <--> the sibling, with a disk, a guard and a journal of its own

Nobody lies, and still one key signs against itself. Source: Bano et al., "Twins: BFT systems made
robust", 2020.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from p2p.model.commands import Reply
from p2p.model.effects import CancelTimer, Dial, Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, RequestFailed, TimerFired
from p2p.model.rejection import Reason
from p2p.model.requests import Blocks
from p2p.model.rpc import RpcReceived, RpcSent
from p2p.model.topic import GossipValue
from p2p.primitives.units import Millis
from p2p.protocol.interface import (
    DialFailed,
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
)
from p2p.protocol.replica import Replica
from p2p.storage.blocks import stored_blocks
from p2p.storage.memory import MemoryStore
from p2p.storage.saved import read_saved
from sim_harness.adversaries.adversary import Adversary

PREFIX = "twin:"
"""Of the sibling's timers."""
IDS_FROM = 1 << 32
"""Of the sibling's requests."""

Step = Callable[[ReplicaInput, Millis], list[ReplicaEffect]]
_OfPeer = (
    RpcReceived
    | RpcSent
    | PeerConnected
    | PeerDisconnected
    | DialFailed
    | PeerMisbehaved
    | MessageVerified
    | MessageRefused
    | RequestArrived
)


@dataclass
class Twin(Adversary):
    """Runs a second core of the same key, on an instant disk."""

    kind: ClassVar[str] = "twin"
    _store: MemoryStore = field(default_factory=MemoryStore, init=False)
    _second: Replica | None = field(default=None, init=False)

    @property
    def second(self) -> Replica:
        """The sibling."""
        assert self._second is not None, "it starts with the node"
        return self._second

    def begin(self, now_ms: Millis) -> list[ReplicaEffect]:
        self._second = self.core.sibling(read_saved(self._store))
        address = self.world.address_of(self.node.index)
        return self._run(Started((address,)), now_ms)

    def admits(self, value: GossipValue) -> Reason | None:
        return super().admits(value) and self.second.admits(value)

    def take(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        if isinstance(item, TimerFired) and item.key.startswith(PREFIX):
            return self._run(TimerFired(item.key.removeprefix(PREFIX)), now_ms)
        if isinstance(item, ResponseArrived | RequestFailed) and item.request_id >= IDS_FROM:
            own = msgspec.structs.replace(item, request_id=item.request_id - IDS_FROM)
            return self._run(own, now_ms)
        if isinstance(item, _OfPeer) and self.side(item.peer):
            return self._run(item, now_ms)
        return super().take(item, now_ms)

    def filter_effects(self, effects: list[ReplicaEffect], now_ms: Millis) -> list[ReplicaEffect]:
        return self._on_side(0, self.core.drive, effects, now_ms)

    def _on_side(
        self, side: int, step: Step, effects: list[ReplicaEffect], now_ms: Millis
    ) -> list[ReplicaEffect]:
        """Effects, but the other side's peers cannot be dialled from here."""
        kept: list[ReplicaEffect] = []
        waiting = list(effects)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, Dial) and self.side(effect.peer) != side:
                waiting += step(DialFailed(effect.peer), now_ms)
            else:
                kept.append(effect)
        return kept

    # ---- the sibling ---------------------------------------------------------------------------

    def _run(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        self.deeds["steps of the sibling"] += 1
        step = self.second.step
        effects = self._on_side(1, step, step(item, now_ms), now_ms)
        leaving = [self._renamed(effect) for effect in effects]
        return [effect for effect in leaving if effect is not None]

    def _renamed(self, effect: ReplicaEffect) -> ReplicaEffect | None:
        match effect:
            case Persist(writes=writes):
                self._store.commit(writes)
                return None
            case SetTimer(key=key, at_ms=at_ms):
                return SetTimer(PREFIX + key, at_ms)
            case CancelTimer(key=key):
                return CancelTimer(PREFIX + key)
            case SendRequest(request_id=request_id):
                return msgspec.structs.replace(effect, request_id=IDS_FROM + request_id)
            case RespondBlocks(request_id=request_id, from_height=first, count=count):
                return Respond(request_id, Blocks(stored_blocks(self._store, first, count)))
            case Notify() | Reply():
                return None
            case _:
                return effect

"""The base of those who attack gossip: many identities of one owner, connected to many.

Each dials every honest node that it may, or its victim alone, hangs up on nobody, asks to be in all
meshes again as soon as the backoff that it was told is over, and passes nothing on while it is
silent. What it does besides is in the subclasses.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from p2p.model.effects import Dial, HangUp
from p2p.model.rpc import Message, Rpc, RpcReceived, SendRpc
from p2p.model.topic import Topic
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import ReplicaEffect, ReplicaInput
from sim_harness.adversaries.adversary import Adversary

if TYPE_CHECKING:
    from sim_harness.virtual.node import VirtualNode

GRAFT_GAP_MS: Final = 63_000
"""A minute of backoff, and the slack: whoever was told nothing asks again."""
SLACK_MS: Final = 1_000
"""For the way of the PRUNE and of the GRAFT: whoever waits so much longer is not blamed."""
DIALS_MAX: Final = 8
"""Dials a tick."""


@dataclass
class Sybil(Adversary):
    """In as many meshes as possible."""

    wants_vote: ClassVar[bool] = False
    tick_ms: ClassVar[int] = 1_000
    reach: int = 100
    """Honest nodes that it connects to."""
    victim: int = -1
    """Index of the only node that it connects to; -1: no such choice."""
    begin_s: int = 0
    """Until so long after its start it is an honest node."""
    _since_ms: int = field(default=-1, init=False)
    _grafted: dict[PeerId, int] = field(default_factory=dict, init=False)

    @property
    def grafts(self) -> tuple[str, ...]:
        """Topics of the meshes that it wants to be in: those of everybody."""
        return self.topic(Topic.ADS), self.topic(Topic.BLOCKS)

    def is_attacking(self, now_ms: Millis) -> bool:
        """Whether it has shown its face."""
        return 0 <= self._since_ms <= now_ms - 1_000 * self.begin_s

    def begin(self, now_ms: Millis) -> list[ReplicaEffect]:
        self._since_ms = now_ms
        self._grafted.clear()
        return []

    def targets(self) -> "list[VirtualNode]":
        """Whom it wants to be connected to."""
        if self.victim >= 0:
            return [self.world.nodes[self.victim]]
        honest = self.world.honest
        first = self.node.index * self.reach % len(honest)
        count = min(self.reach, len(honest))
        return [honest[(first + place) % len(honest)] for place in range(count)]

    def peers(self) -> list[PeerId]:
        """Whom it is connected to, whatever its core would rather have."""
        return list(self.node.connected)

    def filter_inputs(self, item: ReplicaInput, now_ms: Millis) -> Iterable[ReplicaInput]:
        if isinstance(item, RpcReceived) and item.rpc.prune:
            backoff_ms = 1_000 * max(prune.backoff_s for prune in item.rpc.prune)
            self._grafted[item.peer] = now_ms + backoff_ms + SLACK_MS
        return (item,)

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        near = set(self.peers())
        missing = [one for one in self.targets() if one.key.peer not in near]
        for node in self.draws.sample(missing, min(DIALS_MAX, len(missing))):
            self.deeds["dials"] += 1
            yield Dial(node.key.peer, (self.world.address_of(node.index),))
        for peer in self.honest_peers():
            if now_ms >= self._grafted.get(peer, 0):
                self._grafted[peer] = now_ms + GRAFT_GAP_MS
                self.deeds["grafts"] += 1
                yield SendRpc(peer, Rpc(graft=self.grafts))
        if self.is_attacking(now_ms):
            yield from self.attack(now_ms)

    def attack(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        """What it does besides keeping silent."""
        return ()

    def filter_effects(
        self, effects: list[ReplicaEffect], now_ms: Millis
    ) -> Iterable[ReplicaEffect]:
        silent = self.is_attacking(now_ms)
        for effect in effects:
            if isinstance(effect, HangUp):
                continue
            if silent and isinstance(effect, SendRpc) and effect.rpc.ihave:
                # No offers either: whoever asked would have to be answered.
                yield SendRpc(effect.peer, msgspec.structs.replace(effect.rpc, ihave=()))
            else:
                yield effect

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        if not self.is_attacking(now_ms):
            return (message,)
        self.deeds["messages kept back"] += 1
        return ()

"""silent: hears everything, says nothing, and keeps its neighbours waiting."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from p2p.model.rpc import Message
from p2p.primitives.units import Millis, PeerId
from p2p.protocol.interface import ReplicaEffect, Respond, RespondBlocks
from sim_harness.adversaries.adversary import Adversary


@dataclass
class Silent(Adversary):
    """Joins every mesh, so that others count on it, and passes nothing on."""

    kind: ClassVar[str] = "silent"

    def filter_effects(
        self, effects: list[ReplicaEffect], now_ms: Millis
    ) -> Iterable[ReplicaEffect]:
        for effect in effects:
            if isinstance(effect, Respond | RespondBlocks):
                self.deeds["questions left open"] += 1
            else:
                yield effect

    def say(self, peer: PeerId, message: Message, now_ms: Millis) -> Iterable[Message]:
        self.deeds["messages kept back"] += 1
        return ()

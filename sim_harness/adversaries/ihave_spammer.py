"""ihave_spammer: offers messages that do not exist, so that asking for them crowds out the rest."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from p2p.model.rpc import MESSAGE_ID_BYTES, IHave, MessageId, Rpc, SendRpc
from p2p.model.topic import Topic
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect
from sim_harness.adversaries.forging import noise
from sim_harness.adversaries.sybil import Sybil


@dataclass
class IhaveSpammer(Sybil):
    """Offers `ids` to everybody, five times a second."""

    kind: ClassVar[str] = "ihave_spammer"
    tick_ms: ClassVar[int] = 200
    ids: int = 120

    def attack(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        names = tuple(MessageId(noise(self.draws, MESSAGE_ID_BYTES)) for _ in range(self.ids))
        offer = Rpc(ihave=(IHave(self.topic(Topic.ADS), names),))
        for peer in self.honest_peers():
            self.deeds["false offers"] += 1
            yield SendRpc(peer, offer)

"""invalid_spammer: a stream of messages that are false, each for the verifier to look at."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from p2p.model.rpc import Message
from p2p.model.topic import Topic
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect
from sim_harness.adversaries.forging import noise
from sim_harness.adversaries.sybil import Sybil

SIZE_BYTES = 300
"""Of one false message: as an ad."""


@dataclass
class InvalidSpammer(Sybil):
    """`burst` false messages to everybody, five times a second; others each time."""

    kind: ClassVar[str] = "invalid_spammer"
    tick_ms: ClassVar[int] = 200
    burst: int = 2

    def attack(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        topic = self.topic(Topic.ADS)
        junk = [Message(topic, noise(self.draws, SIZE_BYTES)) for _ in range(self.burst)]
        for peer in self.honest_peers():
            self.deeds["false messages"] += len(junk)
            yield self.send(peer, *junk)

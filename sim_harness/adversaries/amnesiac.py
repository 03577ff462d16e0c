"""amnesiac: forgets its lock, and prevotes whatever comes next."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaInput, Saved
from sim_harness.adversaries.adversary import Adversary
from sim_harness.surgery import forget_lock


@dataclass
class Amnesiac(Adversary):
    """Never contradicts itself within a round, so nobody can convict it."""

    kind: ClassVar[str] = "amnesiac"
    valid_value: bool = True
    """Whether it forgets the valid value as well, and so proposes something new."""

    def recall(self, saved: Saved) -> Saved:
        """Its journal speaks of locks that it no longer has; the sign guard is enough to go on."""
        return msgspec.structs.replace(saved, journal=())

    def filter_inputs(self, item: ReplicaInput, now_ms: Millis) -> Iterable[ReplicaInput]:
        if forget_lock(self.core.chain.driver, valid_value=self.valid_value):
            self.deeds["locks forgotten"] += 1
        return (item,)

"""graft_flooder: asks to be in every mesh without a pause, whatever backoff it was told."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from p2p.model.rpc import Rpc, SendRpc
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect
from sim_harness.adversaries.sybil import Sybil


@dataclass
class GraftFlooder(Sybil):
    """Five GRAFTs a second to everybody, and silence about all else."""

    kind: ClassVar[str] = "graft_flooder"
    tick_ms: ClassVar[int] = 200

    def attack(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        for peer in self.honest_peers():
            self.deeds["grafts in backoff"] += 1
            yield SendRpc(peer, Rpc(graft=self.grafts))

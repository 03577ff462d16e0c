"""The seat of an adversary: the product's replica, with the adversary between it and the world."""

from typing import TYPE_CHECKING

from p2p.model.parameters import Genesis
from p2p.model.rejection import Reason
from p2p.model.requests import PeerRecord
from p2p.model.topic import GossipValue
from p2p.primitives.digests import digest
from p2p.primitives.signing import Signer
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect, ReplicaInput, Saved
from p2p.protocol.replica import NodeParameters, Replica

if TYPE_CHECKING:
    from sim_harness.adversaries.adversary import Adversary


class CorruptReplica(Replica):
    """Steps as its adversary decides; made where `Replica` would be."""

    def __init__(
        self,
        adversary: "Adversary",
        *,
        genesis: Genesis,
        signer: Signer,
        parameters: NodeParameters,
        seeds: tuple[PeerRecord, ...],
        saved: Saved,
        seed: bytes,
    ) -> None:
        super().__init__(
            genesis=genesis,
            signer=signer,
            parameters=parameters,
            seeds=seeds,
            saved=adversary.recall(saved),
            seed=seed,
        )
        self._adversary = adversary
        self._origin = (genesis, signer, parameters, seeds, seed)
        adversary.core = self

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        return self._adversary.take(item, now_ms)

    def admits(self, value: GossipValue) -> Reason | None:
        return self._adversary.admits(value)

    def drive(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        """A step of the honest core."""
        return super().step(item, now_ms)

    def core_admits(self, value: GossipValue) -> Reason | None:
        """What the honest core admits."""
        return super().admits(value)

    def sibling(self, saved: Saved) -> Replica:
        """Another core of the same key, with a disk of its own."""
        genesis, signer, parameters, seeds, seed = self._origin
        return Replica(
            genesis=genesis,
            signer=signer,
            parameters=parameters,
            seeds=seeds,
            saved=saved,
            seed=digest(b"sibling", seed),
        )

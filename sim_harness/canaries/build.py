"""Broken builds of the core: one deliberate mistake each, to see whether the checkers see it.

A build exchanges parts of the product's modules while a replica of it runs, and puts them back
before anything else does: the checkers, and nodes of another build beside it, keep the true ones.
Nothing of it can be reached from the product: no configuration, no parameter, no import.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from p2p.model.parameters import Genesis
from p2p.model.rejection import Reason
from p2p.model.requests import PeerRecord
from p2p.model.topic import GossipValue
from p2p.primitives.signing import Signer
from p2p.primitives.units import Millis
from p2p.protocol.interface import ReplicaEffect, ReplicaInput, Saved
from p2p.protocol.replica import NodeParameters, Replica
from sim_harness.surgery import exchanged, forget_lock

if TYPE_CHECKING:
    from sim_harness.virtual.world import World

Parts = Mapping[tuple[object, str], object]
"""What stands in the place of a module's part, by (module, name)."""


class Build(msgspec.Struct, frozen=True):
    """One mistake. `parts` are wrong, or a restart or a step forgets what it must not."""

    name: str
    mistake: str
    """In a sentence."""
    caught_by: tuple[str, ...]
    """Words of the checkers that see it, one of which any finding has."""
    parts: Parts = {}
    forgets_signatures: bool = False
    forgets_locks: bool = False


class BrokenReplica(Replica):
    """A replica of a broken build."""

    def __init__(
        self,
        build: Build,
        *,
        genesis: Genesis,
        signer: Signer,
        parameters: NodeParameters,
        seeds: tuple[PeerRecord, ...],
        saved: Saved,
        seed: bytes,
    ) -> None:
        self._build = build
        if build.forgets_locks:
            saved = msgspec.structs.replace(saved, journal=())  # it speaks of locks
        if build.forgets_signatures:
            saved = msgspec.structs.replace(saved, sign_state=None, journal=())
        with exchanged(build.parts):
            super().__init__(
                genesis=genesis,
                signer=signer,
                parameters=parameters,
                seeds=seeds,
                saved=saved,
                seed=seed,
            )

    def step(self, item: ReplicaInput, now_ms: Millis) -> list[ReplicaEffect]:
        if self._build.forgets_locks:
            forget_lock(self.chain.driver, valid_value=True)
        with exchanged(self._build.parts):
            return super().step(item, now_ms)

    def admits(self, value: GossipValue) -> Reason | None:
        with exchanged(self._build.parts):
            return super().admits(value)


def plant(world: "World", build: Build) -> None:
    """Let every honest node of a world that has not started run a broken build."""
    for node in world.honest:
        if node.is_up:
            raise ValueError(f"node {node.index} runs already")
        world.makers[node.index] = partial(BrokenReplica, build)

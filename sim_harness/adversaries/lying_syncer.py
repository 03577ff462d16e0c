"""lying_syncer: claims heights that are not, and answers questions for blocks with lies."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from p2p.model.block import Block, CommitSignature, CommittedBlock
from p2p.model.ledger import State
from p2p.model.light import LightBlock, LightBlockRequest
from p2p.model.requests import (
    Blocks,
    BlocksRequest,
    Request,
    Response,
    Status,
    StatusRequest,
)
from p2p.model.snapshot import (
    PartEntries,
    PartRequest,
    SnapshotOffer,
    SnapshotRequest,
    entries_of,
    offer_of,
)
from p2p.primitives.units import Amount, Height, Millis, PeerId
from p2p.protocol.interface import ReplicaEffect, SendRequest
from sim_harness.adversaries.adversary import Adversary
from sim_harness.adversaries.forging import (
    bitten,
    falsely_certified,
    other_block,
    self_certified,
)

STATES_MAX = 256
"""Ledgers that it remembers, to build on any of them."""


@dataclass
class LyingSyncer(Adversary):
    """Everybody who is behind asks it, since nobody claims more."""

    kind: ClassVar[str] = "lying_syncer"
    wants_vote: ClassVar[bool] = False
    tick_ms: ClassVar[int] = 1_000
    boast: int = 1_000
    """Heights that it claims beyond its own."""
    lies: tuple[str, ...] = ("empty", "shifted", "bitten", "forged", "alone")
    """What it answers with, by lot."""
    _states: dict[int, State] = field(default_factory=dict, init=False)
    """By the height that a block built on it has."""

    def filter_effects(
        self, effects: list[ReplicaEffect], now_ms: Millis
    ) -> Iterable[ReplicaEffect]:
        state = self.core.state
        if self._states.setdefault(state.height + 1, state) is state:
            self._states.pop(state.height + 1 - STATES_MAX, None)
        return effects

    def tick(self, now_ms: Millis) -> Iterable[ReplicaEffect]:
        """Claim a height while asking for others'."""
        height = Height(self.core.state.height + self.boast)
        for peer in self.honest_peers():
            self.deeds["claims"] += 1
            request = StatusRequest(self.world.genesis.chain_id, height)
            yield SendRequest(self.new_id(), peer, request, 5_000)

    def answer(
        self, peer: PeerId, request: Request, response: Response | None, now_ms: Millis
    ) -> Response | None:
        match request, response:
            case StatusRequest(), Status(height=height):
                self.deeds["claims"] += 1
                return msgspec.structs.replace(response, height=Height(height + self.boast))
            case BlocksRequest(from_height=first), Blocks(blocks=blocks):
                lie = self.draws.choice(self.lies)
                self.deeds[lie] += 1
                return Blocks(self._blocks(lie, first, blocks))
            case SnapshotRequest(), _:
                self.deeds["offers"] += 1
                return self._offer(offer_of(self.core.state))
            case PartRequest(number=number), _:
                self.deeds["parts"] += 1
                return self._part(entries_of(self.core.state, number))
            case LightBlockRequest(), LightBlock():
                self.deeds["headers"] += 1
                return _richer(response)
            case _:
                return response

    def _offer(self, true: SnapshotOffer) -> SnapshotOffer:
        """A state in which there is more than there is, of this height or a greater one."""
        frame = true.frame
        lie = self.draws.choice(("richer", "higher", "unfit"))
        if lie == "richer":
            richer = msgspec.structs.replace(frame, supply=Amount(frame.supply + 1))
            return msgspec.structs.replace(true, frame=richer)
        if lie == "higher":
            higher = msgspec.structs.replace(frame, height=Height(frame.height + self.boast))
            return msgspec.structs.replace(true, frame=higher)
        return msgspec.structs.replace(true, accounts=true.accounts * 2)

    def _part(self, true: PartEntries | None) -> PartEntries:
        """Such a part of its own state with the first account enriched, or nothing."""
        if true is None or not true.accounts:
            return PartEntries((), ())
        first, *rest = true.accounts
        rich = msgspec.structs.replace(first.account, balance=Amount(first.account.balance + 1))
        return PartEntries((msgspec.structs.replace(first, account=rich), *rest), ())

    def _blocks(
        self, lie: str, first: int, true: tuple[CommittedBlock, ...]
    ) -> tuple[CommittedBlock, ...]:
        match lie:
            case "empty":
                return ()
            case "shifted":
                return true[1:] or true
            case "bitten":
                return tuple(self._bitten(one) for one in true)
            case "forged":
                block = self._block(first, true)
                accounts = [*self.core.chain.powers]
                return () if block is None else (falsely_certified(block, accounts, self.draws),)
            case "alone":
                block = self._block(first, true)
                return () if block is None else (self_certified(block, self.signer),)
            case _:
                raise ValueError(f"unknown lie {lie!r}")

    def _bitten(self, true: CommittedBlock) -> CommittedBlock:
        """The true block, one bit of its proof changed."""
        first, *rest = true.certificate.signatures
        bad = CommitSignature(first.validator, bitten(first.signature, self.draws))
        certificate = msgspec.structs.replace(true.certificate, signatures=(bad, *rest))
        return CommittedBlock(true.block, certificate)

    def _block(self, height: int, true: tuple[CommittedBlock, ...]) -> Block | None:
        """A block that follows the asker's chain: another than the true one."""
        state = self._states.get(height)
        if state is None:
            return None
        proposer = next(iter(state.validators.powers()))
        time_ms = true[0].block.header.time_ms + 1 if true else state.time_ms + 1
        return other_block(self.world.genesis, state, proposer=proposer, time_ms=time_ms)


def _richer(true: LightBlock) -> LightBlock:
    """A header of another supply, under the true certificate."""
    header = msgspec.structs.replace(true.header, supply=Amount(true.header.supply + 1))
    return msgspec.structs.replace(true, header=header)

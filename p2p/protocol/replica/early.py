"""Proposals that come before their height is open: of the next height to open, and the one after.

They are screened as at the open height, by proposer and round, which the last block fixes for both
heights. What one honest node passes on, no other may punish: else a liar could make honest nodes
ban one another, by proposing out of turn to those who cannot tell yet.
"""

from functools import cached_property
from typing import Final

import msgspec

from p2p.model.ledger import State
from p2p.model.proposer import next_height
from p2p.model.rejection import Reason
from p2p.model.vote import Proposal, ProposedBlock
from p2p.primitives.signing import Verified
from p2p.primitives.units import Height, Millis, Round
from p2p.protocol.consensus.proposer import Proposers, WeightedProposers

EARLY_ROUNDS_MAX: Final = 4
"""Rounds of a height that is not open whose proposals are kept, one each: 4 MiB for both heights.
A later node fills its gaps by asking."""


class EarlyProposal(msgspec.Struct, frozen=True):
    """A proposal, and when it came: its height opens later, which makes it no less timely."""

    proposed: Verified[ProposedBlock]
    received_ms: Millis


class EarlyProposals:
    """What was proposed for the two heights after a state, as far as it is not open."""

    def __init__(self, state: State, proposers: Proposers) -> None:
        self._state = state
        self._proposers = proposers
        """Of the height after the state."""
        self._kept: dict[tuple[Height, Round], EarlyProposal] = {}

    @cached_property
    def _proposers_after(self) -> Proposers:
        """Of the second height after the state."""
        state = self._state
        priorities = next_height(
            state.priorities, current=state.validators, following=state.next_validators
        )
        return WeightedProposers(priorities, state.next_validators)

    def screen(self, proposal: Proposal) -> Reason | None:
        """Why a proposal is not worth keeping or passing on, or None."""
        first = self._state.height + 1
        if proposal.height not in (first, first + 1):
            return Reason.WRONG_HEIGHT
        if proposal.round >= EARLY_ROUNDS_MAX:
            return Reason.ROUND_TOO_FAR
        proposers = self._proposers if proposal.height == first else self._proposers_after
        if proposers.of(proposal.round) != proposal.proposer:
            return Reason.WRONG_PROPOSER
        known = (proposal.height, proposal.round) in self._kept
        return Reason.TOO_MANY if known else None

    def keep(self, early: EarlyProposal) -> None:
        """Keep a proposal that passes the screen; another is forgotten."""
        proposal = early.proposed.value.proposal
        if self.screen(proposal) is None:
            self._kept[proposal.height, proposal.round] = early

    def take(self) -> list[EarlyProposal]:
        """Those of the height after the state, which opens: by arrival."""
        due = [slot for slot in self._kept if slot[0] == self._state.height + 1]
        return [self._kept.pop(slot) for slot in due]

    def after(self, state: State, proposers: Proposers) -> "EarlyProposals":
        """What is left when a block was committed."""
        left = EarlyProposals(state, proposers)
        for early in self._kept.values():
            left.keep(early)
        return left

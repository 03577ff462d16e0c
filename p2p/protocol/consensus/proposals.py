"""Proposals of one height, a bounded number of each round.

A correct proposer makes one proposal a round. Of one that makes more, the second is evidence, and a
few are kept, since the others may settle on any of them; each new value costs an execution and a
block, so a further value is taken only with a quorum behind it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from p2p.model.vote import Proposal
from p2p.primitives.units import Digest, Round

VALUES_PER_ROUND_MAX: Final = 4
"""Values of a round that are taken without a quorum for them."""
PROPOSALS_PER_ROUND_MAX: Final = 16
"""Proposals of a round with a known value: they differ in their proof of lock alone."""


class HeldProposal(msgspec.Struct, frozen=True):
    """A proposal, and whether its block executed as it must, and came in time."""

    proposal: Proposal
    valid: bool
    timely: bool = True


class ProposalBook:
    """Proposals by round, in order of arrival."""

    def __init__(self) -> None:
        self._rounds: dict[Round, list[HeldProposal]] = {}

    def add(self, proposal: Proposal, *, valid: bool, timely: bool = True) -> Proposal | None:
        """Keep a proposal; returns the first of its round when this is the second (evidence)."""
        held = self._rounds.setdefault(proposal.round, [])
        held.append(HeldProposal(proposal, valid, timely))
        return held[0].proposal if len(held) == 2 else None

    def has(self, proposal: Proposal) -> bool:
        """Whether this statement is held."""
        return any(
            other.proposal.header_digest == proposal.header_digest
            and other.proposal.valid_round == proposal.valid_round
            for other in self._rounds.get(proposal.round, ())
        )

    def has_room(self, proposal: Proposal) -> bool:
        """Whether a proposal is taken without a quorum for its value."""
        held = self.of(proposal.round)
        values = {other.proposal.header_digest for other in held} | {proposal.header_digest}
        return len(held) < PROPOSALS_PER_ROUND_MAX and len(values) <= VALUES_PER_ROUND_MAX

    def of(self, round_: Round) -> Sequence[HeldProposal]:
        """The proposals of a round."""
        return self._rounds.get(round_, ())

    def has_value(self, round_: Round, value: Digest) -> bool:
        """Whether a round has a proposal of this value."""
        return any(held.proposal.header_digest == value for held in self.of(round_))

    def has_valid(self, round_: Round, value: Digest) -> bool:
        """Whether a round has a valid proposal of this value."""
        return any(held.valid and held.proposal.header_digest == value for held in self.of(round_))

    def knows_valid(self, value: Digest) -> bool:
        """Whether any round has a valid proposal of this value."""
        return any(self.has_valid(round_, value) for round_ in self._rounds)

    def forget(self, *, below: Round, pinned: Iterable[Round]) -> None:
        """Drop the rounds below a bound that are not pinned."""
        kept = set(pinned)
        for round_ in [r for r in self._rounds if r < below and r not in kept]:
            del self._rounds[round_]

    def __len__(self) -> int:
        """How many proposals are held."""
        return sum(len(held) for held in self._rounds.values())

"""Filling gaps between neighbours: what we hold, and what a neighbour lacks of it.

A summary covers the rounds of interest: the current and the one before, those of the lock, the
valid value and the proofs of lock that proposals name, and those with a commit. To a neighbour that
has no vote of a sender we offer the one that we counted. To one that has not seen our quorum for a
value we offer every vote of it, for it may have counted an equivocator's other vote.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from p2p.model.block import ValidatorSet, is_quorum
from p2p.model.vote import Proposal, Stand, Vote, VoteKind
from p2p.model.vote_summary import (
    TALLIES_MAX,
    ProposalName,
    TallySummary,
    VoteSummary,
    bits_of,
    voters_of,
)
from p2p.primitives.units import Round
from p2p.protocol.consensus.proposals import ProposalBook
from p2p.protocol.consensus.round_machine import RoundState
from p2p.protocol.consensus.votes import Tally, VoteKeeper

VOTES_OFFERED_MAX: Final = 256
"""Votes of one answer: two full tallies and a half, 60 KiB."""
PROPOSALS_OFFERED_MAX: Final = 2
"""Each comes with its block."""
ROUNDS_OF_INTEREST_MAX: Final = 8

Held = dict[tuple[Round, VoteKind], dict[Stand, int]]


class Offer(msgspec.Struct, frozen=True):
    """What a neighbour lacks; quorums stay together (`VotesReceived`)."""

    votes: tuple[Vote, ...] = ()
    proposals: tuple[Proposal, ...] = ()


def rounds_of_interest(
    state: RoundState, votes: VoteKeeper, proposals: ProposalBook, extra: Iterable[Round] = ()
) -> list[Round]:
    """Rounds worth telling of, the most useful first."""
    wanted: list[int] = [round_ for round_, _ in votes.committed()]
    wanted += [state.round, *extra, state.round - 1]
    wanted += [held.proposal.valid_round for held in proposals.of(state.round)]
    wanted += [state.locked_round, state.valid_round]
    distinct = dict.fromkeys(Round(round_) for round_ in wanted if round_ >= 0)
    return list(distinct)[:ROUNDS_OF_INTEREST_MAX]


def summarize(
    state: RoundState, validators: ValidatorSet, votes: VoteKeeper, proposals: ProposalBook
) -> VoteSummary:
    """What we hold of the rounds of interest."""
    place = {validator.account: i for i, validator in enumerate(validators.validators)}
    tallies: list[TallySummary] = []
    names: list[ProposalName] = []
    for round_ in rounds_of_interest(state, votes, proposals):
        values = [held.proposal.header_digest for held in proposals.of(round_)]
        names += [ProposalName(round_, value) for value in values]
        for kind in VoteKind:
            tally = votes.tally(round_, kind)
            for value, valid_round in tally.stands() if tally else ():
                voters = _votes_for(tally, (value, valid_round))
                bits = sum(1 << place[vote.validator] for vote in voters)
                tallies.append(TallySummary(round_, kind, value, valid_round, voters_of(bits)))
    return VoteSummary(
        state.height, state.round, tuple(tallies[:TALLIES_MAX]), tuple(names[:TALLIES_MAX])
    )


def missing(
    summary: VoteSummary,
    state: RoundState,
    validators: ValidatorSet,
    votes: VoteKeeper,
    proposals: ProposalBook,
) -> Offer:
    """What the sender of a summary of our height lacks of what we hold."""
    theirs: Held = {}
    for told in summary.tallies:
        slot = theirs.setdefault((told.round, told.kind), {})
        slot[told.header_digest, told.valid_round] = bits_of(told.voters)
    known = {(name.round, name.header_digest) for name in summary.proposals}
    offered: dict[Vote, None] = {}
    lacking: list[Proposal] = []
    for round_ in rounds_of_interest(state, votes, proposals, (summary.round,)):
        ours = [held.proposal for held in proposals.of(round_)]
        lacking += [other for other in ours if (round_, other.header_digest) not in known]
        for kind in VoteKind:
            tally = votes.tally(round_, kind)
            if tally is not None:
                group = _lacking(tally, theirs.get((round_, kind), {}), validators)
                if len(offered) + len(group) <= VOTES_OFFERED_MAX:
                    offered.update(dict.fromkeys(group))
    return Offer(tuple(offered), tuple(lacking[:PROPOSALS_OFFERED_MAX]))


def _lacking(tally: Tally, theirs: dict[Stand, int], validators: ValidatorSet) -> list[Vote]:
    """Votes of one tally that a neighbour lacks, a quorum that it has not seen first."""
    place = {validator.account: i for i, validator in enumerate(validators.validators)}
    powers = [validator.power for validator in validators.validators]
    anything = 0
    for bits in theirs.values():
        anything |= bits
    found: dict[Vote, None] = {}
    for quorum in (tally.quorum_for(value) for value, _ in tally.stands()):
        bits = theirs.get(quorum[0].stand, 0) if quorum else 0
        power = sum(power for i, power in enumerate(powers) if bits >> i & 1)
        if not is_quorum(power, sum(powers)):
            found.update(dict.fromkeys(quorum))
    for vote in tally.first.values():
        if not anything >> place[vote.validator] & 1:
            found[vote] = None
    return list(found)


def _votes_for(tally: Tally | None, stand: Stand) -> list[Vote]:
    return [] if tally is None else tally.votes_for(*stand)

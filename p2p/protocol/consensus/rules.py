"""Which "upon" clause of algorithm 1 has its messages: votes and proposals -> abstract input.

The driver asks again after every input and after every change of step or round, until the answer
is None. What ran in the current round is in `fired`, for the clauses that the paper guards with
"for the first time" (L34, L36, L47). Where several hold, a decision comes first, then a later
round, then the current round from its proposal to its precommits.
"""

from p2p.model.vote import VoteKind
from p2p.primitives.units import NO_ROUND
from p2p.protocol.consensus.proposals import ProposalBook
from p2p.protocol.consensus.round_machine import (
    CommitReached,
    PolkaAny,
    PolkaCurrent,
    PolkaNil,
    PrecommitAny,
    ProposalArrived,
    ProposalWithPolka,
    RoundInput,
    RoundSkipped,
    RoundState,
    Step,
)
from p2p.protocol.consensus.votes import VoteKeeper


def enabled(
    state: RoundState, votes: VoteKeeper, proposals: ProposalBook, fired: set[type]
) -> RoundInput | None:
    """The next rule to run in an open height, or None at the fixed point."""
    if state.step in {Step.NEW, Step.COMMIT}:
        return None
    for round_, value in votes.committed():  # L49
        if proposals.has_valid(round_, value):
            return CommitReached(round_, value)
    later = votes.skip_round(state.round)
    if later is not None:  # L55
        return RoundSkipped(later)
    if state.step is Step.PROPOSE:
        found = _on_proposal(state, votes, proposals)
    else:
        found = _on_polka(state, votes, proposals, fired)
    if found is not None or PrecommitAny in fired:
        return found
    if votes.has_quorum_any(state.round, VoteKind.PRECOMMIT):  # L47
        return PrecommitAny()
    return None


def _on_proposal(
    state: RoundState, votes: VoteKeeper, proposals: ProposalBook
) -> RoundInput | None:
    for held in proposals.of(state.round):
        value, valid_round = held.proposal.header_digest, held.proposal.valid_round
        if valid_round == NO_ROUND:  # L22, and `timely` of proposer-based timestamps
            return ProposalArrived(value, held.valid and held.timely)
        earlier = valid_round < state.round
        if earlier and votes.has_quorum(valid_round, VoteKind.PREVOTE, value):  # L28
            return ProposalWithPolka(value, valid_round, held.valid)
        # Without its proof of lock, of an earlier round, a proposal is not prevoted yet, or ever;
        # the timer keeps running.
    return None


def _on_polka(
    state: RoundState, votes: VoteKeeper, proposals: ProposalBook, fired: set[type]
) -> RoundInput | None:
    prevotes = votes.tally(state.round, VoteKind.PREVOTE)
    if prevotes is None:
        return None
    for value in prevotes.quorum_values() if PolkaCurrent not in fired else ():
        if proposals.has_valid(state.round, value):  # L36
            return PolkaCurrent(value)
    if state.step is Step.PREVOTE:
        if prevotes.has_quorum(None):  # L44
            return PolkaNil()
        if prevotes.has_quorum_any() and PolkaAny not in fired:  # L34
            return PolkaAny()
    return None

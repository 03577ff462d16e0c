"""What a message is worth before anyone spends a signature's verification on it.

    NEW        verify it, feed it to the driver, pass it on
    IGNORED    known, late, early or more than is kept: nobody's fault
    Rejected   no correct peer would have passed it on

The driver screens again what it is fed, so that its bounds hold whoever feeds it.
"""

from enum import Enum

from p2p.model.rejection import Reason, Rejected
from p2p.model.vote import Proposal, Vote, VoteKind
from p2p.protocol.consensus.early import EarlyVotes
from p2p.protocol.consensus.open_height import OpenHeight


class Screening(Enum):
    """The worth of a message that is not rejected."""

    NEW = "worth verifying, feeding and passing on"
    IGNORED = "known, late, early or more than is kept"


def screen_vote(here: OpenHeight | None, early: EarlyVotes, vote: Vote) -> Screening | Rejected:
    """The worth of a vote, of the open height or the next."""
    if not vote.is_sound:
        return Rejected(Reason.MALFORMED, "a valid round that no rule states")
    if here is None or vote.height != here.height:
        next_height = here is not None and vote.height == here.height + 1
        return _new_if(next_height and early.admits(vote))
    if vote.validator not in here.powers:
        return Rejected(Reason.NOT_A_VALIDATOR)
    tally = here.votes.tally(vote.round, vote.kind)
    known = None if tally is None else tally.first.get(vote.validator)
    if known is not None:
        # The second of two conflicting votes is evidence; a third is noise.
        news = known.stand != vote.stand and not here.votes.convicted(vote)
        return _new_if(news)
    if here.is_far(vote.round):
        return _new_if(here.decided is None and here.votes.would_park(vote))
    return _new_if(here.keeps(vote.round))


def screen_proposal(here: OpenHeight | None, proposal: Proposal) -> Screening | Rejected:
    """The worth of a proposal of the open height; the replica keeps early ones itself.

    One with a proof of lock from no earlier round is never prevoted (L28), but as good as another
    where the others have settled on its value (L36 and L49 take any valid round).
    """
    if here is None or proposal.height != here.height or here.decided is not None:
        return Screening.IGNORED
    round_, value = proposal.round, proposal.header_digest
    if here.is_far(round_) or not here.keeps(round_):
        return Screening.IGNORED
    if proposal.proposer != here.proposers.of(round_):
        return Rejected(Reason.WRONG_PROPOSER)
    if here.proposals.has(proposal):
        return Screening.IGNORED
    wanted = any(here.votes.has_quorum(round_, kind, value) for kind in VoteKind)
    fresh = wanted and not here.proposals.has_value(round_, value)
    return _new_if(fresh or here.proposals.has_room(proposal))


def _new_if(condition: bool) -> Screening:
    return Screening.NEW if condition else Screening.IGNORED

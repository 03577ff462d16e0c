"""The witness: remembers what others signed, and sees when they contradict themselves.

    VoteHeard ------> votes of (height, validator) ---double vote, amnesia--\
    ProposalsDiffer ------------------------------------double proposal------> Offence, once
    ReceiptHeard ---> last receipt of a channel --------double receipt------/
    AdsDiffer ------------------------------------------double ad----------/

The round machine counts the first vote of a slot and looks no further than its height. The witness
keeps votes of the last heights as well, so that a late second vote is still seen, and compares
precommits with later prevotes, which show amnesia by the valid round that they state. What two
machines find on their own (two proposals, two ads) passes through here to be told once.

Bounds: `HEIGHTS_MAX` heights, `VOTERS_MAX` voters of each, `VOTES_MAX` votes of each, the oldest
rounds go first; `CHANNELS_MAX` receipts, the longest unheard go first; `OFFENCES_MAX` told.
`wants` says, before any signature is verified, whether a late vote contradicts what is kept.
"""

from typing import Final, assert_never

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.ballot import Proposal, Vote
from p2p.model.evidence import (
    Amnesia,
    DoubleAd,
    DoubleProposal,
    DoubleReceipt,
    DoubleVote,
    Offence,
    forgets,
    offence_id,
)
from p2p.model.parameters import VALIDATORS_MAX
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.signing import Verified
from p2p.primitives.units import AccountId, ChannelId, Digest, Height

HEIGHTS_MAX: Final = 16
"""Heights whose votes are kept; with 100 voters and one round 3,200 votes, about 1 MiB."""
VOTERS_MAX: Final = 2 * VALIDATORS_MAX
"""Two sets: a vote of the next height may come while we still judge by the one before."""
VOTES_MAX: Final = 32
"""Votes kept of a voter and height: sixteen rounds."""
CHANNELS_MAX: Final = 4_096
OFFENCES_MAX: Final = 4_096
"""Offences told; one that is forgotten may be told again, which the ledger refuses."""


# ---- inputs --------------------------------------------------------------------------------------


class VoteHeard(msgspec.Struct, frozen=True):
    """A vote of a validator of its height, or of the height after the one that is open."""

    vote: Verified[Vote]


class ProposalsDiffer(msgspec.Struct, frozen=True):
    """Consensus holds two proposals of one round."""

    first: Proposal
    second: Proposal


class ReceiptHeard(msgspec.Struct, frozen=True):
    """A receipt; without the provider's signature it speaks of its consumer alone."""

    receipt: Verified[ServiceReceipt]


class AdsDiffer(msgspec.Struct, frozen=True):
    """The registry holds an ad, and heard another of the same seq."""

    first: Verified[CapacityAd]
    second: Verified[CapacityAd]


class HeightOpened(msgspec.Struct, frozen=True):
    """What is older than `HEIGHTS_MAX` heights before is forgotten."""

    height: Height


WitnessInput = VoteHeard | ProposalsDiffer | ReceiptHeard | AdsDiffer | HeightOpened


class Witness:
    """What others signed lately; `step` returns the offences that it shows for the first time."""

    def __init__(self) -> None:
        self._votes: dict[Height, dict[AccountId, list[Vote]]] = {}
        self._receipts: dict[tuple[ChannelId, AccountId, AccountId], ServiceReceipt] = {}
        self._told: dict[Digest, None] = {}

    def step(self, item: WitnessInput) -> list[Offence]:
        """Take one thing that was heard."""
        match item:
            case VoteHeard(vote=vote):
                return self._tell(self._hear_vote(vote.value))
            case ProposalsDiffer(first=first, second=second):
                return self._tell([DoubleProposal(first, second)])
            case ReceiptHeard(receipt=receipt):
                return self._tell(self._hear_receipt(receipt.value))
            case AdsDiffer(first=ad, second=other):
                return self._tell([DoubleAd(ad.value, other.value)])
            case HeightOpened(height=height):
                for old in [kept for kept in self._votes if kept + HEIGHTS_MAX <= height]:
                    del self._votes[old]
                return []
            case _:
                assert_never(item)

    def wants(self, vote: Vote) -> bool:
        """Whether a vote, if truly signed, would show what was not told before."""
        return any(offence_id(found) not in self._told for found in self._shown_by(vote))

    @property
    def votes_count(self) -> int:
        """How many votes are kept."""
        return sum(len(kept) for voters in self._votes.values() for kept in voters.values())

    def _tell(self, found: list[Offence]) -> list[Offence]:
        fresh: list[Offence] = []
        for offence in found:
            name = offence_id(offence)
            if name not in self._told:
                self._told[name] = None
                fresh.append(offence)
        while len(self._told) > OFFENCES_MAX:
            del self._told[next(iter(self._told))]
        return fresh

    # ---- votes -----------------------------------------------------------------------------------

    def _hear_vote(self, vote: Vote) -> list[Offence]:
        shown = self._shown_by(vote)
        voters = self._votes.setdefault(vote.height, {})
        if vote.validator not in voters and len(voters) >= VOTERS_MAX:
            return shown
        kept = voters.setdefault(vote.validator, [])
        slot = (vote.kind, vote.round)
        if all((other.kind, other.round) != slot for other in kept):
            kept.append(vote)
            if len(kept) > VOTES_MAX:
                kept.remove(min(kept, key=lambda one: one.round))
        while len(self._votes) > HEIGHTS_MAX + 1:
            del self._votes[min(self._votes)]
        return shown

    def _shown_by(self, vote: Vote) -> list[Offence]:
        """What a vote and those kept of its signer show together."""
        found: list[Offence] = []
        for other in self._votes.get(vote.height, {}).get(vote.validator, ()):
            if (other.kind, other.round) == (vote.kind, vote.round):
                if other.stand != vote.stand:
                    found.append(DoubleVote(other, vote))
            elif forgets(other, vote):
                found.append(Amnesia(other, vote))
            elif forgets(vote, other):
                found.append(Amnesia(vote, other))
        return found

    # ---- receipts --------------------------------------------------------------------------------

    def _hear_receipt(self, receipt: ServiceReceipt) -> list[Offence]:
        key = (receipt.channel, receipt.consumer, receipt.provider)
        known = self._receipts.pop(key, receipt)
        # Of one seq the one that both signed says more.
        newer = (receipt.seq, bool(receipt.provider_signature))
        older = (known.seq, bool(known.provider_signature))
        self._receipts[key] = receipt if newer > older else known
        while len(self._receipts) > CHANNELS_MAX:
            del self._receipts[next(iter(self._receipts))]
        return _two_receipts(known, receipt) if known.seq == receipt.seq else []


def _two_receipts(first: ServiceReceipt, second: ServiceReceipt) -> list[Offence]:
    if first.consumer_body() == second.consumer_body():
        return []
    guilty = [first.consumer]
    if first.provider_signature and second.provider_signature:
        guilty.append(first.provider)
    return [DoubleReceipt(first, second, account) for account in guilty]

"""Evidence: two signed statements that contradict, which no correct node signs.

    double vote       two votes of one height, round and kind
    double proposal   two proposals of one height and round
    amnesia           a precommit of (r, v), and a prevote of a later round for another value that
                      states a valid round before r: the lock of r was forgotten (Tendermint L29)
    double receipt    two receipts of one channel and seq with other bodies, both with the
                      offender's signature: as consumer, as provider, or each in turn
    double ad         two ads of one seq with other bodies

The two statements are all that is needed: no committee of the past, no word of whoever found them.
What can be punished once is named by `offence_id`: for votes and proposals the offender, the kind
and the height, for receipts and ads the offender and the seq.
"""

from typing import Annotated, Final, assert_never

import msgspec
from msgspec import Meta

from p2p.model.ad import CapacityAd
from p2p.model.ballot import Proposal, Vote, VoteKind
from p2p.model.fields import AccountField, AmountField, DigestField, HeightField, MomentField
from p2p.model.parameters import Parameters
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignedKind
from p2p.primitives.units import KIB, AccountId, Digest, Height, Millis

EVIDENCE_BYTES_MAX: Final = 9 * KIB
"""Two ads of the largest size, and the frame around them."""
EVIDENCE_PER_BLOCK_MAX: Final = 32
"""Nine signatures' time in a hundred proposals; what is left over waits for the next block."""


class DoubleVote(Value, frozen=True, tag="double_vote"):
    """Two votes in one slot."""

    first: Vote
    second: Vote


class DoubleProposal(Value, frozen=True, tag="double_proposal"):
    """Two proposals in one round."""

    first: Proposal
    second: Proposal


class Amnesia(Value, frozen=True, tag="amnesia"):
    """A precommit, and a later prevote that does not know of it."""

    precommit: Vote
    prevote: Vote


class DoubleReceipt(Value, frozen=True, tag="double_receipt"):
    """Two bodies of one seq. Its consumer or its provider is the offender; the other may not be."""

    first: ServiceReceipt
    second: ServiceReceipt
    offender: AccountField


class DoubleAd(Value, frozen=True, tag="double_ad"):
    """Two bodies of one seq."""

    first: CapacityAd
    second: CapacityAd


Offence = DoubleVote | DoubleProposal | Amnesia | DoubleReceipt | DoubleAd


class Evidence(Value, frozen=True, tag="evidence"):
    """An offence, and who is paid for having found it.

    Nobody signs for the finder: who passes evidence on could always sign anew.
    """

    offence: Offence
    reporter: AccountField


class Punished(Value, frozen=True):
    """An offence that is not punished again; forgotten when both bounds have passed."""

    offence: DigestField
    until_height: HeightField
    until_ms: MomentField


class SlashRow(Value, frozen=True, tag="slash"):
    """What a punished offence came to. slashed = rewarded + burned."""

    height: HeightField
    """Of the block that held the evidence."""
    kind: Annotated[str, Meta(max_length=32)]
    offender: AccountField
    offence: DigestField
    slashed: AmountField
    rewarded: AmountField
    burned: AmountField
    reporter: AccountField
    jailed_until: HeightField
    """First height at which the offender may ask to be let out; 0 is not jailed."""


class Signed(msgspec.Struct, frozen=True):
    """One signature that evidence stands on."""

    kind: SignedKind
    account: AccountId
    body: bytes
    signature: bytes


class Penalty(msgspec.Struct, frozen=True):
    """What an offence costs: a share of all stake, in basis points, and the place in the set."""

    slash_rate: int
    jails: bool


def offence_kind(offence: Offence) -> str:
    """The kind's name, as people read it."""
    return offence.__struct_config__.tag or ""  # type: ignore[return-value]


def offender(offence: Offence) -> AccountId:
    """Whose word contradicts itself."""
    match offence:
        case DoubleVote(first=first):
            return first.validator
        case Amnesia(precommit=precommit):
            return precommit.validator
        case DoubleProposal(first=proposal):
            return proposal.proposer
        case DoubleReceipt(offender=account):
            return account
        case DoubleAd(first=ad):
            return ad.provider
        case _:
            assert_never(offence)


def offence_height(offence: Offence) -> Height | None:
    """Its height; of receipts their epoch; None for ads, which have a moment."""
    match offence:
        case DoubleVote(first=first):
            return first.height
        case Amnesia(precommit=precommit):
            return precommit.height
        case DoubleProposal(first=proposal):
            return proposal.height
        case DoubleReceipt(first=one, second=other):
            return max(one.epoch, other.epoch)
        case DoubleAd():
            return None
        case _:
            assert_never(offence)


def offence_ms(offence: Offence) -> Millis | None:
    """The moment of the later of two ads; None for what has a height."""
    if isinstance(offence, DoubleAd):
        return max(offence.first.issued_ms, offence.second.issued_ms)
    return None


def offence_id(offence: Offence) -> Digest:
    """Names what is punished once, whichever two statements show it and whoever found them."""
    kind, who = offence_kind(offence).encode(), offender(offence)
    match offence:
        case DoubleVote() | DoubleProposal() | Amnesia():
            height = offence_height(offence)
            assert height is not None, "votes have one"
            slot = height.to_bytes(8)
        case DoubleReceipt(first=receipt):
            slot = receipt.channel + receipt.seq.to_bytes(8)
        case DoubleAd(first=ad):
            slot = ad.seq.to_bytes(8)
        case _:
            assert_never(offence)
    return digest(b"offence", kind, who, slot)


def penalty(offence: Offence, parameters: Parameters) -> Penalty:
    """What the chain takes for an offence."""
    match offence:
        case DoubleVote():
            return Penalty(parameters.slash_double_vote, jails=True)
        case DoubleProposal():
            return Penalty(parameters.slash_double_proposal, jails=True)
        case Amnesia():
            return Penalty(parameters.slash_amnesia, jails=True)
        case DoubleReceipt():
            return Penalty(parameters.slash_double_receipt, jails=False)
        case DoubleAd():
            return Penalty(parameters.slash_double_ad, jails=False)
        case _:
            assert_never(offence)


# ---- whether it is what it says ------------------------------------------------------------------


def contradiction_fault(offence: Offence, chain_id: Digest) -> Rejected | None:
    """Why two statements do not contradict, or None; their signatures are verified apart.

    Rejects: WRONG_CHAIN, NO_CONTRADICTION.
    """
    one, other = _statements(offence)
    if one.chain_id != chain_id or other.chain_id != chain_id:
        return Rejected(Reason.WRONG_CHAIN)
    contradicts, why = _contradicts(offence)
    return None if contradicts else Rejected(Reason.NO_CONTRADICTION, why)


Statement = Vote | Proposal | ServiceReceipt | CapacityAd


def _statements(offence: Offence) -> tuple[Statement, Statement]:
    if isinstance(offence, Amnesia):
        return offence.precommit, offence.prevote
    return offence.first, offence.second


def _contradicts(offence: Offence) -> tuple[bool, str]:
    match offence:
        case DoubleVote(first=first, second=second):
            same = _vote_slot(first) == _vote_slot(second) and first.kind == second.kind
            return same and first.stand != second.stand, "not two votes of one slot"
        case Amnesia(precommit=precommit, prevote=prevote):
            return forgets(precommit, prevote), "the prevote may follow the precommit"
        case DoubleProposal(first=one, second=two):
            same = (one.proposer, one.height, one.round) == (two.proposer, two.height, two.round)
            differs = (one.header_digest, one.valid_round) != (two.header_digest, two.valid_round)
            return same and differs, "not two proposals of one round"
        case DoubleReceipt(first=old, second=new, offender=account):
            same = _receipt_slot(old) == _receipt_slot(new)
            differs = old.consumer_body() != new.consumer_body()
            is_party = account in {old.consumer, old.provider}
            return same and differs and is_party, "not two bodies of one seq"
        case DoubleAd(first=ad, second=again):
            same = (ad.provider, ad.seq) == (again.provider, again.seq)
            return same and ad.body() != again.body(), "not two bodies of one seq"
        case _:
            assert_never(offence)


def forgets(precommit: Vote, prevote: Vote) -> bool:
    """Whether a validator prevoted against what it had precommitted, with no newer polka (L29)."""
    return (
        (precommit.validator, precommit.height) == (prevote.validator, prevote.height)
        and (precommit.kind, prevote.kind) == (VoteKind.PRECOMMIT, VoteKind.PREVOTE)
        and precommit.header_digest is not None
        and prevote.header_digest not in {None, precommit.header_digest}
        and prevote.valid_round < precommit.round < prevote.round
    )


def _vote_slot(vote: Vote) -> tuple[AccountId, Height, int]:
    return vote.validator, vote.height, vote.round


def _receipt_slot(receipt: ServiceReceipt) -> tuple[bytes, bytes, bytes, int]:
    return receipt.consumer, receipt.provider, receipt.channel, receipt.seq


# ---- signatures ----------------------------------------------------------------------------------


def signatures(offence: Offence) -> tuple[Signed, Signed]:
    """The two signatures of the offender that prove it."""
    one, other = _statements(offence)
    return _signed(one, offence), _signed(other, offence)


def _signed(statement: Statement, offence: Offence) -> Signed:
    who = offender(offence)
    match statement:
        case Vote():
            return Signed(SignedKind.VOTE, who, statement.body(), statement.signature)
        case Proposal():
            return Signed(SignedKind.PROPOSAL, who, statement.body(), statement.signature)
        case CapacityAd():
            return Signed(SignedKind.CAPACITY_AD, who, statement.body(), statement.signature)
        case ServiceReceipt() if who == statement.provider:
            kind, body = SignedKind.RECEIPT_PROVIDER, statement.provider_body()
            return Signed(kind, who, body, statement.provider_signature)
        case ServiceReceipt():
            kind, body = SignedKind.RECEIPT_CONSUMER, statement.consumer_body()
            return Signed(kind, who, body, statement.consumer_signature)
        case _:
            assert_never(statement)


def evidence_bytes(evidence: Evidence) -> int:
    """Its size in a block."""
    return len(encode(evidence))

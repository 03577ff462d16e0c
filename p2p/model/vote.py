"""Votes and proposals: the messages of consensus."""

from enum import IntEnum

import msgspec

from p2p.model.block import Block, Certificate
from p2p.model.fields import (
    AccountField,
    DigestField,
    HeightField,
    RoundField,
    SignatureField,
    ValidRoundField,
)
from p2p.primitives.codec import Value, encode
from p2p.primitives.signing import SignedKind, Signer


class VoteKind(IntEnum):
    """The two votes of a round, in their order."""

    PREVOTE = 1
    PRECOMMIT = 2


class Vote(Value, frozen=True, tag="vote"):
    """One validator's vote for a header digest, or for nil (None)."""

    chain_id: DigestField
    kind: VoteKind
    height: HeightField
    round: RoundField
    header_digest: DigestField | None
    validator: AccountField
    signature: SignatureField = b""

    def body(self) -> bytes:
        """The signed bytes: the vote without its signature."""
        return encode(msgspec.structs.replace(self, signature=b""))


class Proposal(Value, frozen=True, tag="proposal"):
    """A proposer's value for a round; `valid_round` is -1 or the round of its proof of lock."""

    chain_id: DigestField
    height: HeightField
    round: RoundField
    header_digest: DigestField
    valid_round: ValidRoundField
    proposer: AccountField
    signature: SignatureField = b""

    def body(self) -> bytes:
        """The signed bytes: the proposal without its signature."""
        return encode(msgspec.structs.replace(self, signature=b""))


class ProposedBlock(Value, frozen=True, tag="proposed"):
    """A proposal with the block that it names, as it travels."""

    proposal: Proposal
    block: Block


def sign_vote(vote: Vote, signer: Signer) -> Vote:
    """The vote with its validator's signature."""
    signature = signer.sign(SignedKind.VOTE, vote.chain_id, vote.body())
    return msgspec.structs.replace(vote, signature=signature)


def sign_proposal(proposal: Proposal, signer: Signer) -> Proposal:
    """The proposal with its proposer's signature."""
    signature = signer.sign(SignedKind.PROPOSAL, proposal.chain_id, proposal.body())
    return msgspec.structs.replace(proposal, signature=signature)


def certificate_votes(certificate: Certificate) -> tuple[Vote, ...]:
    """The precommits that a certificate consists of, as they were signed."""
    return tuple(
        Vote(
            chain_id=certificate.chain_id,
            kind=VoteKind.PRECOMMIT,
            height=certificate.height,
            round=certificate.round,
            header_digest=certificate.header_digest,
            validator=entry.validator,
            signature=entry.signature,
        )
        for entry in certificate.signatures
    )

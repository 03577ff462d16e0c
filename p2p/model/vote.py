"""The messages of consensus: votes, proposals with their blocks, certificates as votes."""

from p2p.model.ballot import (
    Proposal,
    Stand,
    Vote,
    VoteKind,
    sign_proposal,
    sign_vote,
)
from p2p.model.block import Block, Certificate
from p2p.primitives.codec import Value

__all__ = [
    "Proposal",
    "ProposedBlock",
    "Stand",
    "Vote",
    "VoteKind",
    "certificate_votes",
    "sign_proposal",
    "sign_vote",
]


class ProposedBlock(Value, frozen=True, tag="proposed"):
    """A proposal with the block that it names, as it travels."""

    proposal: Proposal
    block: Block


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

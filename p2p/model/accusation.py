"""What convicts those who forked a chain: a commit, and the polkas that led to it.

A commit certificate holds precommits alone. Where two are of different rounds, only the prevotes
between them show who forgot a lock; so every node keeps the polkas of its last heights, and can
hand them out together with the commit.
"""

from typing import Annotated, Final

from msgspec import Meta

from p2p.model.ballot import Vote, VoteKind
from p2p.model.block import (
    Certificate,
    CommitSignature,
    Header,
    ValidatorSet,
    certificate_fault,
    check_certificate,
)
from p2p.model.fields import DigestField, HeightField, RoundField, ValidRoundField
from p2p.model.parameters import VALIDATORS_MAX
from p2p.model.rejection import Reason
from p2p.primitives.codec import Value
from p2p.primitives.units import KIB

POLKAS_MAX: Final = 16
"""Polkas of a height that are kept: of its last rounds. A height of more rounds is a sick one."""
COMMIT_PROOF_BYTES_MAX: Final = 256 * KIB
"""A hundred validators, their certificate, and `POLKAS_MAX` polkas of 11 KiB."""


class Polka(Value, frozen=True, tag="polka"):
    """Prevotes of one round for one value and one valid round, with > 2/3 of the power."""

    chain_id: DigestField
    height: HeightField
    round: RoundField
    header_digest: DigestField
    valid_round: ValidRoundField
    signatures: Annotated[tuple[CommitSignature, ...], Meta(max_length=VALIDATORS_MAX)]
    """By validator account upwards."""

    def votes(self) -> tuple[Vote, ...]:
        """The prevotes, as they were signed."""
        return tuple(
            Vote(
                chain_id=self.chain_id,
                kind=VoteKind.PREVOTE,
                height=self.height,
                round=self.round,
                header_digest=self.header_digest,
                validator=entry.validator,
                valid_round=self.valid_round,
                signature=entry.signature,
            )
            for entry in self.signatures
        )


Polkas = Annotated[tuple[Polka, ...], Meta(max_length=POLKAS_MAX)]


class CommitProof(Value, frozen=True, tag="commit_proof"):
    """That a header was decided, by whom, and by which polkas."""

    header: Header
    validators: ValidatorSet
    certificate: Certificate
    polkas: Polkas


def polka_of(votes: list[Vote]) -> Polka:
    """The polka that prevotes of one stand and one round make. Raises ValueError without any."""
    if not votes or votes[0].header_digest is None:
        raise ValueError("no prevotes for a value")
    first = votes[0]
    signatures = sorted((vote.validator, vote.signature) for vote in votes)
    return Polka(
        chain_id=first.chain_id,
        height=first.height,
        round=first.round,
        header_digest=votes[0].header_digest,
        valid_round=first.valid_round,
        signatures=tuple(CommitSignature(*signature) for signature in signatures),
    )


def commit_proof_fault(proof: CommitProof) -> Reason | None:
    """Why a proof does not prove what it says, or None; its signatures are verified apart."""
    header, validators = proof.header, proof.validators
    if validators.root() != header.validators_root:
        return Reason.BAD_ROOT
    fault = check_certificate(proof.certificate, header, validators)
    for polka in proof.polkas:
        if fault is not None:
            return fault
        if polka.chain_id != header.chain_id:
            return Reason.WRONG_CHAIN
        if polka.height != header.height:
            return Reason.WRONG_HEIGHT
        if not all(vote.is_sound for vote in polka.votes()[:1]):
            return Reason.MALFORMED
        # A polka's signers stand and weigh as a certificate's do.
        fault = certificate_fault(_as_certificate(polka), validators)
    return fault


def _as_certificate(polka: Polka) -> Certificate:
    return Certificate(
        polka.chain_id, polka.height, polka.round, polka.header_digest, polka.signatures
    )

"""Validators, blocks and certificates: what consensus decides and what proves it.

A block is one epoch. Its header commits to the body by Merkle roots and to the state after the
block was executed, so one certificate over a header digest proves any account, receipt or reward.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from p2p.model.evidence import EVIDENCE_PER_BLOCK_MAX, Evidence
from p2p.model.fields import (
    AccountField,
    AmountField,
    DigestField,
    HeightField,
    MomentField,
    PositiveAmountField,
    RoundField,
    SignatureField,
)
from p2p.model.parameters import VALIDATORS_MAX
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason
from p2p.model.transaction import Transaction
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import digest, merkle_root
from p2p.primitives.units import AccountId, Digest

SETS_MAX: Final = 64
"""Validator sets whose roots are remembered, 0.5 MiB."""


class Validator(Value, frozen=True):
    """A voter and its weight (bonded micro-tokens)."""

    account: AccountField
    power: PositiveAmountField


class ValidatorSet(Value, frozen=True):
    """The voters of a height, by power downwards, then by account."""

    validators: Annotated[tuple[Validator, ...], Meta(max_length=VALIDATORS_MAX)]

    @property
    def total_power(self) -> int:
        """Sum of all powers."""
        return sum(validator.power for validator in self.validators)

    def powers(self) -> dict[AccountId, int]:
        """Power by account, in set order."""
        return {validator.account: validator.power for validator in self.validators}

    def root(self) -> Digest:
        """Merkle root over the validators in order."""
        return _validators_root(self)


@lru_cache(SETS_MAX)
def _validators_root(validators: ValidatorSet) -> Digest:
    """Sets stay for many heights, and every block names two."""
    return merkle_root([encode(validator) for validator in validators.validators])


def is_quorum(power: int, total: int) -> bool:
    """More than two thirds: 2f+1 in the Tendermint paper."""
    return 3 * power > 2 * total


def is_skip(power: int, total: int) -> bool:
    """More than one third: f+1 in the Tendermint paper."""
    return 3 * power > total


class Header(Value, frozen=True, tag="header"):
    """What a certificate signs. Roots are RFC 6962 Merkle roots."""

    chain_id: DigestField
    height: HeightField
    time_ms: MomentField
    proposer: AccountField
    previous: DigestField
    """Digest of the header below; the chain id at height 1."""
    transactions_root: DigestField
    receipts_root: DigestField
    evidence_root: DigestField
    rewards_root: DigestField
    state_root: DigestField
    """State after this block."""
    validators_root: DigestField
    """The set that decides this height."""
    next_validators_root: DigestField
    """The set that decides the next height."""
    minted: AmountField
    burned: AmountField
    supply: AmountField
    parameters_digest: DigestField

    def digest(self) -> Digest:
        """Names the block; what validators vote for."""
        return digest(encode(self))


class Block(Value, frozen=True, tag="block"):
    """One epoch: orders, receipts to settle, liars to punish, and the header that names all."""

    header: Header
    transactions: Annotated[tuple[Transaction, ...], Meta(max_length=10_000)]
    receipts: Annotated[tuple[ServiceReceipt, ...], Meta(max_length=10_000)]
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=EVIDENCE_PER_BLOCK_MAX)] = ()


def values_root(values: Sequence[Value]) -> Digest:
    """Merkle root over the encoded values in order, as headers name their contents."""
    return merkle_root([encode(value) for value in values])


def body_agrees(block: Block) -> bool:
    """Whether the body is the one that the header commits to.

    Signatures and certificates cover the header alone: whoever passes a block on could change the
    rest.
    """
    header = block.header
    return (
        values_root(block.transactions) == header.transactions_root
        and values_root(block.receipts) == header.receipts_root
        and values_root(block.evidence) == header.evidence_root
    )


class CommitSignature(Value, frozen=True):
    """One validator's precommit, as its signature."""

    validator: AccountField
    signature: SignatureField


class Certificate(Value, frozen=True, tag="certificate"):
    """Precommits of one round for one header, by validator account upwards; > 2/3 of the power."""

    chain_id: DigestField
    height: HeightField
    round: RoundField
    header_digest: DigestField
    signatures: Annotated[tuple[CommitSignature, ...], Meta(max_length=VALIDATORS_MAX)]


class CommittedBlock(Value, frozen=True, tag="committed"):
    """A block and the proof that it was decided."""

    block: Block
    certificate: Certificate


def certificate_fault(certificate: Certificate, validators: ValidatorSet) -> Reason | None:
    """Why a certificate does not prove what it names, or None; its signatures are verified apart.

    Signers stand in ascending order, once each, all of the set, with more than 2/3 of its power.
    """
    signers = [signature.validator for signature in certificate.signatures]
    if any(first >= second for first, second in pairwise(signers)):
        return Reason.BAD_CERTIFICATE
    powers = validators.powers()
    if any(signer not in powers for signer in signers):
        return Reason.NOT_A_VALIDATOR
    signed = sum(powers[signer] for signer in signers)
    return None if is_quorum(signed, validators.total_power) else Reason.BAD_CERTIFICATE


def check_certificate(
    certificate: Certificate, header: Header, validators: ValidatorSet
) -> Reason | None:
    """Why a certificate does not prove a header, or None.

    Args:
        certificate: with verified signatures.
        header: the block that it should prove.
        validators: the set that decides the header's height.
    """
    if certificate.chain_id != header.chain_id:
        return Reason.WRONG_CHAIN
    if certificate.height != header.height:
        return Reason.WRONG_HEIGHT
    if certificate.header_digest != header.digest():
        return Reason.BAD_CERTIFICATE
    return certificate_fault(certificate, validators)

import msgspec
import pytest

from p2p.model.block import (
    Certificate,
    CommitSignature,
    Header,
    Validator,
    ValidatorSet,
    certificate_fault,
    check_certificate,
)
from p2p.model.rejection import Reason
from p2p.model.vote import Vote, VoteKind, certificate_votes, sign_vote
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.keys import Key, verify_bytes
from p2p.primitives.signing import Ed25519Signer, SignedKind, signing_bytes
from p2p.primitives.units import AccountId, Amount, Height, Millis, Round

CHAIN = digest(b"chain")
KEYS = sorted((Key(bytes([n]) * 32) for n in range(1, 5)), key=lambda key: key.account)
POWERS = [4, 3, 2, 1]
VALIDATORS = ValidatorSet(
    tuple(Validator(k.account, Amount(p)) for k, p in zip(KEYS, POWERS, strict=True))
)
HEADER = Header(
    chain_id=CHAIN,
    height=Height(5),
    time_ms=Millis(1),
    proposer=KEYS[0].account,
    previous=ZERO_DIGEST,
    transactions_root=ZERO_DIGEST,
    receipts_root=ZERO_DIGEST,
    evidence_root=ZERO_DIGEST,
    rewards_root=ZERO_DIGEST,
    state_root=ZERO_DIGEST,
    validators_root=VALIDATORS.root(),
    next_validators_root=VALIDATORS.root(),
    minted=Amount(0),
    burned=Amount(0),
    supply=Amount(0),
    parameters_digest=ZERO_DIGEST,
)


def signature(key: Key) -> CommitSignature:
    vote = Vote(CHAIN, VoteKind.PRECOMMIT, Height(5), Round(2), HEADER.digest(), key.account)
    return CommitSignature(key.account, sign_vote(vote, Ed25519Signer(key)).signature)


def certificate(*indices: int) -> Certificate:
    signatures = tuple(signature(KEYS[index]) for index in indices)
    return Certificate(CHAIN, Height(5), Round(2), HEADER.digest(), signatures)


def test_more_than_two_thirds_of_the_power_prove_a_header() -> None:
    assert check_certificate(certificate(0, 1), HEADER, VALIDATORS) is None
    assert check_certificate(certificate(0, 2), HEADER, VALIDATORS) is Reason.BAD_CERTIFICATE
    assert check_certificate(certificate(0, 2, 3), HEADER, VALIDATORS) is None


@pytest.mark.parametrize("indices", [(), (1, 0), (0, 1, 1), (0, 0, 0)])
def test_signers_ascend_and_count_once(indices: tuple[int, ...]) -> None:
    assert certificate_fault(certificate(*indices), VALIDATORS) is Reason.BAD_CERTIFICATE


def test_strangers_prove_nothing() -> None:
    stranger = CommitSignature(AccountId(b"\xff" * 32), b"s" * 64)
    proof = certificate(0, 1)
    proof = msgspec.structs.replace(proof, signatures=(*proof.signatures, stranger))
    assert certificate_fault(proof, VALIDATORS) is Reason.NOT_A_VALIDATOR


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain_id": digest(b"other")}, Reason.WRONG_CHAIN),
        ({"height": Height(6)}, Reason.WRONG_HEIGHT),
        ({"header_digest": digest(b"other")}, Reason.BAD_CERTIFICATE),
    ],
)
def test_a_certificate_proves_its_own_header_only(
    change: dict[str, object], reason: Reason
) -> None:
    proof = msgspec.structs.replace(certificate(0, 1), **change)
    assert check_certificate(proof, HEADER, VALIDATORS) is reason


def test_the_votes_of_a_certificate_are_those_that_were_signed() -> None:
    votes = certificate_votes(certificate(0, 1, 2))
    assert [vote.validator for vote in votes] == [key.account for key in KEYS[:3]]
    for vote in votes:
        signed = signing_bytes(SignedKind.VOTE, CHAIN, vote.body())
        assert verify_bytes(vote.validator, signed, vote.signature)

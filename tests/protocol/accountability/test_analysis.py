"""Forks: from commits and polkas to more than a third of the power, and to nobody correct."""

import msgspec
import pytest

from p2p.model.accusation import CommitProof, Polka, commit_proof_fault, polka_of
from p2p.model.ballot import Vote, VoteKind, sign_vote
from p2p.model.block import Certificate, CommitSignature, Header, Validator, ValidatorSet
from p2p.model.rejection import Reason, Rejected
from p2p.node.verifier import read_commit_proof
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST, digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer
from p2p.primitives.units import AccountId, Amount, Digest, Height, Millis, Round
from p2p.protocol.accountability.analysis import analyze

CHAIN = digest(b"chain")
KEYS = sorted((Key(bytes([n]) * 32) for n in range(1, 5)), key=lambda key: key.account)
A, B, C, D = KEYS
FOUR = ValidatorSet(tuple(Validator(key.account, Amount(10)) for key in KEYS))


def header(text: str, **changes: object) -> Header:
    made = Header(
        chain_id=CHAIN,
        height=Height(7),
        time_ms=Millis(1),
        proposer=A.account,
        previous=digest(text.encode()),
        transactions_root=ZERO_DIGEST,
        receipts_root=ZERO_DIGEST,
        evidence_root=ZERO_DIGEST,
        rewards_root=ZERO_DIGEST,
        state_root=ZERO_DIGEST,
        validators_root=FOUR.root(),
        next_validators_root=FOUR.root(),
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(0),
        parameters_digest=ZERO_DIGEST,
    )
    return msgspec.structs.replace(made, **changes)


RED, BLUE = header("red"), header("blue")


def signed(
    kind: VoteKind, round_: int, value: Digest, keys: tuple[Key, ...], valid_round: int = -1
) -> list[Vote]:
    return [
        sign_vote(
            Vote(CHAIN, kind, Height(7), Round(round_), value, key.account, Round(valid_round)),
            Ed25519Signer(key),
        )
        for key in keys
    ]


def polka(decided: Header, round_: int, *keys: Key, valid_round: int = -1) -> Polka:
    return polka_of(signed(VoteKind.PREVOTE, round_, decided.digest(), keys, valid_round))


def commit(decided: Header, round_: int, *keys: Key, polkas: tuple[Polka, ...] = ()) -> CommitProof:
    votes = signed(VoteKind.PRECOMMIT, round_, decided.digest(), keys)
    signatures = sorted((vote.validator, vote.signature) for vote in votes)
    certificate = Certificate(
        CHAIN,
        Height(7),
        Round(round_),
        decided.digest(),
        tuple(CommitSignature(*signature) for signature in signatures),
    )
    proof = CommitProof(decided, FOUR, certificate, polkas)
    assert commit_proof_fault(proof) is None
    return proof


def guilty(*proofs: CommitProof) -> list[tuple[bytes, str]]:
    found = analyze(proofs)
    assert analyze(proofs[::-1]).guilty_power == found.guilty_power
    return [(entry.account, entry.kind) for entry in found.guilt]


def test_two_commits_of_one_round_name_who_precommitted_both() -> None:
    found = analyze([commit(RED, 0, A, B, C), commit(BLUE, 0, B, C, D)])
    assert found.is_fork
    assert found.names_enough
    assert found.missing == ()
    assert (found.guilty_power, found.total_power) == (20, 40)
    assert [(entry.account, entry.kind) for entry in found.guilt] == [
        (B.account, "double precommit"),
        (C.account, "double precommit"),
    ]


def test_a_forgotten_lock_shows_in_the_polka_of_the_later_commit() -> None:
    early = commit(RED, 0, A, B, C, polkas=(polka(RED, 0, A, B, C),))
    late = commit(BLUE, 2, B, C, D, polkas=(polka(BLUE, 2, B, C, D),))
    assert guilty(early, late) == [(B.account, "amnesia"), (C.account, "amnesia")]


def test_a_polka_that_names_a_later_one_is_followed_back_to_the_first() -> None:
    early = commit(RED, 0, A, B, C)
    steps = (polka(BLUE, 1, B, C, D), polka(BLUE, 3, A, C, D, valid_round=1))
    late = commit(BLUE, 3, A, C, D, polkas=steps)
    # A answered a proposal with the polka of round 1, as any correct validator would.
    assert guilty(early, late) == [(B.account, "amnesia"), (C.account, "amnesia")]


def test_a_polka_that_names_the_committed_round_leads_to_two_polkas_of_it() -> None:
    early = commit(RED, 1, A, B, C, polkas=(polka(RED, 1, A, B, C),))
    steps = (polka(BLUE, 1, B, C, D), polka(BLUE, 2, A, C, D, valid_round=1))
    late = commit(BLUE, 2, A, C, D, polkas=steps)
    assert guilty(early, late) == [(B.account, "double prevote"), (C.account, "double prevote")]


def test_without_the_polkas_too_few_are_named_and_the_missing_ones_are_told() -> None:
    early, late = commit(RED, 0, A, B, C), commit(BLUE, 2, B, C, D)
    found = analyze([early, late])
    assert (found.is_fork, found.names_enough, found.guilt) == (True, False, ())
    assert found.missing == (
        f"round 0 for {RED.digest().hex()[:16]}",
        f"round 2 for {BLUE.digest().hex()[:16]}",
    )
    steps = (polka(BLUE, 2, B, C, D, valid_round=1),)
    found = analyze([early, commit(BLUE, 2, B, C, D, polkas=steps)])
    assert found.missing == (
        f"round 0 for {RED.digest().hex()[:16]}",
        f"round 1 for {BLUE.digest().hex()[:16]}",
    )


def test_one_block_with_two_certificates_is_no_fork() -> None:
    found = analyze([commit(RED, 0, A, B, C), commit(RED, 1, B, C, D)])
    assert (found.is_fork, found.guilt, found.missing) == (False, (), ())


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"chain_id": digest(b"other")}, "two chains"),
        ({"height": 8}, "heights 7 and 8"),
        ({"validators_root": digest(b"others")}, "two validator sets"),
    ],
)
def test_commits_of_different_things_are_not_compared(
    other: dict[str, object], sentence: str
) -> None:
    mine = commit(RED, 0, A, B, C)
    theirs = msgspec.structs.replace(mine, header=header("red", **other))
    with pytest.raises(ValueError, match=sentence):
        analyze([mine, theirs])
    with pytest.raises(ValueError, match="nothing to analyze"):
        analyze([])


# ---- proofs from files --------------------------------------------------------------------------


def test_a_true_proof_is_read_back() -> None:
    proof = commit(RED, 2, A, B, C, polkas=(polka(RED, 2, A, B, C, valid_round=0),))
    assert read_commit_proof(encode(proof), Ed25519Scheme()) == proof


def test_a_false_proof_is_refused_with_its_reason() -> None:
    proof = commit(RED, 2, A, B, C, polkas=(polka(RED, 2, A, B, C),))
    replace = msgspec.structs.replace
    (true,) = proof.polkas
    stranger = replace(true, signatures=(CommitSignature(AccountId(digest(b"?")), b"s" * 64),))
    bitten = (
        *true.signatures[:2],
        replace(true.signatures[2], signature=bytes(64)),
    )
    false: list[tuple[CommitProof, Reason]] = [
        (replace(proof, validators=ValidatorSet(FOUR.validators[:3])), Reason.BAD_ROOT),
        (replace(proof, header=BLUE), Reason.BAD_CERTIFICATE),
        (replace(proof, polkas=(replace(true, chain_id=ZERO_DIGEST),)), Reason.WRONG_CHAIN),
        (replace(proof, polkas=(replace(true, height=Height(8)),)), Reason.WRONG_HEIGHT),
        (replace(proof, polkas=(replace(true, valid_round=Round(2)),)), Reason.MALFORMED),
        (replace(proof, polkas=(stranger,)), Reason.NOT_A_VALIDATOR),
        (replace(proof, polkas=(polka(RED, 2, A, B),)), Reason.BAD_CERTIFICATE),
        (replace(proof, polkas=(replace(true, signatures=bitten),)), Reason.BAD_SIGNATURE),
        (replace(proof, polkas=(replace(true, valid_round=Round(1)),)), Reason.BAD_SIGNATURE),
    ]
    for one, reason in false:
        refused = read_commit_proof(encode(one), Ed25519Scheme())
        assert isinstance(refused, Rejected)
        assert refused.reason is reason
    for data in (b"", b"junk", encode(proof) + b"x"):
        refused = read_commit_proof(data, Ed25519Scheme())
        assert isinstance(refused, Rejected)
        assert refused.reason is Reason.MALFORMED
    with pytest.raises(ValueError, match="no prevotes"):
        polka_of([])

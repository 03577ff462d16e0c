"""Evidence: what contradicts, what names it, and that bytes of strangers come to nothing else."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ad import sign_ad
from p2p.model.ballot import VoteKind, sign_proposal, sign_vote
from p2p.model.evidence import (
    EVIDENCE_BYTES_MAX,
    Amnesia,
    DoubleAd,
    DoubleProposal,
    DoubleReceipt,
    DoubleVote,
    Evidence,
    Offence,
    contradiction_fault,
    offence_height,
    offence_id,
    offence_kind,
    offence_ms,
    offender,
    signatures,
)
from p2p.model.receipt import sign_as_consumer, sign_as_provider
from p2p.model.rejection import Reason, Rejected
from p2p.model.topic import Topic
from p2p.node.verifier import Verifier
from p2p.primitives.codec import Malformed, decode, encode
from p2p.primitives.digests import digest
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, Verified
from tests.protocol.ledger import lies
from tests.protocol.ledger.chain import Chain, account
from tests.protocol.ledger.lies import BLUE, RED

CHAIN = Chain()
ID = CHAIN.rules.chain_id
KEY, OTHER = Key(b"k" * 32), Key(b"o" * 32)
LIES: dict[str, Evidence] = {
    "double_vote": lies.double_vote(CHAIN, 0),
    "double_proposal": lies.double_proposal(CHAIN, 0),
    "amnesia": lies.amnesia(CHAIN, 0),
    "double_receipt": lies.double_receipt(CHAIN, 0, 1, guilty=0),
    "double_ad": lies.double_ad(CHAIN, 0),
}
replace = msgspec.structs.replace


def truly_signed(kind: str) -> Evidence:
    """Evidence against KEY, signed by it (and by OTHER where a receipt has two parties)."""
    signer, other = Ed25519Signer(KEY), Ed25519Signer(OTHER)
    offence: Offence = LIES[kind].offence
    match offence:
        case DoubleVote(first=first, second=second):
            votes = [sign_vote(replace(v, validator=KEY.account), signer) for v in (first, second)]
            offence = DoubleVote(*votes)
        case Amnesia(precommit=first, prevote=second):
            votes = [sign_vote(replace(v, validator=KEY.account), signer) for v in (first, second)]
            offence = Amnesia(*votes)
        case DoubleProposal(first=one, second=two):
            made = [sign_proposal(replace(p, proposer=KEY.account), signer) for p in (one, two)]
            offence = DoubleProposal(*made)
        case DoubleReceipt(first=old, second=new):
            parties = {"consumer": OTHER.account, "provider": KEY.account}
            first_body, second_body = (
                sign_as_provider(sign_as_consumer(replace(r, **parties), other), signer)
                for r in (old, new)
            )
            offence = DoubleReceipt(first_body, second_body, KEY.account)
        case DoubleAd(first=ad, second=again):
            ads = [sign_ad(replace(a, provider=KEY.account), signer) for a in (ad, again)]
            offence = DoubleAd(*ads)
    return Evidence(offence, account(5))


@pytest.mark.parametrize("kind", LIES)
def test_each_kind_names_its_offender_and_what_is_punished_once(kind: str) -> None:
    offence = LIES[kind].offence
    assert offence_kind(offence) == kind
    assert offender(offence) == account(0)
    assert contradiction_fault(offence, ID) is None
    assert (offence_height(offence) is None) == (offence_ms(offence) is not None)
    others = [offence_id(LIES[other].offence) for other in LIES if other != kind]
    assert offence_id(offence) not in others
    assert len(signatures(offence)) == 2
    assert len(encode(LIES[kind])) <= EVIDENCE_BYTES_MAX


@pytest.mark.parametrize("kind", LIES)
def test_one_statement_twice_contradicts_nothing(kind: str) -> None:
    offence = LIES[kind].offence
    first, second, *_ = offence.__struct_fields__
    same = replace(offence, **{second: getattr(offence, first)})
    assert contradiction_fault(same, ID) is not None


def _vote(**changes: object) -> DoubleVote:
    offence = LIES["double_vote"].offence
    assert isinstance(offence, DoubleVote)
    return replace(offence, second=replace(offence.second, **changes))


@pytest.mark.parametrize(
    "offence",
    [
        _vote(round=1),
        _vote(height=2),
        _vote(kind=VoteKind.PRECOMMIT),
        _vote(validator=account(1)),
    ],
)
def test_votes_of_two_slots_contradict_nothing(offence: DoubleVote) -> None:
    fault = contradiction_fault(offence, ID)
    assert fault == Rejected(Reason.NO_CONTRADICTION, "not two votes of one slot")


def test_a_vote_that_differs_in_its_valid_round_alone_is_another_word() -> None:
    first = lies.vote(CHAIN, 0, RED, round_=4)
    assert contradiction_fault(DoubleVote(first, replace(first, valid_round=2)), ID) is None


def test_a_receipt_blames_nobody_who_is_no_party() -> None:
    offence = LIES["double_receipt"].offence
    assert contradiction_fault(replace(offence, offender=account(3)), ID) is not None


# ---- signatures, and bytes of strangers ---------------------------------------------------------


def verifier() -> Verifier:
    return Verifier(ID, Ed25519Scheme())


@pytest.mark.parametrize("kind", LIES)
def test_evidence_that_was_truly_signed_is_verified(kind: str) -> None:
    evidence = truly_signed(kind)
    assert verifier().message(Topic.EVIDENCE, encode(evidence)) == Verified(evidence)


@pytest.mark.parametrize("kind", LIES)
def test_evidence_with_a_false_signature_is_refused(kind: str) -> None:
    evidence = truly_signed(kind)
    names = evidence.offence.__struct_fields__[:2]
    for name in names:
        statement = getattr(evidence.offence, name)
        field = "provider_signature" if kind == "double_receipt" else "signature"
        false = replace(statement, **{field: bytes(64)})
        forged = replace(evidence, offence=replace(evidence.offence, **{name: false}))
        refused = verifier().message(Topic.EVIDENCE, encode(forged))
        assert refused == Rejected(Reason.BAD_SIGNATURE)


def test_the_consumer_of_a_receipt_is_judged_by_its_own_signature() -> None:
    evidence = truly_signed("double_receipt")
    blamed = replace(evidence, offence=replace(evidence.offence, offender=OTHER.account))
    assert verifier().message(Topic.EVIDENCE, encode(blamed)) == Verified(blamed)


def test_nothing_is_verified_of_what_does_not_contradict() -> None:
    class Never:
        def verify(self, *_: object) -> bool:
            raise AssertionError("a signature was checked")

    same = replace(LIES["double_vote"].offence, second=lies.vote(CHAIN, 0, RED))
    judge = Verifier(ID, Never())
    refused = judge.message(Topic.EVIDENCE, encode(Evidence(same, account(1))))
    assert refused == Rejected(Reason.NO_CONTRADICTION)
    foreign = Verifier(BLUE, Never())
    refused = foreign.message(Topic.EVIDENCE, encode(LIES["amnesia"]))
    assert refused == Rejected(Reason.WRONG_CHAIN)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_raises(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data, Evidence, bytes_max=EVIDENCE_BYTES_MAX)
    assert isinstance(verifier().message(Topic.EVIDENCE, data), Rejected)


@given(
    kind=st.sampled_from(sorted(LIES)),
    cut=st.integers(0, 10_000),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=4),
)
def test_evidence_that_was_bitten_or_cut_is_refused_or_is_still_true(
    kind: str, cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(encode(truly_signed(kind)))
    for place, change in flips:
        data[place % len(data)] ^= change
    data = data[: max(1, cut % (2 * len(data)))]
    outcome = verifier().message(Topic.EVIDENCE, bytes(data))
    if isinstance(outcome, Verified):
        # Only who reports is signed by nobody.
        assert isinstance(outcome.value, Evidence)
        assert outcome.value.offence == truly_signed(kind).offence


WORDS: list[Callable[[], Evidence]] = [lambda kind=kind: truly_signed(kind) for kind in LIES]  # type: ignore[misc]


def test_two_ads_of_the_largest_size_fit_into_evidence() -> None:
    largest = lies.ad(CHAIN, 0)
    largest = replace(largest, addrs=("/dns4/" + "x" * 240,) * 8, services=("s" * 64,) * 8)
    pair = DoubleAd(largest, replace(largest, region="r" * 64))
    assert len(encode(Evidence(pair, account(1)))) < EVIDENCE_BYTES_MAX
    assert len({digest(encode(make())) for make in WORDS}) == len(LIES)

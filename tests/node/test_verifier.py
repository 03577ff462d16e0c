"""The verifier: form, then context, then signatures; and never a signature twice."""

import msgspec
import pytest

from p2p.model.ad import CapacityAd, sign_ad
from p2p.model.block import Block, values_root
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.rejection import Reason, Rejected
from p2p.model.requests import Ads, Blocks, Peers, Response, RoundMessages, Status
from p2p.model.topic import GossipValue, Topic
from p2p.model.transaction import Transaction, Transfer, sign_transaction
from p2p.model.vote import VoteKind
from p2p.node import verifier as verifier_module
from p2p.node.verifier import Verifier
from p2p.primitives.codec import encode
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, SignedKind, Verified
from p2p.primitives.units import AccountId, Amount, ChannelId, Digest, Height, Round
from tests.protocol.replica.bench import (
    CHAIN,
    OBSERVER,
    STRANGER,
    VALIDATORS,
    Bench,
    certify,
    propose,
    vote,
)

ONE, TWO = VALIDATORS[:2]
NOWHERE = Digest(bytes(32))


class CountingScheme(Ed25519Scheme):
    def __init__(self) -> None:
        self.checks = 0

    def verify(
        self, account: AccountId, kind: SignedKind, chain_id: Digest, body: bytes, signature: bytes
    ) -> bool:
        self.checks += 1
        return super().verify(account, kind, chain_id, body, signature)


def make() -> tuple[Verifier, CountingScheme]:
    scheme = CountingScheme()
    return Verifier(CHAIN, scheme), scheme


def transaction() -> Transaction:
    action = Transfer(STRANGER.account, Amount(1))
    draft = Transaction(CHAIN, ONE.account, 0, Amount(10), action)
    return sign_transaction(draft, Ed25519Signer(ONE))


def receipt() -> ServiceReceipt:
    draft = ServiceReceipt(
        CHAIN,
        ONE.account,
        TWO.account,
        ChannelId(bytes(32)),
        Height(1),
        1,
        1,
        0,
        0,
        Amount(1),
        NOWHERE,
        NOWHERE,
    )
    return sign_as_provider(sign_as_consumer(draft, Ed25519Signer(TWO)), Ed25519Signer(ONE))


def ad() -> CapacityAd:
    bench = Bench(OBSERVER).start()
    own = bench.replica.registry.get(OBSERVER.account)
    assert own is not None
    return own.value


def block(
    transactions: tuple[Transaction, ...] = (), receipts: tuple[ServiceReceipt, ...] = ()
) -> Block:
    """A block whose header names this body, whatever the ledger would say of it."""
    empty = Bench().start().build(ONE).block
    header = msgspec.structs.replace(
        empty.header,
        transactions_root=values_root(transactions),
        receipts_root=values_root(receipts),
    )
    return Block(header, transactions, receipts)


def renamed() -> Block:
    """The empty block under another header."""
    header = msgspec.structs.replace(block().header, minted=Amount(1))
    return msgspec.structs.replace(block(), header=header)


def tampered() -> Block:
    """A block whose body was changed on its way."""
    return msgspec.structs.replace(block(), transactions=(transaction(),))


GOOD: list[tuple[Topic, GossipValue, int]] = [
    (Topic.ADS, ad(), 1),
    (Topic.BLOCKS, certify(block()), 4),
    (Topic.RECEIPTS, receipt(), 2),
    (Topic.TRANSACTIONS, transaction(), 1),
    (Topic.VOTES, vote(ONE, None), 1),
    (Topic.VOTES, propose(ONE, block(transactions=(transaction(),), receipts=(receipt(),))), 4),
]
BY_KIND = [type(value).__name__ for _, value, _ in GOOD]


# ---- messages


@pytest.mark.parametrize(("topic", "value", "signatures"), GOOD, ids=BY_KIND)
def test_a_good_message_is_verified_signature_by_signature_and_only_once(
    topic: Topic, value: GossipValue, signatures: int
) -> None:
    verifier, scheme = make()
    assert verifier.message(topic, encode(value)) == Verified(value)
    assert scheme.checks == signatures
    assert verifier.message(topic, encode(value)) == Verified(value)
    assert scheme.checks == signatures


@pytest.mark.parametrize(("topic", "value", "signatures"), GOOD, ids=BY_KIND)
def test_bytes_that_are_cut_or_of_another_topic_cost_no_signature(
    topic: Topic, value: GossipValue, signatures: int
) -> None:
    verifier, scheme = make()
    data = encode(value)
    bad = [data[:-1], data + b"\0", b"", data + bytes(2**20)]
    for found in [verifier.message(topic, one) for one in bad]:
        assert isinstance(found, Rejected)
        assert found.reason is Reason.MALFORMED
    others = [other for other in Topic if other is not topic]
    assert all(isinstance(verifier.message(other, data), Rejected) for other in others)
    assert scheme.checks == 0


def test_the_context_is_asked_before_any_signature_is_checked() -> None:
    verifier, scheme = make()
    asked: list[GossipValue] = []

    def admits(value: GossipValue) -> Reason:
        asked.append(value)
        return Reason.WRONG_HEIGHT

    refused = verifier.message(Topic.VOTES, encode(vote(ONE, None)), admits)
    assert refused == Rejected(Reason.WRONG_HEIGHT)
    assert asked == [vote(ONE, None)]
    assert scheme.checks == 0


FORGED: list[tuple[Topic, GossipValue, Reason]] = [
    (Topic.ADS, sign_ad(ad(), Ed25519Signer(STRANGER)), Reason.BAD_SIGNATURE),
    (
        Topic.ADS,
        sign_ad(msgspec.structs.replace(ad(), chain_id=NOWHERE), Ed25519Signer(OBSERVER)),
        Reason.WRONG_CHAIN,
    ),
    (
        Topic.VOTES,
        msgspec.structs.replace(vote(ONE, None), validator=TWO.account),
        Reason.BAD_SIGNATURE,
    ),
    (
        Topic.TRANSACTIONS,
        msgspec.structs.replace(transaction(), fee=Amount(11)),
        Reason.BAD_SIGNATURE,
    ),
    (Topic.RECEIPTS, sign_as_provider(receipt(), Ed25519Signer(TWO)), Reason.BAD_SIGNATURE),
    (
        Topic.RECEIPTS,
        sign_as_provider(
            msgspec.structs.replace(receipt(), consumer_signature=bytes(64)), Ed25519Signer(ONE)
        ),
        Reason.BAD_SIGNATURE,
    ),
    (
        Topic.BLOCKS,
        msgspec.structs.replace(certify(block()), block=renamed()),
        Reason.BAD_CERTIFICATE,
    ),
    *(
        (
            Topic.BLOCKS,
            msgspec.structs.replace(
                certify(block()),
                certificate=msgspec.structs.replace(certify(block()).certificate, **elsewhere),
            ),
            Reason.BAD_CERTIFICATE,
        )
        for elsewhere in ({"height": Height(99)}, {"chain_id": Digest(bytes(32))})
    ),
    (
        Topic.BLOCKS,
        msgspec.structs.replace(certify(block()), block=tampered()),
        Reason.BAD_ROOT,
    ),
    (
        Topic.VOTES,
        msgspec.structs.replace(propose(ONE, block()), block=tampered()),
        Reason.BAD_ROOT,
    ),
    (
        Topic.VOTES,
        msgspec.structs.replace(propose(ONE, block(receipts=(receipt(),))), block=block()),
        Reason.MALFORMED,
    ),
    (
        Topic.VOTES,
        msgspec.structs.replace(propose(ONE, block()), block=renamed()),
        Reason.MALFORMED,
    ),
    (
        Topic.VOTES,
        propose(
            ONE, block(transactions=(msgspec.structs.replace(transaction(), signature=bytes(64)),))
        ),
        Reason.BAD_SIGNATURE,
    ),
    (
        Topic.VOTES,
        propose(
            ONE,
            block(receipts=(msgspec.structs.replace(receipt(), provider_signature=bytes(64)),)),
        ),
        Reason.BAD_SIGNATURE,
    ),
    (
        Topic.VOTES,
        msgspec.structs.replace(
            propose(ONE, block()),
            proposal=msgspec.structs.replace(propose(ONE, block()).proposal, signature=bytes(64)),
        ),
        Reason.BAD_SIGNATURE,
    ),
]


@pytest.mark.parametrize(("topic", "value", "reason"), FORGED)
def test_what_is_not_truly_signed_is_refused(
    topic: Topic, value: GossipValue, reason: Reason
) -> None:
    verifier, _ = make()
    refused = verifier.message(topic, encode(value))
    assert isinstance(refused, Rejected)
    assert refused.reason is reason


def test_a_signature_counts_for_its_own_kind_and_signer_alone() -> None:
    """What is remembered as verified must not let anything else through."""
    verifier, _ = make()
    good = vote(ONE, None)
    verifier.message(Topic.VOTES, encode(good))
    stolen = msgspec.structs.replace(good, validator=TWO.account)
    other = msgspec.structs.replace(good, height=Height(2))
    for forged in (stolen, other):
        assert isinstance(verifier.message(Topic.VOTES, encode(forged)), Rejected)


def test_a_vote_that_came_by_gossip_costs_nothing_in_a_certificate() -> None:
    verifier, scheme = make()
    committed = certify(block())
    name = committed.block.header.digest()
    for key in VALIDATORS:
        verifier.message(Topic.VOTES, encode(vote(key, name, kind=VoteKind.PRECOMMIT)))
    before = scheme.checks
    assert isinstance(verifier.message(Topic.BLOCKS, encode(committed)), Verified)
    assert scheme.checks == before


def test_what_is_remembered_is_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier_module, "KNOWN_SIGNATURES_MAX", 3)
    verifier, scheme = make()
    votes = [encode(vote(ONE, None, round_=number)) for number in range(5)]
    for data in votes:
        verifier.message(Topic.VOTES, data)
    assert len(verifier._known) == 3
    verifier.message(Topic.VOTES, votes[4])
    assert scheme.checks == 5
    verifier.message(Topic.VOTES, votes[0])
    assert scheme.checks == 6


# ---- single values


def test_ads_and_receipts_are_checked_for_the_services() -> None:
    verifier, _ = make()
    assert verifier.ad(encode(ad())) == Verified(ad())
    assert isinstance(verifier.ad(b"junk"), Rejected)
    assert isinstance(verifier.ad(encode(sign_ad(ad(), Ed25519Signer(ONE)))), Rejected)
    assert verifier.receipt(receipt()) == Verified(receipt())
    half = msgspec.structs.replace(receipt(), provider_signature=b"")
    assert isinstance(verifier.receipt(half), Rejected)
    assert verifier.receipt_consumer(half) == Verified(half)
    none = msgspec.structs.replace(half, consumer_signature=b"")
    assert isinstance(verifier.receipt_consumer(none), Rejected)


# ---- answers

OTHER_ROUND = msgspec.structs.replace(
    certify(block()),
    certificate=msgspec.structs.replace(certify(block()).certificate, round=Round(3)),
)
STATUS = Status(CHAIN, Height(1), CHAIN, Height(1))


@pytest.mark.parametrize(
    "response",
    [
        STATUS,
        Peers(()),
        Ads((ad(),)),
        Blocks((certify(block()),)),
        RoundMessages((vote(ONE, None),), propose(ONE, block())),
        RoundMessages((), None),
    ],
)
def test_good_answers_are_verified(response: Response) -> None:
    verifier, _ = make()
    assert verifier.response(response) == Verified(response)


@pytest.mark.parametrize(
    "response",
    [
        Ads((ad(), sign_ad(ad(), Ed25519Signer(STRANGER)))),
        Blocks((certify(block()), OTHER_ROUND)),
        RoundMessages(
            (vote(ONE, None), msgspec.structs.replace(vote(TWO, None), signature=bytes(64))), None
        ),
        RoundMessages(
            (),
            msgspec.structs.replace(
                propose(ONE, block()),
                proposal=msgspec.structs.replace(
                    propose(ONE, block()).proposal, signature=bytes(64)
                ),
            ),
        ),
    ],
)
def test_one_false_signature_spoils_an_answer(response: Response) -> None:
    verifier, _ = make()
    assert verifier.response(response) == Rejected(Reason.BAD_SIGNATURE)


def test_of_known_validators_a_quorum_is_checked_and_the_rest_left_out() -> None:
    verifier, _ = make()
    committed = certify(block())
    powers = {entry.validator: 1 for entry in committed.certificate.signatures}
    entries = committed.certificate.signatures
    voters = {committed.block.header.validators_root: powers}
    needed = 2 * len(powers) // 3 + 1
    if needed < len(powers):
        last = msgspec.structs.replace(entries[-1], signature=bytes(64))
        certificate = msgspec.structs.replace(
            committed.certificate, signatures=(*entries[:-1], last)
        )
        committed = msgspec.structs.replace(committed, certificate=certificate)
    answer = verifier.response(Blocks((committed,)), voters.get)
    assert isinstance(answer, Verified)
    (kept,) = answer.value.blocks  # type: ignore[union-attr]
    assert kept.certificate.signatures == entries[:needed]
    first = msgspec.structs.replace(entries[0], signature=bytes(64))
    bad = msgspec.structs.replace(committed.certificate, signatures=(first, *entries[1:]))
    spoilt = msgspec.structs.replace(committed, certificate=bad)
    assert verifier.response(Blocks((spoilt,)), voters.get) == Rejected(Reason.BAD_SIGNATURE)

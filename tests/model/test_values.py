"""Every value of the model, whoever adds it: one encoding, bounded fields, a tag of its own."""

from collections import Counter

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2p.model.ad import CapacityAd, Price, Resources, sign_ad
from p2p.model.block import (
    Block,
    Certificate,
    CommitSignature,
    CommittedBlock,
    Header,
    Validator,
    ValidatorSet,
    is_quorum,
    is_skip,
)
from p2p.model.ledger import State
from p2p.model.parameters import (
    AD_BYTES_MAX,
    CERTIFICATE_BYTES_MAX,
    RECEIPT_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    VALIDATORS_MAX,
    VOTE_BYTES_MAX,
)
from p2p.model.persistence import number_key
from p2p.model.receipt import ServiceReceipt, sign_as_consumer, sign_as_provider
from p2p.model.snapshot import SnapshotOffer
from p2p.model.topic import Topic, topic_name
from p2p.model.transaction import Transaction, Transfer, channel_id, sign_transaction
from p2p.model.vote import Proposal, Vote, VoteKind, sign_proposal, sign_vote
from p2p.primitives.codec import Malformed, Value, decode, encode
from p2p.primitives.digests import ZERO_DIGEST, leaf_digest, merkle_root
from p2p.primitives.keys import Key
from p2p.primitives.signing import Ed25519Scheme, Ed25519Signer, SignedKind
from p2p.primitives.units import (
    AMOUNT_MAX,
    MIB,
    NO_ROUND,
    AccountId,
    Amount,
    Digest,
    Height,
    Millis,
    Round,
)
from tests.model.values import value_types, values

# A state is in order, which no field says: test_ledger.py and test_snapshot.py draw states.
KINDS = [kind for kind in value_types() if kind not in (State, SnapshotOffer)]
BYTES_MAX = 10 * MIB
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
quick = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])


@every_kind
def test_a_value_survives_its_bytes_which_another_implementation_reads_alike(
    kind: type[Value],
) -> None:
    @quick
    @given(values(kind))
    def check(value: Value) -> None:
        data = encode(value)
        assert decode(data, kind, bytes_max=BYTES_MAX) == value
        plain = msgpack.unpackb(data, strict_map_key=False)
        assert msgpack.packb(plain) == data

    check()


@every_kind
def test_changed_bytes_are_malformed_or_another_value(kind: type[Value]) -> None:
    @quick
    @given(values(kind), st.data())
    def check(value: Value, data: st.DataObject) -> None:
        good = encode(value)
        place = data.draw(st.integers(0, len(good) - 1))
        changed = good[:place] + data.draw(st.binary(max_size=2)) + good[place + 1 :]
        try:
            other = decode(changed, kind, bytes_max=BYTES_MAX)
        except Malformed:
            return
        assert encode(other) == changed
        assert (other == value) == (changed == good)

    check()


def test_no_two_values_share_a_tag() -> None:
    tags = Counter(kind.__struct_config__.tag for kind in KINDS if kind.__struct_config__.tag)
    assert [tag for tag, count in tags.items() if count > 1] == []


# ---- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Transfer, {"to": bytes(31), "amount": 1}),
        (Transfer, {"to": bytes(33), "amount": 1}),
        (Transfer, {"to": bytes(32), "amount": -1}),
        (Transfer, {"to": bytes(32), "amount": AMOUNT_MAX + 1}),
        (Validator, {"account": bytes(32), "power": 0}),
        (CommitSignature, {"validator": bytes(32), "signature": bytes(65)}),
        (ValidatorSet, {"validators": (Validator(AccountId(bytes(32)), Amount(1)),) * 101}),
        (Resources, {"gpus": 2**53 + 1}),
    ],
)
def test_fields_out_of_bounds_are_malformed(kind: type[Value], fields: dict[str, object]) -> None:
    data = encode(kind(**fields))
    with pytest.raises(Malformed):
        decode(data, kind, bytes_max=BYTES_MAX)


ACCOUNT = AccountId(b"\xff" * 32)
DIGEST = Digest(b"\xff" * 32)
COUNT = 2**53
SIGNATURE = b"\xff" * 64
LARGEST: list[tuple[Value, int]] = [
    (
        CapacityAd(
            chain_id=DIGEST,
            provider=ACCOUNT,
            seq=COUNT,
            issued_ms=Millis(COUNT),
            ttl_s=86_400,
            addrs=("a" * 256,) * 8,
            services=("s" * 64,) * 8,
            region="r" * 64,
            resources=Resources(*[COUNT] * 7),
            price=Price(*[Amount(AMOUNT_MAX)] * 3),
            blob_bytes_max=COUNT,
            accepting=True,
            drain_epoch=COUNT,
            signature=SIGNATURE,
        ),
        AD_BYTES_MAX,
    ),
    (
        ServiceReceipt(
            chain_id=DIGEST,
            provider=ACCOUNT,
            consumer=ACCOUNT,
            channel=DIGEST,  # type: ignore[arg-type]
            epoch=Height(COUNT),
            seq=COUNT,
            bytes_put=COUNT,
            bytes_get=COUNT,
            mib_epochs=COUNT,
            amount=Amount(AMOUNT_MAX),
            obligations_root=DIGEST,
            ad_digest=DIGEST,
            consumer_signature=SIGNATURE,
            provider_signature=SIGNATURE,
        ),
        RECEIPT_BYTES_MAX,
    ),
    (
        Transaction(
            chain_id=DIGEST,
            sender=ACCOUNT,
            nonce=COUNT,
            fee=Amount(AMOUNT_MAX),
            action=Transfer(ACCOUNT, Amount(AMOUNT_MAX)),
            signature=SIGNATURE,
        ),
        TRANSACTION_BYTES_MAX,
    ),
    (
        Vote(
            DIGEST,
            VoteKind.PRECOMMIT,
            Height(COUNT),
            Round(2**31),
            DIGEST,
            ACCOUNT,
            Round(2**31 - 1),
            SIGNATURE,
        ),
        VOTE_BYTES_MAX,
    ),
    (
        Certificate(
            DIGEST,
            Height(COUNT),
            Round(2**31),
            DIGEST,
            (CommitSignature(ACCOUNT, SIGNATURE),) * VALIDATORS_MAX,
        ),
        CERTIFICATE_BYTES_MAX,
    ),
]


@pytest.mark.parametrize(("value", "bytes_max"), LARGEST, ids=lambda part: type(part).__name__)
def test_the_largest_value_fits_its_named_bound(value: Value, bytes_max: int) -> None:
    assert decode(encode(value), type(value), bytes_max=bytes_max) == value


# ---- signatures --------------------------------------------------------------------------------

KEYS = [Key(bytes([number] * 32)) for number in range(2)]
SIGNERS = [Ed25519Signer(key) for key in KEYS]
CHAIN = Digest(b"\x07" * 32)
VERIFY = Ed25519Scheme().verify
Signed = CapacityAd | Transaction | Vote | Proposal


def test_each_signed_value_verifies_over_its_body_and_by_its_owner() -> None:
    owner, chain = KEYS[0].account, CHAIN
    ad = CapacityAd(
        chain_id=chain,
        provider=owner,
        seq=1,
        issued_ms=Millis(5),
        ttl_s=60,
        addrs=(),
        services=("blob",),
        region="here",
        resources=Resources(),
        price=Price(),
        blob_bytes_max=0,
        accepting=True,
        drain_epoch=0,
    )
    transaction = Transaction(chain, owner, 0, Amount(10), Transfer(owner, Amount(1)))
    vote = Vote(chain, VoteKind.PREVOTE, Height(1), Round(0), None, owner)
    proposal = Proposal(chain, Height(1), Round(0), ZERO_DIGEST, NO_ROUND, owner)
    signed: list[tuple[SignedKind, Signed, Signed]] = [
        (SignedKind.CAPACITY_AD, ad, sign_ad(ad, SIGNERS[0])),
        (SignedKind.TRANSACTION, transaction, sign_transaction(transaction, SIGNERS[0])),
        (SignedKind.VOTE, vote, sign_vote(vote, SIGNERS[0])),
        (SignedKind.PROPOSAL, proposal, sign_proposal(proposal, SIGNERS[0])),
    ]
    for kind, bare, value in signed:
        assert value.body() == bare.body() == encode(bare)
        assert VERIFY(owner, kind, chain, value.body(), value.signature)
        assert msgspec.structs.replace(value, signature=b"") == bare
    assert ad.expires_ms == 60_005
    assert sign_ad(ad, SIGNERS[0]).digest() != ad.digest()
    assert sign_transaction(transaction, SIGNERS[0]).digest() != transaction.digest()


def bare_receipt() -> ServiceReceipt:
    return ServiceReceipt(
        chain_id=CHAIN,
        provider=KEYS[1].account,
        consumer=KEYS[0].account,
        channel=channel_id(CHAIN, KEYS[0].account, 0),
        epoch=Height(1),
        seq=1,
        bytes_put=1,
        bytes_get=2,
        mib_epochs=3,
        amount=Amount(4),
        obligations_root=ZERO_DIGEST,
        ad_digest=ZERO_DIGEST,
    )


def test_the_provider_signs_what_the_consumer_signed() -> None:
    bare = bare_receipt()
    half = sign_as_consumer(bare, SIGNERS[0])
    whole = sign_as_provider(half, SIGNERS[1])
    consumer, provider = KEYS[0].account, KEYS[1].account
    body, outer = whole.consumer_body(), whole.provider_body()
    assert (body, outer) == (encode(bare), encode(half))
    assert VERIFY(consumer, SignedKind.RECEIPT_CONSUMER, CHAIN, body, whole.consumer_signature)
    assert VERIFY(provider, SignedKind.RECEIPT_PROVIDER, CHAIN, outer, whole.provider_signature)
    assert not VERIFY(consumer, SignedKind.RECEIPT_PROVIDER, CHAIN, outer, whole.consumer_signature)
    assert len({bare.digest(), half.digest(), whole.digest()}) == 3


# ---- what values say of themselves -------------------------------------------------------------


def test_a_channel_is_named_by_chain_sender_and_nonce() -> None:
    names = {
        channel_id(chain, key.account, nonce)
        for chain in (CHAIN, ZERO_DIGEST)
        for key in KEYS
        for nonce in (0, 1, 256)
    }
    assert len(names) == 12


def test_a_price_rounds_up_once() -> None:
    price = Price(Amount(3), Amount(5), Amount(7))
    assert price.amount(bytes_put=0, bytes_get=0, mib_epochs=0) == 0
    assert price.amount(bytes_put=1, bytes_get=0, mib_epochs=0) == 1
    assert price.amount(bytes_put=MIB, bytes_get=2 * MIB, mib_epochs=2) == 3 + 10 + 14
    # Half a micro-token of each is one together.
    assert price.amount(bytes_put=MIB // 6, bytes_get=MIB // 10, mib_epochs=0) == 1


def test_a_validator_set_knows_its_powers_and_root() -> None:
    validators = (Validator(ACCOUNT, Amount(5)), Validator(KEYS[0].account, Amount(2)))
    voters = ValidatorSet(validators)
    assert voters.total_power == 7
    assert list(voters.powers().items()) == [(ACCOUNT, 5), (KEYS[0].account, 2)]
    assert voters.root() == merkle_root([encode(validator) for validator in validators])
    assert ValidatorSet(validators[:1]).root() == leaf_digest(encode(validators[0]))


@pytest.mark.parametrize(
    ("power", "total", "quorum", "skip"),
    [
        (2, 3, False, True),
        (3, 3, True, True),
        (1, 3, False, False),
        (67, 100, True, True),
        (66, 99, False, True),
        (33, 99, False, False),
        (34, 99, False, True),
        (2 * 10**18, 3 * 10**18, False, True),
        (2 * 10**18 + 1, 3 * 10**18, True, True),
    ],
)
def test_quorum_is_more_than_two_thirds_and_skip_more_than_one(
    power: int, total: int, quorum: bool, skip: bool
) -> None:
    assert (is_quorum(power, total), is_skip(power, total)) == (quorum, skip)


def test_a_headers_digest_covers_every_field() -> None:
    header = Header(
        chain_id=CHAIN,
        height=Height(1),
        time_ms=Millis(2),
        proposer=ACCOUNT,
        previous=CHAIN,
        transactions_root=ZERO_DIGEST,
        receipts_root=ZERO_DIGEST,
        evidence_root=ZERO_DIGEST,
        rewards_root=ZERO_DIGEST,
        state_root=ZERO_DIGEST,
        validators_root=ZERO_DIGEST,
        next_validators_root=ZERO_DIGEST,
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(0),
        parameters_digest=ZERO_DIGEST,
    )
    changes: dict[str, object] = {
        field.name: 9 if isinstance(getattr(header, field.name), int) else b"\x09" * 32
        for field in msgspec.structs.fields(Header)
    }
    others = {
        msgspec.structs.replace(header, **{name: value}).digest() for name, value in changes.items()
    }
    assert len(others | {header.digest()}) == len(changes) + 1
    block = Block(header, (), ())
    certificate = Certificate(CHAIN, Height(1), Round(0), header.digest(), ())
    committed = CommittedBlock(block, certificate)
    assert decode(encode(committed), CommittedBlock, bytes_max=BYTES_MAX) == committed


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_keys_of_numbers_stand_in_the_order_of_the_numbers(one: int, other: int) -> None:
    assert (number_key(one) < number_key(other)) == (one < other)


def test_a_topic_is_named_by_its_chain() -> None:
    assert topic_name(Topic.ADS, CHAIN) == "/gigmesh/07070707/ads/1"

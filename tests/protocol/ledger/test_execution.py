"""Blocks: what a maker puts in, and what a follower lets pass."""

import msgspec
import pytest

from p2p.model.block import Block, Header
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import ChannelOpen, Transaction, Transfer
from p2p.primitives.codec import encode
from p2p.primitives.digests import EMPTY_ROOT, ZERO_DIGEST, digest
from p2p.primitives.units import Amount, Height, Millis
from p2p.protocol.ledger import build_block, execute_block
from tests.protocol.ledger.chain import Chain, account, genesis


def busy_chain() -> tuple[Chain, Block]:
    """A chain, and a block on it with two transactions and a settlement."""
    chain = Chain()
    key = chain.next_channel(3)
    opening = chain.transaction(3, ChannelOpen(account(4), Amount(5_000)))
    chain.commit_all(transactions=[opening])
    pay = Transfer(account(5), Amount(3))
    built = chain.build(
        transactions=[chain.transaction(4, pay), chain.transaction(4, pay, ahead=1)],
        receipts=[chain.receipt(key, 4_000)],
    )
    return chain, built.block


def test_the_first_block_follows_the_chain_id() -> None:
    chain = Chain()
    built = chain.commit()
    assert built.block.header == Header(
        chain_id=chain.rules.chain_id,
        height=Height(1),
        time_ms=Millis(2_000),
        proposer=account(0),
        previous=chain.rules.chain_id,
        transactions_root=EMPTY_ROOT,
        receipts_root=EMPTY_ROOT,
        evidence_root=EMPTY_ROOT,
        rewards_root=EMPTY_ROOT,
        state_root=chain.state.root,
        validators_root=chain.state.validators.root(),
        next_validators_root=chain.state.next_validators.root(),
        minted=Amount(0),
        burned=Amount(0),
        supply=Amount(6_001_000),
        parameters_digest=digest(encode(chain.rules.parameters)),
    )
    assert chain.state.header_digest == built.block.header.digest()
    assert chain.commit().block.header.previous == built.block.header.digest()


MUTATIONS: list[tuple[str, object, Rejected]] = [
    ("chain_id", ZERO_DIGEST, Rejected(Reason.WRONG_CHAIN)),
    ("height", 3, Rejected(Reason.WRONG_HEIGHT)),
    ("height", 1, Rejected(Reason.WRONG_HEIGHT)),
    ("previous", ZERO_DIGEST, Rejected(Reason.WRONG_PARENT)),
    ("evidence_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "evidence_root")),
    ("time_ms", 2_000, Rejected(Reason.BAD_TIME, "2000 does not follow 2000")),
    # A later time is another state: the root covers it.
    ("time_ms", 3_001, Rejected(Reason.BAD_ROOT, "state_root")),
    (
        "proposer",
        account(4),
        Rejected(Reason.WRONG_PROPOSER, "the proposer is no validator of the height"),
    ),
    ("transactions_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "transactions_root")),
    ("receipts_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "receipts_root")),
    ("rewards_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "rewards_root")),
    ("state_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "state_root")),
    ("validators_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "validators_root")),
    ("next_validators_root", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "next_validators_root")),
    ("minted", 1, Rejected(Reason.BAD_ROOT, "minted")),
    ("burned", 0, Rejected(Reason.BAD_ROOT, "burned")),
    ("supply", 1, Rejected(Reason.BAD_ROOT, "supply")),
    ("parameters_digest", ZERO_DIGEST, Rejected(Reason.BAD_ROOT, "parameters_digest")),
]


@pytest.mark.parametrize(("field", "value", "reason"), MUTATIONS)
def test_a_header_with_any_one_field_changed_is_rejected(
    field: str, value: object, reason: Rejected
) -> None:
    chain, block = busy_chain()
    assert getattr(block.header, field) != value
    header = Header(**{**msgspec.structs.asdict(block.header), field: value})
    changed = msgspec.structs.replace(block, header=header)
    assert execute_block(chain.state, chain.rules, changed) == reason


def test_every_header_field_is_mutated_in_that_test() -> None:
    tried = {field for field, _, _ in MUTATIONS}
    assert tried == {field.name for field in msgspec.structs.fields(Header)}


def test_another_validator_as_proposer_is_another_block_with_the_same_state() -> None:
    chain, block = busy_chain()
    header = msgspec.structs.replace(block.header, proposer=account(1))
    result = execute_block(chain.state, chain.rules, msgspec.structs.replace(block, header=header))
    assert not isinstance(result, Rejected)
    assert result.state.root == block.header.state_root
    assert result.state.header_digest == header.digest() != block.header.digest()


@pytest.mark.parametrize("part", ["transactions", "receipts"])
def test_a_body_that_is_not_the_headers_is_rejected(part: str) -> None:
    chain, block = busy_chain()
    without = msgspec.structs.replace(block, **{part: getattr(block, part)[:-1]})
    result = execute_block(chain.state, chain.rules, without)
    assert isinstance(result, Rejected)
    assert result.reason is Reason.BAD_ROOT


def test_a_block_is_made_of_valid_candidates_in_their_order() -> None:
    chain = Chain()
    pay = Transfer(account(5), Amount(1))
    good = [
        chain.transaction(3, pay),
        chain.transaction(4, pay),
        chain.transaction(3, pay, ahead=1),
    ]
    bad = [chain.transaction(3, pay, ahead=7), chain.transaction(99, pay), good[0]]
    built = chain.commit(transactions=[bad[0], good[0], bad[1], good[1], bad[2], good[2]])
    assert built.block.transactions == tuple(good)


def transfers(chain: Chain, sender: int, count: int) -> list[Transaction]:
    pay = Transfer(account(5), Amount(1))
    return [chain.transaction(sender, pay, ahead=ahead) for ahead in range(count)]


def test_a_block_stays_within_its_bytes_and_leaves_transactions_a_quarter() -> None:
    limit = 8 * 1024
    chain = Chain(genesis(overrides={"block_bytes_max": limit}))
    keys = []
    for _ in range(3):
        opened = []
        for ahead in range(12):
            keys.append(chain.next_channel(3, ahead=ahead))
            action = ChannelOpen(account(4), Amount(100))
            opened.append(chain.transaction(3, action, ahead=ahead))
        chain.commit_all(transactions=opened)
    receipts = [chain.receipt(key, 50) for key in keys]
    waiting = transfers(chain, 4, 60)
    full = chain.build(transactions=waiting, receipts=receipts)
    crowded = chain.build(receipts=receipts)
    receipt_bytes = len(encode(receipts[0]))
    assert len(full.block.receipts) == (limit - 1024) * 3 // 4 // receipt_bytes
    assert len(crowded.block.receipts) == (limit - 1024) // receipt_bytes
    assert 0 < len(full.block.transactions) < len(waiting)
    for built in (full, crowded):
        assert limit - 1024 - 500 < len(encode(built.block)) <= limit
        assert chain.execute(built) == built


def test_a_block_beyond_the_byte_limit_is_rejected() -> None:
    roomy = Chain()
    built = roomy.build(transactions=transfers(roomy, 4, 60))
    parameters = msgspec.structs.replace(roomy.rules.parameters, block_bytes_max=4_096)
    tight = msgspec.structs.replace(roomy.rules, parameters=parameters)
    assert execute_block(roomy.state, tight, built.block) == Rejected(Reason.TOO_LARGE)


@pytest.mark.parametrize(
    ("proposer", "time_ms", "fault"), [(4, 5_000, "no validator"), (0, 1_000, "does not follow")]
)
def test_proposing_what_nobody_would_accept_is_our_own_fault(
    proposer: int, time_ms: int, fault: str
) -> None:
    chain = Chain()
    with pytest.raises(ValueError, match=fault):
        build_block(
            chain.state,
            chain.rules,
            proposer=account(proposer),
            time_ms=Millis(time_ms),
            transactions=[],
            receipts=[],
        )


def test_following_a_block_leaves_the_state_before_it_untouched() -> None:
    chain, block = busy_chain()
    before = encode(chain.state)
    execute_block(chain.state, chain.rules, block)
    assert encode(chain.state) == before

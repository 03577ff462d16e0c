"""Receipts on the chain: what a settlement moves, and when it is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.model.ledger import Account, Channel, Executed, RewardRow
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import ChannelClose, ChannelOpen
from p2p.primitives.codec import encode
from p2p.primitives.digests import ZERO_DIGEST, merkle_root
from p2p.primitives.units import AccountId, Amount, ChannelId, Height
from p2p.protocol.ledger import execute_block
from tests.protocol.ledger.chain import Chain, account, genesis


def open_channels(chain: Chain, *pairs: tuple[int, int], deposit: int = 10_000) -> list[ChannelId]:
    """A channel from each consumer to its provider, in one block."""
    keys, orders, opened = [], [], dict.fromkeys((consumer for consumer, _ in pairs), 0)
    for consumer, provider in pairs:
        ahead = opened[consumer]
        keys.append(chain.next_channel(consumer, ahead=ahead))
        action = ChannelOpen(account(provider), Amount(deposit))
        orders.append(chain.transaction(consumer, action, ahead=ahead))
        opened[consumer] += 1
    chain.commit_all(transactions=orders)
    return keys


def test_a_settlement_pays_provider_and_validators_and_burns_the_rest() -> None:
    chain = Chain(genesis(balances=(0, 0, 0, 100_000, 0), overrides={"quality_initial": 6_000}))
    (key,) = open_channels(chain, (3, 4))
    built = chain.commit_all(receipts=[chain.receipt(key, 4_000, seq=9, bytes_get=77)])
    # fee = 200, of which 20 to the validators; cap = 160, bonus = 96; 84 burn.
    assert built.rows == (
        RewardRow(
            height=Height(2),
            channel=key,
            consumer=account(3),
            provider=account(4),
            epoch=Height(2),
            settled=Amount(0),
            quality=6_000,
            amount=Amount(4_000),
            fee=Amount(200),
            validators=Amount(20),
            bonus=Amount(96),
            burned=Amount(84),
            received=Amount(3_896),
        ),
    )
    assert chain.balance(4) == 3_896
    # Powers 600, 300 and 100 of 1000.
    assert [chain.balance(number) for number in range(3)] == [12, 6, 2]
    assert built.block.header.burned == 84
    assert chain.state.channels[key] == Channel(
        consumer=account(3),
        provider=account(4),
        deposit=Amount(10_000),
        settled=Amount(4_000),
        seq=9,
        bytes_get=77,
        last_settled_epoch=Height(2),
    )


def test_receipts_are_cumulative() -> None:
    chain = Chain()
    (key,) = open_channels(chain, (3, 4))
    chain.commit_all(receipts=[chain.receipt(key, 1_000)])
    built = chain.commit_all(receipts=[chain.receipt(key, 1_500)])
    assert [row.amount for row in built.rows] == [500]
    assert chain.state.channels[key].settled == 1_500


def test_the_validators_pot_that_does_not_divide_burns() -> None:
    chain = Chain(genesis(balances=(0, 0, 0, 100_000, 0), bonds=(1, 1, 1)))
    (key,) = open_channels(chain, (3, 4))
    built = chain.commit_all(receipts=[chain.receipt(key, 2_000)])
    # fee = 100, 10 to three equal validators: 3 each, 1 burns beside the row's 10.
    assert [row.burned for row in built.rows] == [10]
    assert [chain.balance(number) for number in range(3)] == [3, 3, 3]
    assert built.block.header.burned == 11


def test_a_provider_needs_no_account_before_its_first_payment() -> None:
    chain = Chain()
    (key,) = open_channels(chain, (3, 50))
    chain.commit_all(receipts=[chain.receipt(key, 1_000)])
    assert chain.state.accounts[account(50)] == Account(balance=Amount(990), quality=10_000)


def test_quality_is_the_providers_own() -> None:
    chain = Chain(genesis(overrides={"quality_initial": 0}))
    keys = open_channels(chain, (3, 4), (3, 5))
    owner = msgspec.structs.replace(chain.state.accounts[account(4)], quality=10_000)
    accounts = {**chain.state.accounts, account(4): owner}
    chain.state = msgspec.structs.replace(chain.state, accounts=accounts)
    built = chain.commit_all(receipts=[chain.receipt(key, 1_000) for key in keys])
    received = {row.provider: row.received for row in built.rows}
    assert received == {account(4): 990, account(5): 950}


@pytest.mark.parametrize(
    ("age", "reason"),
    [(0, None), (1, None), (2, None), (3, Reason.WRONG_EPOCH), (-1, Reason.WRONG_EPOCH)],
)
def test_a_receipt_settles_in_its_epoch_and_two_later(age: int, reason: Reason | None) -> None:
    chain = Chain()
    (key,) = open_channels(chain, (3, 4))
    chain.pass_epochs(4)
    receipt = chain.receipt(key, 100, epoch=chain.state.height + 1 - age)
    if reason is None:
        assert chain.commit_all(receipts=[receipt]).rows[0].epoch == receipt.epoch
    else:
        assert chain.refusal(receipts=[receipt]).reason is reason


def test_one_epoch_of_a_channel_settles_once() -> None:
    chain = Chain()
    (key,) = open_channels(chain, (3, 4))
    chain.commit_all(receipts=[chain.receipt(key, 100, epoch=2)])
    again = chain.receipt(key, 200, epoch=2)
    assert chain.refusal(receipts=[again]) == Rejected(Reason.WRONG_EPOCH, "epoch 2 in block 3")


def test_a_block_settles_one_receipt_of_a_channel() -> None:
    chain = Chain()
    (key,) = open_channels(chain, (3, 4))
    first, second = chain.receipt(key, 100, epoch=1), chain.receipt(key, 200, seq=2)
    refused = chain.refusal(receipts=[first, second])
    assert refused == Rejected(Reason.TOO_MANY, "two receipts of one channel")
    assert chain.build(receipts=[first, second]).block.receipts == (first,)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("chain_id", ZERO_DIGEST, Reason.WRONG_CHAIN),
        ("channel", ZERO_DIGEST, Reason.UNKNOWN_CHANNEL),
        ("provider", account(5), Reason.WRONG_PARTY),
        ("consumer", account(5), Reason.WRONG_PARTY),
        ("seq", 5, Reason.OUTDATED),
        ("seq", 4, Reason.OUTDATED),
        ("epoch", Height(0), Reason.WRONG_EPOCH),
        ("epoch", Height(4), Reason.WRONG_EPOCH),
        ("bytes_put", 0, Reason.COUNTER_FELL),
        ("bytes_get", 0, Reason.COUNTER_FELL),
        ("mib_epochs", 0, Reason.COUNTER_FELL),
        ("amount", Amount(99), Reason.COUNTER_FELL),
        ("amount", Amount(100), Reason.ZERO_AMOUNT),
        ("amount", Amount(10_001), Reason.OVERSPENT),
    ],
)
def test_a_receipt_is_refused_for_its_own_reason(field: str, value: object, reason: Reason) -> None:
    chain = Chain()
    (key,) = open_channels(chain, (3, 4))
    first = msgspec.structs.replace(
        chain.receipt(key, 100, seq=5), bytes_put=1, bytes_get=1, mib_epochs=1
    )
    chain.commit_all(receipts=[first])
    good = chain.receipt(key, 10_000)
    bad = _with(good, field, value)
    assert len(chain.build(receipts=[good]).block.receipts) == 1
    assert chain.refusal(receipts=[bad]).reason is reason
    assert chain.build(receipts=[bad]).state == chain.build().state


def _with(receipt: ServiceReceipt, field: str, value: object) -> ServiceReceipt:
    fields = {**msgspec.structs.asdict(receipt), field: value}
    return ServiceReceipt(**fields)


def test_what_both_signed_settles_as_long_as_a_closed_channel_keeps_its_deposit() -> None:
    """Also when it is dated after the closing: else who closes cancels what was paid before."""
    chain = Chain()
    (key,) = open_channels(chain, (3, 4))
    chain.commit_all(transactions=[chain.transaction(3, ChannelClose(key))])
    chain.commit_all(receipts=[chain.receipt(key, 100, epoch=3)])
    last = chain.receipt(key, 200, epoch=4)
    chain.commit_all(receipts=[last])
    too_late = msgspec.structs.replace(last, amount=Amount(300), epoch=Height(5), seq=9)
    assert chain.refusal(receipts=[too_late]) == Rejected(Reason.UNKNOWN_CHANNEL)


def test_receipts_settle_before_transactions_so_a_channel_pays_from_the_next_block_on() -> None:
    chain = Chain()
    key = chain.next_channel(3)
    opening = chain.transaction(3, ChannelOpen(account(4), Amount(500)))
    other = Chain()
    other.commit_all(transactions=[opening])
    receipt = msgspec.structs.replace(other.receipt(key, 100), epoch=Height(1))
    both = chain.refusal(transactions=[opening], receipts=[receipt])
    assert both == Rejected(Reason.UNKNOWN_CHANNEL)


@given(st.permutations(range(5)), st.lists(st.integers(1, 10_000), min_size=5, max_size=5))
def test_the_order_of_receipts_does_not_matter(order: list[int], amounts: list[int]) -> None:
    """I7: any order of one block's receipts gives one state and one list of rows."""
    chain = Chain()
    keys = open_channels(chain, (3, 4), (4, 3), (3, 5), (5, 3), (0, 1))
    receipts = [chain.receipt(key, amount) for key, amount in zip(keys, amounts, strict=True)]
    built = chain.build(receipts=receipts)
    shuffled = tuple(receipts[place] for place in order)
    assert chain.build(receipts=shuffled) == built
    root = merkle_root([encode(receipt) for receipt in shuffled])
    header = msgspec.structs.replace(built.block.header, receipts_root=root)
    block = msgspec.structs.replace(built.block, header=header, receipts=shuffled)
    result = execute_block(chain.state, chain.rules, block)
    assert isinstance(result, Executed)
    assert (result.state.root, result.rows) == (built.state.root, built.rows)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.sets(st.integers(0, 5), min_size=2))
def test_a_coalition_never_gains_from_receipts_between_its_own_members(
    amount: int, quality: int, members: set[int]
) -> None:
    """I5, on the whole ledger: deposits and bonds counted, even with all the voters inside."""
    chain = Chain(genesis(overrides={"quality_initial": quality}))
    consumer, provider = sorted(members)[:2]
    (key,) = open_channels(chain, (consumer, provider))
    wealth = _wealth(chain, members)
    built = chain.commit_all(receipts=[chain.receipt(key, amount)])
    (row,) = built.rows
    all_voters = {0, 1, 2} <= members
    assert _wealth(chain, members) <= wealth - row.burned
    assert all_voters or _wealth(chain, members) < wealth


def _wealth(chain: Chain, members: set[int]) -> int:
    keys: set[AccountId] = {account(number) for number in members}
    owned = sum(
        owner.balance + owner.bonded for key, owner in chain.state.accounts.items() if key in keys
    )
    return owned + sum(
        channel.held for channel in chain.state.channels.values() if channel.consumer in keys
    )


@given(st.integers(2, 10_000), st.data())
def test_splitting_an_account_never_gains(amount: int, data: st.DataObject) -> None:
    """I6, on the whole ledger: two keys that share the work get at most what one gets."""
    part = data.draw(st.integers(1, amount - 1))
    whole, halves = Chain(), Chain()
    (one,) = open_channels(whole, (3, 60))
    two = open_channels(halves, (3, 60), (3, 61))
    whole.commit_all(receipts=[whole.receipt(one, amount)])
    halves.commit_all(
        receipts=[halves.receipt(two[0], part), halves.receipt(two[1], amount - part)]
    )
    assert halves.balance(60) + halves.balance(61) <= whole.balance(60)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_what_i_earn_does_not_depend_on_anothers_quality(mine: int, theirs: int) -> None:
    """I8: there is nothing to gain from another's failed audits."""
    rows = []
    for rival in (0, theirs):
        chain = Chain()
        keys = open_channels(chain, (3, 4), (3, 5))
        accounts = dict(chain.state.accounts)
        for number, quality in ((4, mine), (5, rival)):
            owner = accounts[account(number)]
            accounts[account(number)] = msgspec.structs.replace(owner, quality=quality)
        chain.state = msgspec.structs.replace(chain.state, accounts=accounts)
        built = chain.commit_all(receipts=[chain.receipt(key, 9_999) for key in keys])
        rows.append(next(row for row in built.rows if row.provider == account(4)))
    assert rows[0] == rows[1]

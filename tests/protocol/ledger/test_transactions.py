"""Each transaction: what it does, and each reason for which it is refused."""

import msgspec
import pytest

from p2p.model.ledger import Account, Channel, State, Unbonding
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import (
    Action,
    Bond,
    ChannelClose,
    ChannelOpen,
    ChannelTopUp,
    Transfer,
    Unbond,
)
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.units import AMOUNT_MAX, Amount, ChannelId, Height
from tests.protocol.ledger.chain import Chain, account, genesis

STRANGER = 99
NOWHERE = ChannelId(ZERO_DIGEST)


def amount(number: int) -> Amount:
    return Amount(number)


def queue(chain: Chain) -> list[Unbonding]:
    return list(chain.state.unbonding)


def test_a_transfer_moves_balance_and_burns_its_fee() -> None:
    chain = Chain()
    built = chain.commit_all(
        transactions=[chain.transaction(4, Transfer(account(5), amount(70)), fee=12)]
    )
    assert chain.state.accounts[account(4)] == Account(
        balance=amount(1_000_000 - 70 - 12), nonce=1, bonded=amount(0), quality=10_000
    )
    assert chain.balance(5) == 1_000_070
    assert (built.block.header.burned, built.block.header.minted) == (12, 0)
    assert chain.state.supply == 6 * 1_000_000 + 1_000 - 12


def test_a_transfer_makes_its_receiver_an_account_of_initial_quality() -> None:
    chain = Chain(genesis(overrides={"quality_initial": 7_000}))
    chain.commit_all(transactions=[chain.transaction(4, Transfer(account(STRANGER), amount(1)))])
    assert chain.state.accounts[account(STRANGER)] == Account(balance=amount(1), quality=7_000)


def test_a_transfer_to_oneself_costs_the_fee_alone() -> None:
    chain = Chain()
    chain.commit_all(transactions=[chain.transaction(4, Transfer(account(4), amount(500)))])
    assert chain.balance(4) == 1_000_000 - 10


def test_a_sender_may_spend_to_the_last_micro_token_over_several_nonces() -> None:
    chain = Chain(genesis(balances=(100, 0, 0)))
    chain.commit_all(
        transactions=[
            chain.transaction(0, Transfer(account(1), amount(40))),
            chain.transaction(0, Transfer(account(1), amount(40)), ahead=1),
        ]
    )
    assert chain.state.accounts[account(0)] == Account(
        balance=amount(0), nonce=2, bonded=amount(600), quality=10_000
    )


def test_unbonded_stake_is_paid_out_after_exactly_unbonding_epochs() -> None:
    chain = Chain(genesis(overrides={"unbonding_epochs": 3, "evidence_age_epochs": 2}))
    chain.commit_all(
        transactions=[
            chain.transaction(0, Unbond(amount(200))),
            chain.transaction(0, Unbond(amount(50)), ahead=1),
            chain.transaction(1, Unbond(amount(7))),
        ]
    )
    queued = [
        Unbonding(Height(4), account(0), amount(250)),
        Unbonding(Height(4), account(1), amount(7)),
    ]
    queued.sort(key=lambda entry: entry.account)
    assert queue(chain) == queued
    assert chain.state.accounts[account(0)].bonded == 350
    chain.pass_epochs(2)
    assert (chain.balance(0), queue(chain)) == (1_000_000 - 20, queued)
    chain.pass_epochs(1)
    assert chain.state.height == 4
    assert queue(chain) == []
    assert (chain.balance(0), chain.balance(1)) == (1_000_000 - 20 + 250, 1_000_000 - 10 + 7)


def test_a_bond_becomes_stake() -> None:
    chain = Chain()
    chain.commit_all(transactions=[chain.transaction(4, Bond(amount(900)))])
    assert chain.state.accounts[account(4)].bonded == 900
    assert chain.balance(4) == 1_000_000 - 900 - 10


def test_a_channel_opens_and_is_topped_up() -> None:
    chain = Chain()
    key = chain.next_channel(3)
    chain.commit_all(
        transactions=[
            chain.transaction(3, ChannelOpen(account(4), amount(500))),
            chain.transaction(3, ChannelTopUp(key, amount(30)), ahead=1),
        ]
    )
    assert chain.state.channels == {key: Channel(account(3), account(4), amount(530))}
    assert chain.balance(3) == 1_000_000 - 530 - 20


def test_a_closed_channel_returns_what_is_left_after_late_receipts_had_time() -> None:
    chain = Chain(genesis(overrides={"receipt_late_epochs": 2, "quality_initial": 0}))
    key = chain.next_channel(3)
    chain.commit_all(transactions=[chain.transaction(3, ChannelOpen(account(4), amount(500)))])
    chain.commit_all(transactions=[chain.transaction(3, ChannelClose(key))])
    assert chain.state.channels[key].closing_height == 2
    chain.pass_epochs(1)
    assert chain.balance(3) == 1_000_000 - 500 - 20
    late = chain.receipt(key, 100, epoch=2)
    chain.commit_all(receipts=[late])
    assert chain.state.channels == {}
    assert chain.balance(3) == 1_000_000 - 100 - 20
    assert chain.balance(4) == 1_000_000 + 95


def test_a_paid_back_channel_leaves_nothing_to_a_later_one() -> None:
    chain = Chain(genesis(overrides={"receipt_late_epochs": 1}))
    first = chain.next_channel(3)
    chain.commit_all(
        transactions=[
            chain.transaction(3, ChannelOpen(account(4), amount(500))),
            chain.transaction(3, ChannelClose(first), ahead=1),
        ]
    )
    chain.pass_epochs(1)
    assert chain.state.channels == {}
    second = chain.next_channel(3)
    chain.commit_all(transactions=[chain.transaction(3, ChannelOpen(account(4), amount(1)))])
    assert first != second
    assert list(chain.state.channels) == [second]


@pytest.mark.parametrize(
    ("sender", "action", "fee", "reason"),
    [
        (4, Transfer(account(5), amount(1)), 9, Reason.FEE_TOO_LOW),
        (4, Transfer(account(5), amount(0)), 10, Reason.ZERO_AMOUNT),
        (4, Bond(amount(0)), 10, Reason.ZERO_AMOUNT),
        (4, Unbond(amount(0)), 10, Reason.ZERO_AMOUNT),
        (4, ChannelOpen(account(5), amount(0)), 10, Reason.ZERO_AMOUNT),
        (4, ChannelTopUp(NOWHERE, amount(0)), 10, Reason.ZERO_AMOUNT),
        (4, ChannelOpen(account(4), amount(5)), 10, Reason.WRONG_PARTY),
        (STRANGER, Transfer(account(5), amount(1)), 10, Reason.UNKNOWN_ACCOUNT),
        (4, Transfer(account(5), amount(999_991)), 10, Reason.INSUFFICIENT_FUNDS),
        (4, Bond(amount(1_000_000)), 10, Reason.INSUFFICIENT_FUNDS),
        (4, ChannelOpen(account(5), amount(999_991)), 10, Reason.INSUFFICIENT_FUNDS),
        (4, Unbond(amount(1)), 10, Reason.INSUFFICIENT_FUNDS),
        (0, Unbond(amount(601)), 10, Reason.INSUFFICIENT_FUNDS),
        (4, Transfer(account(5), amount(1)), 1_000_000, Reason.INSUFFICIENT_FUNDS),
        (4, ChannelTopUp(NOWHERE, amount(1)), 10, Reason.UNKNOWN_CHANNEL),
        (4, ChannelClose(NOWHERE), 10, Reason.UNKNOWN_CHANNEL),
    ],
)
def test_a_transaction_is_refused_for_its_own_reason(
    sender: int, action: Action, fee: int, reason: Reason
) -> None:
    chain = Chain()
    bad = chain.transaction(sender, action, fee=fee)
    assert chain.refusal(transactions=[bad]).reason is reason
    assert chain.build(transactions=[bad]).state == chain.build().state


@pytest.mark.parametrize("ahead", [-1, 1])
def test_a_nonce_that_is_not_the_next_is_refused(ahead: int) -> None:
    chain = Chain()
    chain.commit_all(transactions=[chain.transaction(4, Transfer(account(5), amount(1)))])
    wrong = chain.transaction(4, Transfer(account(5), amount(1)), ahead=ahead)
    assert chain.refusal(transactions=[wrong]) == Rejected(Reason.BAD_NONCE, f"{1 + ahead}, not 1")


def test_a_transaction_of_another_chain_is_refused() -> None:
    chain, other = Chain(), Chain(genesis(overrides={"epoch_ms": 1}))
    foreign = other.transaction(4, Transfer(account(5), amount(1)))
    assert chain.refusal(transactions=[foreign]) == Rejected(Reason.WRONG_CHAIN)


@pytest.mark.parametrize("kind", ["topup", "close"])
def test_only_its_consumer_touches_a_channel_and_only_while_it_is_open(kind: str) -> None:
    chain = Chain()
    key = chain.next_channel(3)
    chain.commit_all(transactions=[chain.transaction(3, ChannelOpen(account(4), amount(500)))])
    action = ChannelClose(key) if kind == "close" else ChannelTopUp(key, amount(1))
    theirs = chain.transaction(4, action)
    assert chain.refusal(transactions=[theirs]).reason is Reason.WRONG_PARTY
    chain.commit_all(transactions=[chain.transaction(3, ChannelClose(key))])
    late = chain.transaction(3, action)
    assert chain.refusal(transactions=[late]) == Rejected(Reason.CHANNEL_CLOSED, "in block 2")


def test_a_channel_never_counts_beyond_what_an_amount_holds() -> None:
    chain = Chain()
    key = chain.next_channel(3)
    chain.commit_all(transactions=[chain.transaction(3, ChannelOpen(account(4), amount(500)))])
    whale = chain.transaction(3, ChannelTopUp(key, amount(100)))
    # A channel that has turned over nearly all that an amount can say.
    worn = Channel(account(3), account(4), amount(AMOUNT_MAX - 99), amount(AMOUNT_MAX - 599))
    chain.state = _with_channel(chain, key, worn)
    assert chain.refusal(transactions=[whale]).reason is Reason.TOO_LARGE


def _with_channel(chain: Chain, key: ChannelId, channel: Channel) -> State:
    return msgspec.structs.replace(chain.state, channels={key: channel})

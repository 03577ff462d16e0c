"""The checkers: silent on a true block, and each loud on what it is for."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from p2p.model.block import Block
from p2p.model.ledger import Executed, RewardRow, State
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import ChannelClose, ChannelOpen, Transfer, Unbond
from p2p.primitives.digests import ZERO_DIGEST
from p2p.primitives.units import Amount, ChannelId, Height, Millis
from p2p.protocol.invariants import (
    AGREEMENT,
    CHAIN,
    CONSERVATION,
    MONOTONE,
    NO_GAIN,
    ONE_SETTLEMENT,
    PAIR_FORMULA,
    SCHEDULE,
    STAKE,
    VALIDITY,
    Violation,
    check_agreement,
    check_block,
    check_payments,
    check_rewards,
    check_validity,
)
from tests.protocol.ledger.chain import Chain, account, genesis
from tests.protocol.ledger.lies import double_vote


class Story:
    """A state, a true block on it that pays on a channel, and what follows."""

    def __init__(self) -> None:
        chain = Chain()
        self.channel = chain.next_channel(3)
        opening = chain.transaction(3, ChannelOpen(account(4), Amount(5_000)))
        chain.commit_all(transactions=[opening])
        chain.commit_all(receipts=[chain.receipt(self.channel, 100)])
        self.chain, self.before = chain, chain.state
        pay = chain.transaction(4, Transfer(account(5), Amount(3)))
        self.true = chain.build(transactions=[pay], receipts=[chain.receipt(self.channel, 4_000)])

    def after(self, **changes: object) -> State:
        """The next state, falsified; a header that agrees with it as far as it can."""
        fields = {name: getattr(self.true.state, name) for name in State.__struct_fields__}
        return State(**{**fields, **changes})

    def names(self, block: Block, after: State) -> list[str]:
        return [found.name for found in check_block(self.before, block, after)]

    def names_after(self, **changes: object) -> list[str]:
        """What is found when the state after is falsified and the header commits to it."""
        after = self.after(**changes)
        header = msgspec.structs.replace(self.true.block.header, state_root=after.root)
        block = msgspec.structs.replace(self.true.block, header=header)
        return self.names(block, after.named(header.digest()))


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_true_block_violates_nothing(story: Story) -> None:
    assert check_block(story.before, story.true.block, story.true.state) == ()
    assert check_rewards(story.true.block, story.true.rows) == ()
    assert check_agreement([story.true.block.header] * 2) == ()
    assert story.names_after() == []


def test_stake_that_turns_into_balance_at_once_is_found_unless_evidence_names_its_owner(
    story: Story,
) -> None:
    accounts = dict(story.true.state.accounts)
    owner = accounts[account(0)]
    moved = msgspec.structs.replace(
        owner, bonded=Amount(owner.bonded - 1), balance=Amount(owner.balance + 1)
    )
    moved_accounts = {**accounts, account(0): moved}
    assert story.names_after(accounts=moved_accounts) == [STAKE]
    named = msgspec.structs.replace(story.true.block, evidence=(double_vote(story.chain, 0),))
    after = story.after(accounts=moved_accounts)
    header = msgspec.structs.replace(named.header, state_root=after.root)
    block = msgspec.structs.replace(named, header=header)
    assert story.names(block, after.named(header.digest())) == []


def test_stake_may_be_queued_and_paid_out_when_it_is_due() -> None:
    chain = Chain(genesis(overrides={"unbonding_epochs": 2, "evidence_age_epochs": 1}))
    chain.commit_all(transactions=[chain.transaction(0, Unbond(Amount(7)))])
    chain.commit()
    chain.commit()
    assert chain.state.unbonding == ()


def test_a_micro_token_from_nowhere_is_found(story: Story) -> None:
    accounts = dict(story.true.state.accounts)
    rich = msgspec.structs.replace(
        accounts[account(5)], balance=Amount(accounts[account(5)].balance + 1)
    )
    found = story.names_after(accounts={**accounts, account(5): rich})
    assert found == [CONSERVATION]


def test_a_debt_is_found_even_when_sums_agree(story: Story) -> None:
    accounts = dict(story.true.state.accounts)
    owner = accounts[account(5)]
    debt = msgspec.structs.replace(
        owner, balance=Amount(owner.balance + owner.bonded + 9), bonded=Amount(-9)
    )
    assert story.names_after(accounts={**accounts, account(5): debt}) == [CONSERVATION]


def test_supply_that_changes_by_more_than_burning_is_found(story: Story) -> None:
    found = story.names_after(supply=Amount(story.true.state.supply - 1))
    assert found == [CONSERVATION, CONSERVATION]


def test_minting_beyond_the_schedule_is_found(story: Story) -> None:
    header = msgspec.structs.replace(story.true.block.header, minted=Amount(5))
    block = msgspec.structs.replace(story.true.block, header=header)
    after = story.true.state.named(header.digest())
    assert story.names(block, after) == [CONSERVATION, SCHEDULE]
    allowed = check_block(story.before, block, after, minted_max=5)
    assert [found.name for found in allowed] == [CONSERVATION]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", Height(9)),
        ("previous", ZERO_DIGEST),
        ("time_ms", Millis(1)),
        ("state_root", ZERO_DIGEST),
    ],
)
def test_a_header_that_does_not_follow_is_found(story: Story, field: str, value: object) -> None:
    header = msgspec.structs.replace(story.true.block.header, **{field: value})
    block = msgspec.structs.replace(story.true.block, header=header)
    assert story.names(block, story.true.state.named(header.digest())) == [CHAIN]


def test_a_state_of_another_header_is_found(story: Story) -> None:
    found = check_block(
        story.before, story.true.block, story.true.state.named(story.before.header_digest)
    )
    assert found == (Violation(CHAIN, "height 3 after 2"),)


def falsified(story: Story, **changes: object) -> list[str]:
    """What is found when the paying channel's entry is falsified."""
    channels = dict(story.true.state.channels)
    wrong = msgspec.structs.replace(channels[story.channel], **changes)
    return story.names_after(channels={**channels, story.channel: wrong})


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 0},
        {"bytes_put": -1},
        {"bytes_get": 0},
        {"mib_epochs": -1},
        {"consumer": account(5)},
        {"provider": account(5)},
    ],
)
def test_a_channel_that_falls_or_changes_hands_is_found(
    story: Story, changes: dict[str, object]
) -> None:
    assert falsified(story, **changes) == [MONOTONE]


def test_an_amount_epoch_or_deposit_that_falls_is_found(story: Story) -> None:
    assert falsified(story, settled=Amount(50)) == [CONSERVATION, ONE_SETTLEMENT, MONOTONE]
    assert falsified(story, last_settled_epoch=Height(1)) == [ONE_SETTLEMENT, MONOTONE]
    assert falsified(story, deposit=Amount(4_999)) == [CONSERVATION, MONOTONE]


def test_settling_beyond_the_deposit_is_found(story: Story) -> None:
    beyond = falsified(story, settled=Amount(5_001))
    assert beyond == [CONSERVATION, ONE_SETTLEMENT, ONE_SETTLEMENT]


def test_a_channel_that_pays_without_a_receipt_is_found_even_when_sums_agree(story: Story) -> None:
    channel = story.true.state.channels[story.channel]
    owner = story.true.state.accounts[channel.provider]
    paid = msgspec.structs.replace(channel, settled=Amount(channel.settled + 9))
    richer = msgspec.structs.replace(owner, balance=Amount(owner.balance + 9))
    found = story.names_after(
        channels={**story.true.state.channels, story.channel: paid},
        accounts={**story.true.state.accounts, channel.provider: richer},
    )
    assert found == [ONE_SETTLEMENT]


def test_a_new_channel_that_has_settled_is_found(story: Story) -> None:
    channel = story.true.state.channels[story.channel]
    other = ChannelId(ZERO_DIGEST)
    found = story.names_after(channels={other: channel, **story.true.state.channels})
    assert found == [CONSERVATION, ONE_SETTLEMENT]


def test_a_closed_channel_that_opens_again_is_found(story: Story) -> None:
    chain = story.chain
    chain.commit_all(transactions=[chain.transaction(3, ChannelClose(story.channel))])
    built = chain.build()
    channels = dict(built.state.channels)
    open_again = msgspec.structs.replace(channels[story.channel], closing_height=Height(0))
    after = msgspec.structs.replace(built.state, channels={**channels, story.channel: open_again})
    found = check_block(chain.state, built.block, after)
    assert MONOTONE in [violation.name for violation in found]


def test_an_open_channel_that_vanishes_is_found(story: Story) -> None:
    found = story.names_after(channels={})
    assert found == [CONSERVATION, MONOTONE]


def test_a_lost_account_or_nonce_is_found(story: Story) -> None:
    accounts = dict(story.true.state.accounts)
    reset = msgspec.structs.replace(accounts[account(3)], nonce=0)
    assert story.names_after(accounts={**accounts, account(3): reset}) == [MONOTONE]
    del accounts[account(3)]
    assert story.names_after(accounts=accounts) == [CONSERVATION, MONOTONE]


def with_receipts(story: Story, edit: Callable[[Block], Block]) -> list[str]:
    return story.names(edit(story.true.block), story.true.state)


def test_an_epoch_settled_twice_is_found(story: Story) -> None:
    (receipt,) = story.true.block.receipts

    def twice(block: Block) -> Block:
        return msgspec.structs.replace(block, receipts=(receipt, receipt))

    def again(block: Block) -> Block:
        old = msgspec.structs.replace(receipt, epoch=Height(2))
        return msgspec.structs.replace(block, receipts=(old,))

    def unknown(block: Block) -> Block:
        lost = msgspec.structs.replace(receipt, channel=ChannelId(ZERO_DIGEST))
        return msgspec.structs.replace(block, receipts=(lost,))

    for edit in (twice, again, unknown):
        assert set(with_receipts(story, edit)) == {ONE_SETTLEMENT}


def test_a_row_that_pays_out_more_than_came_in_is_found(story: Story) -> None:
    (row,) = story.true.rows
    for change in (
        {"received": Amount(row.received + 1)},
        {"validators": Amount(row.validators + 1)},
        {"received": Amount(row.amount), "burned": Amount(-row.validators)},
    ):
        wrong = msgspec.structs.replace(row, **change)
        assert [found.name for found in check_rewards(story.true.block, [wrong])] == [NO_GAIN]


def test_rows_that_burn_more_than_the_header_are_found(story: Story) -> None:
    header = msgspec.structs.replace(story.true.block.header, burned=Amount(0))
    block = msgspec.structs.replace(story.true.block, header=header)
    assert [found.name for found in check_rewards(block, story.true.rows)] == [CONSERVATION]


def payments(story: Story, rows: Sequence[RewardRow]) -> list[str]:
    found = check_payments(story.before, story.true.block, rows, story.chain.rules.parameters)
    return [violation.name for violation in found]


@pytest.mark.parametrize(
    "change",
    [
        # I6: a crumb more for a small payment would make many small ones of a large one.
        {"received": 1},
        {"received": 1, "burned": -1},
        {"validators": 1, "burned": -1},
        # I7: what a row takes depends on what another one of the block took.
        {"amount": 1, "received": 1},
    ],
)
def test_a_row_that_is_not_the_pair_formula_is_found(story: Story, change: dict[str, int]) -> None:
    (row,) = story.true.rows
    assert payments(story, [row]) == []
    parts = {name: Amount(getattr(row, name) + by) for name, by in change.items()}
    assert payments(story, [msgspec.structs.replace(row, **parts)]) == [PAIR_FORMULA]


def test_a_bonus_of_anothers_quality_is_found(story: Story) -> None:
    """I8: the rows are those of a ledger in which the provider's quality is another's."""
    (row,) = story.true.rows
    accounts = dict(story.before.accounts)
    worse = msgspec.structs.replace(accounts[row.provider], quality=1_000)
    before = msgspec.structs.replace(story.before, accounts={**accounts, row.provider: worse})
    parameters = story.chain.rules.parameters
    found = check_payments(before, story.true.block, story.true.rows, parameters)
    assert [violation.name for violation in found] == [PAIR_FORMULA]


def test_rows_that_are_missing_doubled_or_out_of_order_are_found() -> None:
    chain = Chain()
    keys = [chain.next_channel(3)]
    chain.commit_all(transactions=[chain.transaction(3, ChannelOpen(account(4), Amount(5_000)))])
    keys.append(chain.next_channel(4))
    chain.commit_all(transactions=[chain.transaction(4, ChannelOpen(account(3), Amount(5_000)))])
    before, parameters = chain.state, chain.rules.parameters
    true = chain.build(receipts=[chain.receipt(key, 900) for key in keys])
    first, second = true.rows
    assert check_payments(before, true.block, true.rows, parameters) == ()
    for rows in ((first,), (second, first), (first, first), (first, second, second)):
        (found, *_) = check_payments(before, true.block, rows, parameters)
        assert found == Violation(PAIR_FORMULA, f"{len(rows)} rows of 2 receipts")


def test_two_headers_of_one_height_are_found(story: Story) -> None:
    header = story.true.block.header
    other = msgspec.structs.replace(header, time_ms=Millis(header.time_ms + 1))
    below = msgspec.structs.replace(header, height=Height(2))
    detail = f"height 3: {header.digest().hex()} and {other.digest().hex()}"
    assert check_agreement([header, below, other, header]) == (Violation(AGREEMENT, detail),)


def test_a_block_that_does_not_execute_again_is_found(story: Story) -> None:
    def refuse(state: State, block: Block) -> Rejected:
        return Rejected(Reason.BAD_ROOT, "supply")

    def other(state: State, block: Block) -> Executed:
        return msgspec.structs.replace(story.true, state=state)

    states = (story.before, story.true.block, story.true.state)
    assert check_validity(refuse, *states) == (
        Violation(VALIDITY, "height 3: a root or total of its header is wrong supply"),
    )
    assert check_validity(other, *states) == (Violation(VALIDITY, "height 3: another state"),)

"""Receipts between two parties: what is stored, and what is published when."""

import msgspec
import pytest

from p2p.model.admission import receipt_refusal
from p2p.model.blob import obligations_root
from p2p.model.commands import (
    AcceptReceipt,
    DropObligation,
    RecordObligation,
    Reply,
    Work,
)
from p2p.model.effects import Persist
from p2p.model.persistence import Delete, Put, Table
from p2p.model.receipt import EPOCHS_AHEAD_MAX, ServiceReceipt
from p2p.model.rejection import Reason
from p2p.primitives.codec import encode
from p2p.primitives.digests import EMPTY_ROOT
from p2p.primitives.signing import Verified
from p2p.primitives.units import MIB, Amount, ChannelId, Height
from p2p.protocol.receipts import ChannelRecord, PublishReceipt
from tests.protocol.parties import (
    AD,
    CHANNEL,
    CONSUMER,
    STRANGER,
    Pair,
    obligation,
)
from tests.protocol.receipts_bench import (
    NOTHING,
    WINDOW,
    reason,
    signed,
)

# ---- what is stored ------------------------------------------------------------------------------


def test_a_party_that_lost_its_disk_takes_the_newest_receipt_from_the_other(pair: Pair) -> None:
    pair.pay(WINDOW)
    receipt = pair.pay(WINDOW)
    for party in (pair.consumer, pair.provider):
        party.disk = {Table.RECEIPTS: {}, Table.OBLIGATIONS: {}}
        party.restart()
        assert party.store(receipt) == receipt
    assert pair.pay(WINDOW).seq == 3


def test_storing_again_is_harmless_and_older_is_refused(pair: Pair) -> None:
    first = pair.pay(WINDOW)
    second = pair.pay(WINDOW)
    assert pair.consumer.store(second) == second
    assert reason(pair.consumer.store(first)) is Reason.OUTDATED
    fallen = msgspec.structs.replace(second, seq=3, amount=Amount(1))
    assert reason(pair.consumer.store(fallen)) is Reason.COUNTER_FELL
    unknown = msgspec.structs.replace(second, channel=ChannelId(bytes(32)))
    assert reason(pair.consumer.store(unknown)) is Reason.UNKNOWN_CHANNEL


def test_a_receipt_that_is_not_our_promise_is_not_stored_in_its_place(pair: Pair) -> None:
    promise = signed(pair.consumer.sign(WINDOW))
    other = msgspec.structs.replace(promise, bytes_get=5)
    assert reason(pair.consumer.store(other)) is Reason.EQUIVOCATION


def test_obligations_are_recorded_found_and_dropped(pair: Pair) -> None:
    held, machine = obligation(b"blob"), pair.provider.machine
    key = CHANNEL + held.blob
    effects = pair.provider.step(RecordObligation(4, held))
    assert effects == [Persist((Put(Table.OBLIGATIONS, key, encode(held)),)), Reply(4, held)]
    assert machine.obligations.of_channel(CHANNEL) == (held,)
    assert machine.obligations.of_blob(held.blob) == (held,)
    assert machine.obligations.of_channel(ChannelId(bytes(32))) == ()
    drop = DropObligation(5, held.blob, CHANNEL)
    effects = pair.provider.step(drop)
    assert effects == [Persist((Delete(Table.OBLIGATIONS, key),)), Reply(5, True)]
    assert pair.provider.step(drop) == [Reply(5, False)]
    assert machine.root(CHANNEL, 10) == EMPTY_ROOT
    foreign = msgspec.structs.replace(held, provider=STRANGER.account, consumer=STRANGER.account)
    assert reason(pair.provider.ask(RecordObligation(6, foreign))) is Reason.WRONG_PARTY


def test_one_of_two_blobs_can_be_dropped(pair: Pair) -> None:
    for name in (b"one", b"two"):
        pair.provider.ask(RecordObligation(1, obligation(name)))
    pair.provider.ask(DropObligation(1, obligation(b"one").blob, CHANNEL))
    assert list(pair.provider.machine.obligations) == [obligation(b"two")]
    assert pair.provider.machine.root(CHANNEL, 10) == obligations_root([obligation(b"two")])
    gone = pair.provider.ask(DropObligation(1, obligation(b"one").blob, CHANNEL))
    assert gone is False


# ---- publishing ----------------------------------------------------------------------------------


def test_a_receipt_is_published_when_its_epoch_closes_and_until_it_settles(pair: Pair) -> None:
    first = pair.pay(WINDOW)
    receipt = pair.pay(WINDOW)
    assert first.epoch == receipt.epoch == 10
    assert pair.commit() == [PublishReceipt(receipt)]  # block 10
    assert pair.commit() == [PublishReceipt(receipt)]  # block 11; 12 is the last to settle it
    assert pair.commit() == []  # too late
    assert pair.provider.machine.stale() == (receipt,)


def test_a_settled_receipt_is_published_no_more(pair: Pair) -> None:
    receipt = pair.pay(WINDOW)
    assert pair.commit() == [PublishReceipt(receipt)]
    assert pair.commit(settled=receipt.amount) == []
    assert pair.provider.machine.stale() == ()


def test_no_second_receipt_of_a_published_epoch_is_accepted(pair: Pair) -> None:
    pair.pay(WINDOW)
    pair.commit()
    promise = signed(pair.consumer.sign(WINDOW, epoch=10))
    assert reason(pair.provider.accept(promise, WINDOW)) is Reason.WRONG_EPOCH
    assert pair.provider.machine.epoch_wanted(CHANNEL) == 11
    anew = signed(pair.consumer.sign(WINDOW, epoch=11))
    signed(pair.provider.accept(anew, WINDOW))


def test_a_late_first_receipt_of_the_last_epoch_is_published_at_once(pair: Pair) -> None:
    promise = signed(pair.consumer.sign(WINDOW))
    pair.commit()
    effects = pair.provider.step(AcceptReceipt(1, Verified(promise), AD, WINDOW))
    receipt = pair.provider.machine.newest(CHANNEL)
    assert receipt is not None
    assert receipt.epoch == 10
    assert effects[1:] == [PublishReceipt(receipt), Reply(1, receipt)]
    assert isinstance(effects[0], Persist)
    assert pair.provider.machine.epoch_wanted(CHANNEL) == 11
    signed(pair.consumer.store(receipt))
    again = signed(pair.consumer.sign(WINDOW, epoch=10))
    assert reason(pair.provider.accept(again, WINDOW)) is Reason.WRONG_EPOCH
    assert pair.commit() == [PublishReceipt(receipt)]  # block 11 did not settle it


def test_where_one_block_may_be_late_a_receipt_of_the_last_epoch_settles_in_the_next() -> None:
    pair = Pair(late_epochs=1)
    promise = signed(pair.consumer.sign(WINDOW))
    pair.commit()
    receipt = signed(pair.provider.accept(promise, WINDOW))
    assert pair.provider.published == [receipt]
    assert receipt_refusal(receipt, pair.channel, pair.rules, height=pair.height) is None
    too_late = receipt_refusal(receipt, pair.channel, pair.rules, height=pair.height + 1)
    assert too_late is not None
    assert too_late.reason is Reason.WRONG_EPOCH
    assert pair.commit() == []


def test_a_receipt_of_an_open_epoch_is_not_published_before_it_closes(pair: Pair) -> None:
    receipt = pair.pay(WINDOW)
    ahead = signed(pair.consumer.sign(WINDOW, epoch=11))
    signed(pair.provider.accept(ahead, WINDOW))
    assert receipt.epoch == 10
    assert pair.provider.published == []


def test_a_settled_epoch_is_not_accepted_even_by_a_provider_without_memory(pair: Pair) -> None:
    pair.pay(WINDOW)
    pair.commit(last_settled_epoch=Height(10))
    pair.provider.disk = {Table.RECEIPTS: {}, Table.OBLIGATIONS: {}}
    pair.provider.restart()
    pair.consumer.disk = {Table.RECEIPTS: {}, Table.OBLIGATIONS: {}}
    pair.consumer.restart()
    promise = signed(pair.consumer.sign(WINDOW, epoch=10))
    assert reason(pair.provider.accept(promise, WINDOW)) is Reason.WRONG_EPOCH


def test_a_provider_ahead_or_behind_by_one_is_no_trouble(pair: Pair) -> None:
    ahead = signed(pair.consumer.sign(WINDOW, epoch=11))
    signed(pair.provider.accept(ahead, WINDOW))
    assert pair.provider.machine.epoch_wanted(CHANNEL) == 11
    assert pair.commit() == []  # block 10: epoch 11 is open
    receipt = pair.provider.machine.newest(CHANNEL)
    assert receipt is not None
    assert pair.commit() == [PublishReceipt(receipt)]


def test_a_restarted_provider_takes_no_second_receipt_of_a_closed_epoch(pair: Pair) -> None:
    pair.pay(WINDOW)
    pair.commit()
    pair.provider.restart()
    promise = signed(pair.consumer.sign(WINDOW, epoch=10))
    assert reason(pair.provider.accept(promise, WINDOW)) is Reason.WRONG_EPOCH


def test_what_came_too_late_is_dated_anew_without_work(pair: Pair) -> None:
    late = pair.pay(WINDOW)
    for _ in range(3):
        pair.commit()
    renewed = pair.pay(NOTHING)
    assert (renewed.seq, renewed.epoch, renewed.amount) == (2, 13, late.amount)
    assert pair.provider.machine.stale() == ()
    assert pair.commit() == [PublishReceipt(renewed)]
    assert reason(pair.consumer.sign(NOTHING, epoch=13)) is Reason.ZERO_AMOUNT


def arrives_in_time(pair: Pair, receipt: ServiceReceipt) -> bool:
    """Whether a block can settle it that is made after the next one."""
    later = receipt_refusal(receipt, pair.channel, pair.rules, height=pair.height + 1)
    return later is None


def test_what_comes_a_block_too_late_each_time_settles_in_the_end() -> None:
    """A block passes while a renewal is signed, another while it is published."""
    pair = Pair(late_epochs=1)
    pair.pay(WINDOW)
    wanted: list[int] = []
    for _ in range(2):
        while not pair.provider.machine.stale():
            pair.commit()
        assert not any(arrives_in_time(pair, receipt) for receipt in pair.provider.published)
        wanted.append(pair.provider.machine.epoch_wanted(CHANNEL) - pair.height)
        epoch = pair.provider.machine.epoch_wanted(CHANNEL)
        promise = signed(pair.consumer.sign(NOTHING, epoch=epoch))
        pair.commit()
        renewed = signed(pair.provider.accept(promise, NOTHING))
        assert pair.provider.published[-1] == renewed
    assert wanted == [0, 1]
    renewed = pair.provider.published[-1]
    assert arrives_in_time(pair, renewed)
    pair.commit()
    pair.commit(settled=renewed.amount, seq=renewed.seq, last_settled_epoch=renewed.epoch)
    assert pair.provider.machine.epoch_wanted(CHANNEL) == pair.height
    pair.pay(WINDOW)
    assert pair.provider.published[-1] == renewed, "the next one waits for its epoch to close"


def test_a_busy_channel_whose_receipts_all_come_too_late_publishes_them_at_once() -> None:
    pair = Pair(late_epochs=1)
    for _ in range(5):
        epoch = pair.provider.machine.epoch_wanted(CHANNEL)
        promise = signed(pair.consumer.sign(WINDOW, epoch=epoch))
        receipt = signed(pair.provider.accept(promise, WINDOW))
        signed(pair.consumer.store(receipt))
        if pair.provider.published[-1:] == [receipt]:
            break
        pair.commit()
    receipt = pair.provider.published[-1]
    assert receipt == pair.provider.machine.newest(CHANNEL)
    assert receipt.epoch > pair.height
    assert arrives_in_time(pair, receipt)
    assert receipt.amount == 100 * receipt.seq, "all windows ride on it"


def test_dates_run_ahead_by_a_bounded_number_of_epochs() -> None:
    pair = Pair(late_epochs=1)
    for _ in range(20):
        wanted = pair.provider.machine.epoch_wanted(CHANNEL)
        assert wanted <= pair.height + EPOCHS_AHEAD_MAX + 1
        promise = signed(pair.consumer.sign(WINDOW, epoch=wanted))
        signed(pair.consumer.store(signed(pair.provider.accept(promise, WINDOW))))
        pair.commit()
    epochs = [epoch for epoch, _ in {(one.epoch, one.seq): None for one in pair.provider.published}]
    assert len(epochs) > 10
    assert epochs == sorted(set(epochs)), "one receipt an epoch"


@pytest.mark.parametrize("late_epochs", [1, 2])
def test_who_closes_does_not_cancel_what_was_dated_ahead(late_epochs: int) -> None:
    """The consumer pays for the whole epoch again with a date that its closing comes before."""
    pair = Pair(late_epochs=late_epochs)
    pair.pay(WINDOW)
    ahead = signed(pair.consumer.sign(WINDOW, epoch=11))
    receipt = signed(pair.provider.accept(ahead, WINDOW))
    assert pair.commit(closing_height=Height(10)) == [PublishReceipt(receipt)]
    assert receipt_refusal(receipt, pair.channel, pair.rules, height=pair.height) is None
    assert receipt.amount == 200


def test_a_receipt_that_comes_after_the_closing_is_taken_while_a_block_can_settle_it() -> None:
    pair = Pair()
    first = signed(pair.consumer.sign(WINDOW, epoch=11))
    second = signed(pair.consumer.sign(Work(bytes_put=2 * MIB), epoch=13))
    pair.commit(closing_height=Height(10))
    receipt = signed(pair.provider.accept(first, WINDOW))
    assert pair.provider.published == [receipt]
    pair.commit()
    pair.commit()
    assert pair.provider.machine.epoch == 13
    assert reason(pair.provider.accept(second, WINDOW)) is Reason.CHANNEL_CLOSED


def test_only_a_provider_publishes_and_only_its_own_are_stale(pair: Pair) -> None:
    pair.pay(WINDOW)
    for _ in range(4):
        pair.commit()
    assert pair.consumer.published == []
    assert pair.consumer.machine.stale() == ()


def test_a_channel_that_left_the_ledger_is_forgotten(pair: Pair) -> None:
    receipt = pair.pay(WINDOW)
    pair.commit()
    effects = pair.provider.commit(pair.height, {})
    assert effects == [Persist((Delete(Table.RECEIPTS, CHANNEL),))]
    assert list(pair.provider.machine.records()) == []
    assert reason(pair.provider.store(receipt)) is Reason.UNKNOWN_CHANNEL
    assert pair.provider.machine.stale() == ()


def test_records_are_listed_with_their_channel(pair: Pair) -> None:
    receipt = pair.pay(WINDOW)
    assert list(pair.consumer.machine.records()) == [(CHANNEL, ChannelRecord(receipt))]
    assert CONSUMER.account == receipt.consumer

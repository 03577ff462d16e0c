"""Receipts between two parties: what each signs, refuses, remembers and publishes."""

import msgspec
import pytest

from p2p.model.ad import Price
from p2p.model.admission import receipt_refusal
from p2p.model.blob import obligations_root
from p2p.model.commands import (
    AcceptReceipt,
    DropObligation,
    RecordObligation,
    Reply,
    SignReceipt,
    Work,
)
from p2p.model.effects import Persist
from p2p.model.persistence import Delete, Put, Table
from p2p.model.receipt import EPOCHS_AHEAD_MAX, ServiceReceipt, sign_as_provider
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.codec import encode
from p2p.primitives.digests import EMPTY_ROOT
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import MIB, Amount, ChannelId, Height
from p2p.protocol.receipts import ChannelRecord, PublishReceipt
from p2p.protocol.receipts import channels as module
from p2p.protocol.receipts.rules import AD_GRACE_MS, COUNTER_MAX
from tests.protocol.parties import (
    AD,
    CHANNEL,
    CONSUMER,
    NOW_MS,
    PROVIDER,
    STRANGER,
    Pair,
    ad_of,
    obligation,
)

WINDOW = Work(bytes_put=MIB)
NOTHING = Work()


@pytest.fixture
def pair() -> Pair:
    return Pair()


def reason(result: object) -> Reason:
    assert isinstance(result, Rejected), result
    return result.reason


def signed(result: object) -> ServiceReceipt:
    assert isinstance(result, ServiceReceipt), result
    return result


# ---- the plain course ----------------------------------------------------------------------------


def test_a_window_is_paid_in_three_steps_each_durable_before_it_is_told(pair: Pair) -> None:
    ad = Verified(AD)
    effects = pair.consumer.step(SignReceipt(7, CHANNEL, ad, WINDOW))
    promise = pair.consumer.machine.record(CHANNEL).promise
    assert promise is not None
    record = encode(ChannelRecord(promise=promise))
    assert effects == [Persist((Put(Table.RECEIPTS, CHANNEL, record),)), Reply(7, promise)]
    assert (promise.seq, promise.amount, promise.epoch) == (1, 100, 10)
    assert promise.obligations_root == EMPTY_ROOT

    accept = AcceptReceipt(8, Verified(promise), AD, WINDOW)
    effects = pair.provider.step(accept)
    receipt = sign_as_provider(promise, Ed25519Signer(PROVIDER))
    record = encode(ChannelRecord(receipt))
    assert effects == [Persist((Put(Table.RECEIPTS, CHANNEL, record),)), Reply(8, receipt)]

    assert pair.consumer.store(receipt) == receipt
    assert pair.consumer.machine.record(CHANNEL) == ChannelRecord(receipt)
    assert pair.consumer.machine.promised(CHANNEL) == 100


def test_counters_are_cumulative_and_each_window_is_rounded_up_alone(pair: Pair) -> None:
    pair.pay(Work(bytes_put=1))
    receipt = pair.pay(Work(bytes_get=1, mib_epochs=5))
    assert (receipt.bytes_put, receipt.bytes_get, receipt.mib_epochs) == (1, 1, 5)
    assert (receipt.seq, receipt.amount) == (2, 1 + 1 + 5)


def test_a_blob_enters_both_books_with_the_receipt_that_pays_for_it(pair: Pair) -> None:
    held = obligation(b"blob")
    receipt = pair.pay(WINDOW, adds=held)
    assert receipt.obligations_root == obligations_root([held])
    for party in (pair.consumer, pair.provider):
        assert list(party.machine.obligations) == [held]
        party.restart()
        assert list(party.machine.obligations) == [held]
        assert party.machine.root(CHANNEL, 10) == obligations_root([held])


def test_a_blob_is_owed_below_its_last_epoch_only(pair: Pair) -> None:
    pair.pay(WINDOW, adds=obligation(b"long", until_epoch=100))
    pair.pay(WINDOW, adds=obligation(b"short", until_epoch=11))
    machine = pair.provider.machine
    both = [obligation(b"long", until_epoch=100), obligation(b"short", until_epoch=11)]
    assert machine.root(CHANNEL, 10) == obligations_root(both)
    assert machine.root(CHANNEL, 11) == obligations_root(both[:1])


def test_expired_blobs_leave_the_disk_once_no_receipt_can_name_them(pair: Pair) -> None:
    pair.pay(WINDOW, adds=obligation(b"short", until_epoch=11))
    for _ in range(4):  # blocks 10 to 13; the epoch is then 14 = 11 + 2 + 1
        assert len(pair.provider.machine.obligations) == 1
        pair.commit(settled=Amount(100))
    assert len(pair.provider.machine.obligations) == 0
    assert pair.provider.disk[Table.OBLIGATIONS] == {}
    assert pair.consumer.disk[Table.OBLIGATIONS] == {}


# ---- what a consumer does not sign ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"channel": ChannelId(bytes(32))}, Reason.UNKNOWN_CHANNEL),
        ({"ad": Verified(ad_of(STRANGER))}, Reason.WRONG_PARTY),
        ({"ad": Verified(ad_of(issued_ms=NOW_MS - AD_GRACE_MS - 600_001))}, Reason.EXPIRED),
        ({"work": NOTHING}, Reason.ZERO_AMOUNT),
        ({"work": Work(bytes_put=-1)}, Reason.COUNTER_FELL),
        ({"work": Work(bytes_put=MIB * 10_001)}, Reason.OVERSPENT),
        ({"epoch": Height(16)}, Reason.WRONG_EPOCH),
        ({"epoch": Height(4)}, Reason.WRONG_EPOCH),
        (
            {"adds": msgspec.structs.replace(obligation(b"x"), consumer=STRANGER.account)},
            Reason.WRONG_PARTY,
        ),
        (
            {"ad": Verified(ad_of(price=Price(Amount(0)))), "work": Work(COUNTER_MAX + 1)},
            Reason.TOO_LARGE,
        ),
    ],
)
def test_a_consumer_refuses(pair: Pair, change: dict[str, object], expected: Reason) -> None:
    command = SignReceipt(1, CHANNEL, Verified(AD), WINDOW)
    effects = pair.consumer.step(msgspec.structs.replace(command, **change))
    assert len(effects) == 1
    assert isinstance(effects[0], Reply)
    assert reason(effects[0].result) is expected
    assert pair.consumer.machine.record(CHANNEL) == ChannelRecord()


def test_a_stranger_does_not_sign_for_the_channel(pair: Pair) -> None:
    assert reason(pair.provider.sign(WINDOW)) is Reason.WRONG_PARTY


def test_an_expired_ad_is_good_for_the_transfer_that_began_with_it(pair: Pair) -> None:
    signed(pair.consumer.sign(WINDOW, ad=ad_of(issued_ms=NOW_MS - AD_GRACE_MS - 600_000)))


def test_a_closed_channel_is_signed_for_up_to_its_last_epoch(pair: Pair) -> None:
    pair.commit(closing_height=Height(10))
    assert reason(pair.consumer.sign(WINDOW)) is Reason.CHANNEL_CLOSED
    promise = signed(pair.consumer.sign(WINDOW, epoch=10))
    signed(pair.provider.accept(promise, WINDOW))


def test_no_epoch_below_the_last_one_is_signed(pair: Pair) -> None:
    pair.pay(WINDOW)
    assert reason(pair.consumer.sign(WINDOW, epoch=9)) is Reason.WRONG_EPOCH


def test_channels_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHANNELS_MAX", 0)
    assert reason(pair.consumer.sign(WINDOW)) is Reason.TOO_MANY
    monkeypatch.undo()
    promise = signed(pair.consumer.sign(WINDOW))
    monkeypatch.setattr(module, "CHANNELS_MAX", 0)
    assert reason(pair.provider.accept(promise, WINDOW)) is Reason.TOO_MANY


# ---- credit: what a broken payment paid for ------------------------------------------------------


def test_a_promise_that_came_to_nothing_is_credit_and_its_seq_is_not_used_again(
    pair: Pair,
) -> None:
    lost = signed(pair.consumer.sign(WINDOW))
    again = signed(pair.consumer.sign(WINDOW, epoch=11))
    assert (lost.seq, again.seq) == (1, 2)
    assert (again.bytes_put, again.amount) == (lost.bytes_put, lost.amount)
    more = signed(pair.consumer.sign(Work(bytes_put=3 * MIB), epoch=11))
    assert (more.seq, more.bytes_put, more.amount) == (3, 3 * MIB, 300)
    signed(pair.provider.accept(more, Work(bytes_put=3 * MIB)))


def test_what_was_promised_never_falls(pair: Pair) -> None:
    pair.pay(WINDOW)
    pair.consumer.sign(Work(bytes_put=3 * MIB))
    small = signed(pair.consumer.sign(WINDOW))
    assert (small.seq, small.bytes_put, small.amount) == (3, 4 * MIB, 400)
    receipt = signed(pair.provider.accept(small, WINDOW))
    assert receipt.bytes_put == 4 * MIB


def test_a_restarted_consumer_learns_of_the_signature_it_missed(pair: Pair) -> None:
    held = obligation(b"blob")
    promise = signed(pair.consumer.sign(WINDOW, adds=held))
    receipt = signed(pair.provider.accept(promise, WINDOW, adds=held))
    pair.consumer.restart()
    assert pair.consumer.machine.record(CHANNEL).promise == promise
    assert pair.consumer.store(receipt) == receipt
    assert list(pair.consumer.machine.obligations) == [held]
    assert pair.consumer.machine.record(CHANNEL) == ChannelRecord(receipt)


def test_an_older_receipt_than_the_promise_leaves_the_promise_as_credit(pair: Pair) -> None:
    first = signed(pair.consumer.sign(WINDOW))
    receipt = signed(pair.provider.accept(first, WINDOW))
    second = signed(pair.consumer.sign(Work(bytes_put=2 * MIB)))
    assert pair.consumer.store(receipt) == receipt
    assert pair.consumer.machine.record(CHANNEL) == ChannelRecord(receipt, second)
    third = signed(pair.consumer.sign(WINDOW))
    assert (third.seq, third.bytes_put) == (3, 2 * MIB)


def test_a_promise_that_the_ledger_settled_counts_as_agreed(pair: Pair) -> None:
    promise = signed(pair.consumer.sign(WINDOW))
    pair.commit(settled=promise.amount, seq=promise.seq, last_settled_epoch=promise.epoch)
    following = signed(pair.consumer.sign(WINDOW))
    assert (following.bytes_put, following.amount) == (2 * MIB, 200)


def test_a_dearer_promise_is_never_undercut(pair: Pair) -> None:
    dear = ad_of(price=Price(per_mib_put=Amount(500)))
    promise = signed(pair.consumer.sign(WINDOW, ad=dear))
    again = signed(pair.consumer.sign(WINDOW))
    assert (promise.amount, again.amount) == (500, 500)
    signed(pair.provider.accept(again, WINDOW))


# ---- what a provider does not accept -------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"chain_id": bytes(32)}, Reason.WRONG_CHAIN),
        ({"channel": bytes(32)}, Reason.UNKNOWN_CHANNEL),
        ({"consumer": STRANGER.account}, Reason.WRONG_PARTY),
        ({"seq": 0}, Reason.OUTDATED),
        ({"ad_digest": bytes(32)}, Reason.MISPRICED),
        ({"bytes_put": MIB - 1}, Reason.UNPAID),
        ({"bytes_get": -1}, Reason.COUNTER_FELL),
        ({"amount": Amount(99)}, Reason.MISPRICED),
        ({"amount": Amount(1_000_001)}, Reason.OVERSPENT),
        ({"epoch": Height(8)}, Reason.WRONG_EPOCH),
        ({"epoch": Height(12)}, Reason.WRONG_EPOCH),
        ({"obligations_root": bytes(32)}, Reason.OBLIGATIONS_DIFFER),
    ],
)
def test_a_provider_refuses(pair: Pair, change: dict[str, object], expected: Reason) -> None:
    if expected is Reason.OUTDATED:
        pair.pay(WINDOW)
    before = pair.provider.machine.record(CHANNEL)
    promise = msgspec.structs.replace(signed(pair.consumer.sign(WINDOW)), **change)
    assert reason(pair.provider.accept(promise, WINDOW)) is expected
    assert pair.provider.machine.record(CHANNEL) == before


def test_a_consumer_does_not_countersign(pair: Pair) -> None:
    promise = signed(pair.consumer.sign(WINDOW))
    assert reason(pair.consumer.accept(promise, WINDOW)) is Reason.WRONG_PARTY


def test_others_channels_are_none_of_ours(pair: Pair) -> None:
    promise = signed(pair.consumer.sign(WINDOW))
    pair.channel = msgspec.structs.replace(
        pair.channel, consumer=STRANGER.account, provider=STRANGER.account
    )
    pair.commit()
    others = msgspec.structs.replace(promise, consumer=STRANGER.account, provider=STRANGER.account)
    assert reason(pair.provider.store(others)) is Reason.WRONG_PARTY


def test_a_repeated_pay_is_answered_alike_but_pays_nothing_new(pair: Pair) -> None:
    promise = signed(pair.consumer.sign(WINDOW))
    receipt = signed(pair.provider.accept(promise, WINDOW))
    assert pair.provider.accept(promise, NOTHING) == receipt
    assert reason(pair.provider.accept(promise, WINDOW)) is Reason.UNPAID


def test_two_bodies_of_one_seq_are_an_equivocation(pair: Pair) -> None:
    receipt = pair.pay(WINDOW)
    other = msgspec.structs.replace(receipt, bytes_get=1)
    assert reason(pair.provider.accept(other, NOTHING)) is Reason.EQUIVOCATION
    assert reason(pair.consumer.store(other)) is Reason.EQUIVOCATION


def test_a_blob_of_another_channel_is_not_accepted(pair: Pair) -> None:
    held = msgspec.structs.replace(obligation(b"blob"), channel=ChannelId(bytes(32)))
    promise = signed(pair.consumer.sign(WINDOW))
    assert reason(pair.provider.accept(promise, WINDOW, adds=held)) is Reason.WRONG_PARTY


def test_blobs_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OBLIGATIONS_MAX", 0)
    held = obligation(b"blob")
    promise = signed(pair.consumer.sign(WINDOW, adds=held))
    assert reason(pair.provider.accept(promise, WINDOW, adds=held)) is Reason.TOO_MANY
    assert reason(pair.provider.ask(RecordObligation(1, held))) is Reason.TOO_MANY


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

"""Receipts between two parties: what each signs and refuses."""

import msgspec
import pytest

from p2p.model.ad import Price
from p2p.model.blob import obligations_root
from p2p.model.commands import (
    AcceptReceipt,
    RecordObligation,
    Reply,
    SignReceipt,
    Work,
)
from p2p.model.effects import Persist
from p2p.model.persistence import Put, Table
from p2p.model.receipt import sign_as_provider
from p2p.model.rejection import Reason
from p2p.primitives.codec import encode
from p2p.primitives.digests import EMPTY_ROOT
from p2p.primitives.signing import Ed25519Signer, Verified
from p2p.primitives.units import MIB, Amount, ChannelId, Height
from p2p.protocol.receipts import ChannelRecord
from p2p.protocol.receipts import channels as module
from p2p.protocol.receipts.rules import AD_GRACE_MS, COUNTER_MAX
from tests.protocol.parties import (
    AD,
    CHANNEL,
    NOW_MS,
    PROVIDER,
    STRANGER,
    Pair,
    ad_of,
    obligation,
)
from tests.protocol.receipts_bench import (
    NOTHING,
    WINDOW,
    reason,
    signed,
)

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

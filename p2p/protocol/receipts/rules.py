"""The rules of a receipt between its two parties, as pure functions; None is "no objection"."""

from typing import Final

from p2p.model.ad import CapacityAd
from p2p.model.commands import SignReceipt, Work
from p2p.model.ledger import Channel
from p2p.model.receipt import EPOCH_SKEW_MAX, ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.units import AccountId, Amount, Digest, Height
from p2p.protocol.receipts.book import ChannelRecord

AD_GRACE_MS: Final = 3_600_000
"""A transfer goes on at the price of its ad for an hour after the ad lapsed."""
COUNTER_MAX: Final = 2**53
"""Bound of counters on the wire."""


def party_refusal(
    receipt: ServiceReceipt, ledger: Channel, *, me: AccountId, chain_id: Digest
) -> Rejected | None:
    """Rejects WRONG_CHAIN, and WRONG_PARTY unless the channel has these two and one is `me`."""
    if receipt.chain_id != chain_id:
        return Rejected(Reason.WRONG_CHAIN)
    if (receipt.consumer, receipt.provider) != (ledger.consumer, ledger.provider):
        return Rejected(Reason.WRONG_PARTY)
    if me not in (receipt.consumer, receipt.provider):
        return Rejected(Reason.WRONG_PARTY, "the channel is others'")
    return None


def sign_refusal(
    item: SignReceipt,
    record: ChannelRecord,
    ledger: Channel,
    *,
    me: AccountId,
    epoch: Height,
    current: Height,
    now_ms: int,
) -> Rejected | None:
    """Why the consumer `me` does not sign at all."""
    ad = item.ad.value
    if ledger.consumer != me:
        return Rejected(Reason.WRONG_PARTY, "the channel is another's")
    if ledger.provider != ad.provider:
        return Rejected(Reason.WRONG_PARTY, "the ad is not the provider's")
    if item.adds is not None and (item.adds.channel, item.adds.provider, item.adds.consumer) != (
        item.channel,
        ad.provider,
        me,
    ):
        return Rejected(Reason.WRONG_PARTY, "the blob is of another channel")
    if now_ms > ad.expires_ms + AD_GRACE_MS:
        return Rejected(Reason.EXPIRED, "the ad")
    if min(item.work.bytes_put, item.work.bytes_get, item.work.mib_epochs) < 0:
        return Rejected(Reason.COUNTER_FELL, "negative work")
    if 0 < ledger.closing_height < epoch:
        return Rejected(Reason.CHANNEL_CLOSED, f"in block {ledger.closing_height}")
    newest = max(
        (receipt.epoch for receipt in (record.receipt, record.promise) if receipt), default=0
    )
    if epoch < newest or abs(epoch - current) > EPOCH_SKEW_MAX:
        return Rejected(Reason.WRONG_EPOCH, f"epoch {epoch} at {current}, after {newest}")
    if not item.work and item.adds is None and (not newest or epoch <= newest):
        return Rejected(Reason.ZERO_AMOUNT, "neither work nor a later epoch")
    return None


def draft_receipt(
    item: SignReceipt,
    record: ChannelRecord,
    ledger: Channel,
    *,
    chain_id: Digest,
    epoch: Height,
    obligations_root: Digest,
) -> ServiceReceipt | Rejected:
    """The consumer's next receipt. Rejects TOO_LARGE, OVERSPENT."""
    ad, promise = item.ad.value, record.promise
    base = record.receipt
    if promise is not None and promise.seq <= ledger.seq:
        base = promise  # settled: the provider signed it, though we never heard
    agreed = _counters(base)
    owed = _larger(agreed + item.work, _counters(promise))
    if max(owed.bytes_put, owed.bytes_get, owed.mib_epochs) > COUNTER_MAX:
        return Rejected(Reason.TOO_LARGE, "the channel cannot count so much; open another")
    price = price_of(ad, _difference(owed, agreed))
    amount = max((base.amount if base else 0) + price, promise.amount if promise else 0)
    if amount > ledger.deposit:
        return Rejected(Reason.OVERSPENT, f"{amount} of {ledger.deposit}")
    return ServiceReceipt(
        chain_id=chain_id,
        provider=ledger.provider,
        consumer=ledger.consumer,
        channel=item.channel,
        epoch=epoch,
        seq=max(receipt.seq if receipt else 0 for receipt in (record.receipt, promise)) + 1,
        bytes_put=owed.bytes_put,
        bytes_get=owed.bytes_get,
        mib_epochs=owed.mib_epochs,
        amount=Amount(amount),
        obligations_root=obligations_root,
        ad_digest=ad.digest(),
    )


def cover_refusal(
    receipt: ServiceReceipt,
    newest: ServiceReceipt | None,
    *,
    ad: CapacityAd,
    work: Work,
    ledger: Channel,
) -> Rejected | None:
    """Why a receipt does not pay its provider for `work` on top of the newest one."""
    if newest is not None and receipt.seq <= newest.seq:
        same = receipt.seq == newest.seq
        return Rejected(Reason.EQUIVOCATION if same else Reason.OUTDATED, f"seq {receipt.seq}")
    if ad.provider != receipt.provider or receipt.ad_digest != ad.digest():
        return Rejected(Reason.MISPRICED, "its ad is not the one of this transfer")
    paid = _difference(_counters(receipt), _counters(newest))
    amount = newest.amount if newest else 0
    if min(paid.bytes_put, paid.bytes_get, paid.mib_epochs, receipt.amount - amount) < 0:
        return Rejected(Reason.COUNTER_FELL)
    if _larger(paid, work) != paid:
        return Rejected(Reason.UNPAID, "it covers less than the work")
    if receipt.amount < amount + price_of(ad, paid):
        return Rejected(Reason.MISPRICED, f"{receipt.amount - amount} for {price_of(ad, paid)}")
    if receipt.amount > ledger.deposit:
        return Rejected(Reason.OVERSPENT, f"{receipt.amount} of {ledger.deposit}")
    return None


def store_refusal(receipt: ServiceReceipt, record: ChannelRecord) -> Rejected | None:
    """Why a receipt with both signatures is not newer than what we hold."""
    newest, promise = record.receipt, record.promise
    if newest is not None and receipt.seq <= newest.seq:
        same = receipt.seq == newest.seq
        return Rejected(Reason.EQUIVOCATION if same else Reason.OUTDATED, f"seq {receipt.seq}")
    if newest is not None and not _covers(receipt, newest):
        return Rejected(Reason.COUNTER_FELL)
    if promise is not None and promise.seq == receipt.seq:
        same = promise.consumer_body() == receipt.consumer_body()
        return None if same else Rejected(Reason.EQUIVOCATION, f"seq {receipt.seq}")
    return None


def price_of(ad: CapacityAd, work: Work) -> Amount:
    """What the work costs under the ad."""
    return ad.price.amount(
        bytes_put=work.bytes_put, bytes_get=work.bytes_get, mib_epochs=work.mib_epochs
    )


def _counters(receipt: ServiceReceipt | None) -> Work:
    if receipt is None:
        return Work()
    return Work(receipt.bytes_put, receipt.bytes_get, receipt.mib_epochs)


def _larger(first: Work, second: Work) -> Work:
    return Work(
        max(first.bytes_put, second.bytes_put),
        max(first.bytes_get, second.bytes_get),
        max(first.mib_epochs, second.mib_epochs),
    )


def _difference(after: Work, before: Work) -> Work:
    return Work(
        after.bytes_put - before.bytes_put,
        after.bytes_get - before.bytes_get,
        after.mib_epochs - before.mib_epochs,
    )


def _covers(after: ServiceReceipt, before: ServiceReceipt) -> bool:
    paid = _difference(_counters(after), _counters(before))
    lowest = min(paid.bytes_put, paid.bytes_get, paid.mib_epochs)
    return lowest >= 0 and after.amount >= before.amount

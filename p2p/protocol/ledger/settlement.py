"""Settlement: receipts become payments, by the pair formula.

Each receipt stands alone on its channel and is judged against the state before the block, so their
order does not matter (I7); they are taken by channel. Of a channel, a block settles one receipt,
and the epochs settled rise: one row for a (channel, epoch) (I2).
"""

from collections.abc import Sequence

import msgspec

from p2p.model.admission import receipt_refusal
from p2p.model.ledger import RewardRow
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.rewards import shares, split
from p2p.primitives.units import Amount
from p2p.protocol.ledger.draft import Draft


def settle(draft: Draft, receipts: Sequence[ServiceReceipt]) -> tuple[RewardRow, ...] | Rejected:
    """Pay all receipts, or none. Rows come by channel id upwards."""
    ordered = sorted(receipts, key=lambda receipt: receipt.channel)
    for index, receipt in enumerate(ordered):
        refusal = receipt_refusal(
            receipt, draft.channel(receipt.channel), draft.rules, height=draft.height
        )
        if refusal is not None:
            return refusal
        if index and ordered[index - 1].channel == receipt.channel:
            return Rejected(Reason.TOO_MANY, "two receipts of one channel")
    # Quality is read before anything is paid: a row depends on no other row (I7, I8).
    rows = tuple([_row(draft, receipt) for receipt in ordered])
    for receipt, row in zip(ordered, rows, strict=True):
        _pay(draft, receipt, row)
    _pay_validators(draft, sum(row.validators for row in rows))
    return rows


def _row(draft: Draft, receipt: ServiceReceipt) -> RewardRow:
    channel = draft.channel(receipt.channel)
    assert channel is not None, "its receipt was found good"
    amount = Amount(receipt.amount - channel.settled)
    quality = draft.quality(receipt.provider)
    parts = split(amount, quality=quality, parameters=draft.rules.parameters)
    return RewardRow(
        height=draft.height,
        channel=receipt.channel,
        consumer=receipt.consumer,
        provider=receipt.provider,
        epoch=receipt.epoch,
        settled=channel.settled,
        quality=quality,
        amount=amount,
        fee=parts.fee,
        validators=parts.validators,
        bonus=parts.bonus,
        burned=parts.burned,
        received=parts.received,
    )


def _pay(draft: Draft, receipt: ServiceReceipt, row: RewardRow) -> None:
    channel = draft.channel(receipt.channel)
    assert channel is not None, "its receipt was found good"
    settled = msgspec.structs.replace(
        channel,
        settled=receipt.amount,
        seq=receipt.seq,
        bytes_put=receipt.bytes_put,
        bytes_get=receipt.bytes_get,
        mib_epochs=receipt.mib_epochs,
        last_settled_epoch=receipt.epoch,
    )
    draft.put_channel(receipt.channel, settled)
    draft.credit(row.provider, row.received)
    draft.burned += row.burned


def _pay_validators(draft: Draft, pot: int) -> None:
    """The block's pot goes to the validators of its height; what does not divide burns."""
    paid = shares(pot, draft.before.validators.powers())
    for account, amount in paid.items():
        draft.credit(account, amount)
    draft.burned += pot - sum(paid.values())

"""The wrong parts of the broken builds. Each is the product's own code with one mistake in it."""

import msgspec

from p2p.model.admission import receipt_form_refusal
from p2p.model.block import Certificate, Header, ValidatorSet
from p2p.model.ledger import Channel, RewardRow, Rules
from p2p.model.parameters import Parameters
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.rewards import Split, split
from p2p.primitives.units import Amount
from p2p.protocol.ledger.draft import Draft


def half_is_quorum(power: int, total: int) -> bool:
    """quorum_half: more than a half, which two sets can be that share liars alone."""
    return 2 * power > total


def any_certificate(
    certificate: Certificate, header: Header, validators: ValidatorSet
) -> Reason | None:
    """unverified_sync: whatever names the block proves it."""
    return None if certificate.header_digest == header.digest() else Reason.BAD_CERTIFICATE


# ---- double_settle: the whole of a cumulative receipt is paid, whenever it comes -----------------


def ever_settles(
    receipt: ServiceReceipt,
    channel: Channel | None,
    rules: Rules,
    *,
    height: int,
    epochs_ahead: int = 0,
) -> Rejected | None:
    """Every receipt of the last epochs settles, although it was settled before."""
    if channel is None:
        return Rejected(Reason.UNKNOWN_CHANNEL)
    refusal = receipt_form_refusal(receipt, channel, rules)
    if refusal is not None:
        return refusal
    oldest = height - rules.parameters.receipt_late_epochs
    if not oldest <= receipt.epoch <= height + epochs_ahead:
        return Rejected(Reason.WRONG_EPOCH)
    if channel.settled + receipt.amount > channel.deposit:
        return Rejected(Reason.OVERSPENT)
    return None


def whole_row(draft: Draft, receipt: ServiceReceipt) -> RewardRow:
    """A row of the receipt's whole amount, not of what is new in it."""
    quality = draft.quality(receipt.provider)
    parts = split(receipt.amount, quality=quality, parameters=draft.rules.parameters)
    return RewardRow(
        height=draft.height,
        channel=receipt.channel,
        consumer=receipt.consumer,
        provider=receipt.provider,
        epoch=receipt.epoch,
        settled=Amount(0),
        quality=quality,
        amount=receipt.amount,
        fee=parts.fee,
        validators=parts.validators,
        bonus=parts.bonus,
        burned=parts.burned,
        received=parts.received,
    )


def pay_whole(draft: Draft, receipt: ServiceReceipt, row: RewardRow) -> None:
    """Add the whole amount to what the channel has settled."""
    channel = draft.channel(receipt.channel)
    assert channel is not None, "its receipt was found good"
    settled = msgspec.structs.replace(
        channel,
        settled=Amount(channel.settled + receipt.amount),
        seq=max(channel.seq, receipt.seq),
        last_settled_epoch=max(channel.last_settled_epoch, receipt.epoch),
    )
    draft.put_channel(receipt.channel, settled)
    draft.credit(row.provider, row.received)
    draft.burned += row.burned


# ---- mint_rounding ---------------------------------------------------------------------------


def generous_split(amount: int, *, quality: int, parameters: Parameters) -> Split:
    """What is left over in rounding goes to the provider, and is burned all the same."""
    true = split(amount, quality=quality, parameters=parameters)
    rounded = amount * parameters.fee_rate * parameters.validator_rate % 10_000**2
    crumb = 1 if rounded else 0
    return msgspec.structs.replace(true, received=Amount(true.received + crumb))

"""What makes a transaction, a receipt, evidence acceptable: rules that two machines keep.

The ledger refuses a block that breaks them; the mempool spares itself what they would refuse.
"""

from collections.abc import Container
from typing import assert_never

from p2p.model.evidence import (
    Evidence,
    contradiction_fault,
    offence_height,
    offence_id,
    offence_ms,
    penalty,
)
from p2p.model.ledger import Channel, Rules
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import (
    Action,
    Bond,
    ChannelClose,
    ChannelOpen,
    ChannelTopUp,
    Transaction,
    Transfer,
    Unbond,
    Unjail,
)
from p2p.primitives.units import Digest, Height


def spending(action: Action) -> int:
    """Micro-tokens that an action takes from its sender's balance, besides the fee."""
    match action:
        case Transfer(amount=amount) | Bond(amount=amount) | ChannelTopUp(amount=amount):
            return amount
        case ChannelOpen(deposit=deposit):
            return deposit
        case Unbond() | Unjail() | ChannelClose():
            return 0
        case _:
            assert_never(action)


def transaction_form_refusal(transaction: Transaction, rules: Rules) -> Rejected | None:
    """Why no state of this chain will ever take the transaction, or None."""
    if transaction.chain_id != rules.chain_id:
        return Rejected(Reason.WRONG_CHAIN)
    fee_min = rules.parameters.transaction_fee_min
    if transaction.fee < fee_min:
        return Rejected(Reason.FEE_TOO_LOW, f"{transaction.fee} of {fee_min}")
    match transaction.action:
        case ChannelOpen(provider=provider) if provider == transaction.sender:
            return Rejected(Reason.WRONG_PARTY, "a channel from its sender to itself")
        case ChannelClose() | Unjail():
            return None
        case Unbond(amount=amount) if amount > 0:
            return None
        case action if spending(action) > 0:
            return None
    return Rejected(Reason.ZERO_AMOUNT)


def receipt_form_refusal(
    receipt: ServiceReceipt, channel: Channel, rules: Rules
) -> Rejected | None:
    """Why no state of this chain will ever settle the receipt on this channel, or None."""
    if receipt.chain_id != rules.chain_id:
        return Rejected(Reason.WRONG_CHAIN)
    if (receipt.consumer, receipt.provider) != (channel.consumer, channel.provider):
        return Rejected(Reason.WRONG_PARTY)
    return None


def receipt_refusal(
    receipt: ServiceReceipt,
    channel: Channel | None,
    rules: Rules,
    *,
    height: int,
    epochs_ahead: int = 0,
) -> Rejected | None:
    """Why block `height` cannot settle the receipt on its channel as it stands, or None.

    `epochs_ahead` also lets pass what a block so much later could settle.
    """
    if channel is None:
        return Rejected(Reason.UNKNOWN_CHANNEL)
    refusal = receipt_form_refusal(receipt, channel, rules)
    if refusal is not None:
        return refusal
    if receipt.seq <= channel.seq:
        return Rejected(Reason.OUTDATED, f"seq {receipt.seq}, settled {channel.seq}")
    oldest = max(height - rules.parameters.receipt_late_epochs, channel.last_settled_epoch + 1)
    if not oldest <= receipt.epoch <= height + epochs_ahead:
        return Rejected(Reason.WRONG_EPOCH, f"epoch {receipt.epoch} in block {height}")
    fell = (
        receipt.bytes_put < channel.bytes_put
        or receipt.bytes_get < channel.bytes_get
        or receipt.mib_epochs < channel.mib_epochs
        or receipt.amount < channel.settled
    )
    if fell:
        return Rejected(Reason.COUNTER_FELL)
    if receipt.amount == channel.settled:
        return Rejected(Reason.ZERO_AMOUNT)
    if receipt.amount > channel.deposit:
        return Rejected(Reason.OVERSPENT, f"{receipt.amount} of {channel.deposit}")
    return None


def evidence_form_refusal(evidence: Evidence, rules: Rules) -> Rejected | None:
    """Why no state of this chain will ever punish for it, or None."""
    refusal = contradiction_fault(evidence.offence, rules.chain_id)
    if refusal is None and penalty(evidence.offence, rules.parameters).slash_rate == 0:
        return Rejected(Reason.NO_STAKE, "this chain takes nothing for it")
    return refusal


def evidence_refusal(
    evidence: Evidence,
    rules: Rules,
    *,
    height: int,
    time_ms: int,
    punished: Container[Digest],
    stake: int,
) -> Rejected | None:
    """Why block `height` cannot punish for evidence that contradicts itself, or None.

    Args:
        evidence: of a contradiction.
        rules: of the chain.
        height: of the block.
        time_ms: of the block before, against which ads are judged.
        punished: offences that the state remembers.
        stake: what the offender has bonded and unbonding.
    """
    parameters, offence = rules.parameters, evidence.offence
    committed, moment = offence_height(offence), offence_ms(offence)
    at, now, age = committed, height, parameters.evidence_age_epochs
    if moment is not None:
        at, now, age = Height(moment), time_ms, parameters.evidence_age_ms
    assert at is not None, "an offence has a height or a moment"
    if at > now:
        return Rejected(Reason.FROM_THE_FUTURE, f"{at}, now is {now}")
    if at + age < now:
        return Rejected(Reason.EXPIRED, f"{at}, taken until {at + age}")
    if offence_id(offence) in punished:
        return Rejected(Reason.PUNISHED)
    if stake == 0:
        return Rejected(Reason.NO_STAKE)
    return None

"""Transactions: what each action does to the ledger, and when it may not.

A transaction is checked whole and then applied whole; a refused one leaves the draft as it was.
"""

from typing import assert_never

import msgspec

from p2p.model.admission import spending, transaction_form_refusal
from p2p.model.ledger import Account, Channel
from p2p.model.rejection import Reason, Rejected
from p2p.model.transaction import (
    Bond,
    ChannelClose,
    ChannelOpen,
    ChannelTopUp,
    Transaction,
    Transfer,
    Unbond,
    Unjail,
    channel_id,
)
from p2p.primitives.units import AMOUNT_MAX, Amount, Height
from p2p.protocol.ledger.draft import Draft


def apply(draft: Draft, transaction: Transaction) -> Rejected | None:
    """Carry out a transaction; the reason when the ledger refuses it."""
    refusal = _refusal(draft, transaction)
    if refusal is None:
        draft.charge(transaction.sender, fee=transaction.fee, spent=spending(transaction.action))
        _act(draft, transaction)
    return refusal


def _refusal(draft: Draft, transaction: Transaction) -> Rejected | None:
    refusal = transaction_form_refusal(transaction, draft.rules)
    if refusal is not None:
        return refusal
    sender = draft.account(transaction.sender)
    if sender is None:
        return Rejected(Reason.UNKNOWN_ACCOUNT)
    if transaction.nonce != sender.nonce:
        return Rejected(Reason.BAD_NONCE, f"{transaction.nonce}, not {sender.nonce}")
    cost = transaction.fee + spending(transaction.action)
    if cost > sender.balance:
        return Rejected(Reason.INSUFFICIENT_FUNDS, f"{cost} of {sender.balance}")
    match transaction.action:
        case Unbond(amount=amount) if amount > sender.bonded:
            return Rejected(Reason.INSUFFICIENT_FUNDS, f"{amount} of {sender.bonded} bonded")
        case Unbond(amount=sender.bonded) if not draft.others_vote(transaction.sender):
            # A chain without voters cannot go on.
            return Rejected(Reason.LAST_STAKE)
        case Unjail():
            return _unjail_refusal(sender, height=draft.height)
        case ChannelTopUp() | ChannelClose():
            return _channel_refusal(draft, transaction)
        case _:
            return None


def _unjail_refusal(sender: Account, *, height: int) -> Rejected | None:
    if not sender.jailed_until:
        return Rejected(Reason.OUTDATED, "the account is not jailed")
    if height < sender.jailed_until:
        return Rejected(Reason.JAILED, f"until block {sender.jailed_until}")
    return None


def _channel_refusal(draft: Draft, transaction: Transaction) -> Rejected | None:
    action = transaction.action
    assert isinstance(action, ChannelTopUp | ChannelClose), "the others name no channel"
    channel = draft.channel(action.channel)
    if channel is None:
        return Rejected(Reason.UNKNOWN_CHANNEL)
    if channel.consumer != transaction.sender:
        return Rejected(Reason.WRONG_PARTY, "the channel is another's")
    if channel.closing_height:
        return Rejected(Reason.CHANNEL_CLOSED, f"in block {channel.closing_height}")
    if channel.deposit + spending(action) > AMOUNT_MAX:
        return Rejected(Reason.TOO_LARGE, "the channel cannot count so much; open another")
    return None


def _act(draft: Draft, transaction: Transaction) -> None:
    """The action itself, after its spending was charged."""
    action, sender = transaction.action, transaction.sender
    match action:
        case Transfer(to=to, amount=amount):
            draft.credit(to, amount)
        case Bond(amount=amount):
            draft.move_bond(sender, amount)
        case Unbond(amount=amount):
            draft.move_bond(sender, -amount)
            draft.queue_unbonding(sender, amount)
        case Unjail():
            draft.jail(sender, Height(0))
        case ChannelOpen(provider=provider, deposit=deposit):
            key = channel_id(draft.rules.chain_id, sender, transaction.nonce)
            draft.put_channel(key, Channel(sender, provider, deposit))
        case ChannelTopUp(channel=key, amount=amount):
            channel = draft.channel(key)
            assert channel is not None, "checked before"
            deposit = Amount(channel.deposit + amount)
            draft.put_channel(key, msgspec.structs.replace(channel, deposit=deposit))
        case ChannelClose(channel=key):
            channel = draft.channel(key)
            assert channel is not None, "checked before"
            draft.put_channel(key, msgspec.structs.replace(channel, closing_height=draft.height))
        case _:
            assert_never(action)

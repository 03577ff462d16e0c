"""Transaction: a signed order on the ledger, with its sender's nonce and fee."""

import msgspec

from p2p.model.fields import (
    AccountField,
    AmountField,
    ChannelField,
    CountField,
    DigestField,
    SignatureField,
)
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignedKind, Signer
from p2p.primitives.units import AccountId, ChannelId, Digest


class Transfer(Value, frozen=True, tag="transfer"):
    """Move balance to another account."""

    to: AccountField
    amount: AmountField


class Bond(Value, frozen=True, tag="bond"):
    """Move balance into stake, which is voting power two heights later."""

    amount: AmountField


class Unbond(Value, frozen=True, tag="unbond"):
    """Start to move stake back; it is paid out `unbonding_epochs` later."""

    amount: AmountField


class Unjail(Value, frozen=True, tag="unjail"):
    """Ask for the vote back after the time in jail: power again two heights later."""


class ChannelOpen(Value, frozen=True, tag="channel_open"):
    """Put a deposit into a new channel from the sender to a provider."""

    provider: AccountField
    deposit: AmountField


class ChannelTopUp(Value, frozen=True, tag="channel_topup"):
    """Add to the deposit of one of the sender's channels."""

    channel: ChannelField
    amount: AmountField


class ChannelClose(Value, frozen=True, tag="channel_close"):
    """Stop a channel of the sender; what is unsettled returns after late receipts had time."""

    channel: ChannelField


Action = Transfer | Bond | Unbond | Unjail | ChannelOpen | ChannelTopUp | ChannelClose


class Transaction(Value, frozen=True, tag="transaction"):
    """An action, ordered and paid for by its sender."""

    chain_id: DigestField
    sender: AccountField
    nonce: CountField
    """Number of the sender's earlier transactions on this chain."""
    fee: AmountField
    action: Action
    signature: SignatureField = b""

    def body(self) -> bytes:
        """The signed bytes: the transaction without its signature."""
        return encode(msgspec.structs.replace(self, signature=b""))

    def digest(self) -> Digest:
        """Names the signed transaction."""
        return digest(encode(self))


def sign_transaction(transaction: Transaction, signer: Signer) -> Transaction:
    """The transaction with its sender's signature."""
    signature = signer.sign(SignedKind.TRANSACTION, transaction.chain_id, transaction.body())
    return msgspec.structs.replace(transaction, signature=signature)


def channel_id(chain_id: Digest, sender: AccountId, nonce: int) -> ChannelId:
    """The channel that the sender's transaction of this nonce opens."""
    return ChannelId(digest(b"channel", chain_id, sender, nonce.to_bytes(8)))

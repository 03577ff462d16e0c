"""What may be posted to the local API."""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from p2p.model.blob import EPOCHS_MAX
from p2p.model.fields import AmountField, CountField, NameText
from p2p.model.offer import Offer
from p2p.model.transaction import (
    Action,
    Bond,
    ChannelClose,
    ChannelOpen,
    ChannelTopUp,
    Transfer,
    Unbond,
    Unjail,
)
from p2p.node.blobs.consumer import EPOCHS_DEFAULT, REPLICAS_MAX
from p2p.primitives.keys import parse_account
from p2p.primitives.units import ChannelId

S = TypeVar("S", bound=msgspec.Struct)

BODY_BYTES_MAX: Final = 64 * 1024
WAIT_S_MAX: Final = 600

_Wait = Annotated[float, Meta(ge=0, le=WAIT_S_MAX)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    pass


class TransferBody(_Body, frozen=True, tag="transfer"):
    """Move balance to another account."""

    to: str
    amount: AmountField

    def action(self) -> Action:
        """As the ledger takes it. Raises ValueError."""
        return Transfer(to=parse_account(self.to), amount=self.amount)


class BondBody(_Body, frozen=True, tag="bond"):
    """Move balance into stake."""

    amount: AmountField

    def action(self) -> Action:
        """As the ledger takes it."""
        return Bond(amount=self.amount)


class UnbondBody(_Body, frozen=True, tag="unbond"):
    """Start to move stake back."""

    amount: AmountField

    def action(self) -> Action:
        """As the ledger takes it."""
        return Unbond(amount=self.amount)


class UnjailBody(_Body, frozen=True, tag="unjail"):
    """Ask for the vote back after the time in jail."""

    def action(self) -> Action:
        """As the ledger takes it."""
        return Unjail()


class ChannelOpenBody(_Body, frozen=True, tag="channel_open"):
    """Put a deposit into a new channel to a provider."""

    provider: str
    deposit: AmountField

    def action(self) -> Action:
        """As the ledger takes it. Raises ValueError."""
        return ChannelOpen(provider=parse_account(self.provider), deposit=self.deposit)


class ChannelTopUpBody(_Body, frozen=True, tag="channel_topup"):
    """Add to the deposit of a channel."""

    channel: str
    amount: AmountField

    def action(self) -> Action:
        """As the ledger takes it. Raises ValueError."""
        return ChannelTopUp(channel=ChannelId(parse_digest(self.channel)), amount=self.amount)


class ChannelCloseBody(_Body, frozen=True, tag="channel_close"):
    """Close a channel."""

    channel: str

    def action(self) -> Action:
        """As the ledger takes it. Raises ValueError."""
        return ChannelClose(channel=ChannelId(parse_digest(self.channel)))


ActionBody = (
    TransferBody
    | BondBody
    | UnbondBody
    | UnjailBody
    | ChannelOpenBody
    | ChannelTopUpBody
    | ChannelCloseBody
)


class TransactionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /tx: what to order, and how long to wait for the block that has it."""

    action: ActionBody
    fee: AmountField | None = None
    wait_s: _Wait = 0.0


class AddBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /blobs: which file to store, where the node can read it."""

    path: str
    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 3
    epochs: Annotated[int, Meta(ge=1, le=EPOCHS_MAX)] = EPOCHS_DEFAULT
    price_max: AmountField | None = None
    """For one replica; None takes what the market asks."""


class GetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /blobs/{id}/get: where the node is to write the blob."""

    destination: str


class OfferBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /offer: what to change of the offer; what is not named stays."""

    accepting: bool | UnsetType = UNSET
    region: NameText | UnsetType = UNSET
    storage_bytes: CountField | UnsetType = UNSET
    bandwidth_up_bps: CountField | UnsetType = UNSET
    bandwidth_down_bps: CountField | UnsetType = UNSET
    cpu_milli: CountField | UnsetType = UNSET
    memory_bytes: CountField | UnsetType = UNSET
    gpus: CountField | UnsetType = UNSET
    per_mib_put: AmountField | UnsetType = UNSET
    per_mib_get: AmountField | UnsetType = UNSET
    per_mib_epoch: AmountField | UnsetType = UNSET
    blob_bytes_max: CountField | UnsetType = UNSET
    drain_epoch: CountField | UnsetType = UNSET
    ttl_s: Annotated[int, Meta(ge=1)] | UnsetType = UNSET

    def merged(self, offer: Offer) -> Offer:
        """The offer with what is named here."""
        named = {
            field.name: getattr(self, field.name)
            for field in msgspec.structs.fields(self)
            if getattr(self, field.name) is not UNSET
        }
        resources = offer.resources
        if "storage_bytes" in named:
            total = named.pop("storage_bytes")
            used = resources.storage_bytes_total - resources.storage_bytes_free
            named["storage_bytes_total"] = total
            named["storage_bytes_free"] = max(0, total - used)
        return msgspec.structs.replace(
            offer,
            resources=_replaced(resources, named),
            price=_replaced(offer.price, named),
            **_pick(offer, named),
        )


def parse_digest(text: str) -> bytes:
    """32 bytes from hex. Raises ValueError."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != 32:
        raise ValueError(f"expected 64 hex digits, not {text[:80]!r}")
    return data


def _pick(value: msgspec.Struct, named: dict[str, object]) -> dict[str, object]:
    known = {field.name for field in msgspec.structs.fields(value)}
    return {name: item for name, item in named.items() if name in known}


def _replaced(value: S, named: dict[str, object]) -> S:
    return msgspec.structs.replace(value, **_pick(value, named))

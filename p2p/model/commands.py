"""Commands about work and money, which the services of a node give to its replica.

Each is answered by exactly one `Reply` of the same ticket: a value that is durable by then, or
`Rejected`.
"""

import msgspec

from p2p.model.ad import CapacityAd
from p2p.model.blob import Obligation
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Rejected
from p2p.primitives.signing import Verified
from p2p.primitives.units import BlobId, ChannelId, Height


class Work(msgspec.Struct, frozen=True):
    """Work in one window, beyond all that was signed for before."""

    bytes_put: int = 0
    bytes_get: int = 0
    mib_epochs: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.bytes_put + other.bytes_put,
            self.bytes_get + other.bytes_get,
            self.mib_epochs + other.mib_epochs,
        )

    def __bool__(self) -> bool:
        return bool(self.bytes_put or self.bytes_get or self.mib_epochs)


NO_WORK = Work()


class SignReceipt(msgspec.Struct, frozen=True):
    """Consumer: pay a window of work. Reply: half-signed `ServiceReceipt` or `Rejected`.

    `adds` is the blob that the provider holds from this window on; `epoch` is the provider's, if it
    asked for one. Without work and blob, it dates the newest receipt anew for a later epoch.
    """

    ticket: int
    channel: ChannelId
    ad: Verified[CapacityAd]
    work: Work
    adds: Obligation | None = None
    epoch: Height | None = None


class AcceptReceipt(msgspec.Struct, frozen=True):
    """Provider: the consumer paid a window. Reply: fully signed `ServiceReceipt` or `Rejected`.

    `work` is what this provider measured in the window; the receipt must cover it at the prices of
    `ad`, which is our own. `adds` is the blob that we hold from this window on.
    """

    ticket: int
    receipt: Verified[ServiceReceipt]
    ad: CapacityAd
    work: Work
    adds: Obligation | None = None


class StoreReceipt(msgspec.Struct, frozen=True):
    """Either party: keep a fully signed receipt that the other showed. Reply: it, or `Rejected`."""

    ticket: int
    receipt: Verified[ServiceReceipt]


class RecordObligation(msgspec.Struct, frozen=True):
    """Remember a blob held (as provider) or placed (as consumer). Reply: the `Obligation`."""

    ticket: int
    obligation: Obligation


class DropObligation(msgspec.Struct, frozen=True):
    """Forget a blob held or placed on a channel. Reply: True when it was known."""

    ticket: int
    blob: BlobId
    channel: ChannelId


ReceiptCommand = SignReceipt | AcceptReceipt | StoreReceipt | RecordObligation | DropObligation


class Reply(msgspec.Struct, frozen=True):
    """The result of a command: the value that the command names, or `Rejected`."""

    ticket: int
    result: object | Rejected

"""What the registry hears, and what it orders."""

from enum import Enum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.ad import CapacityAd
from p2p.model.effects import Persist, SetTimer
from p2p.model.inputs import PeerConnected, PeerDisconnected, TimerFired
from p2p.model.offer import Offer
from p2p.model.rejection import Reason, Rejected
from p2p.primitives.signing import Verified
from p2p.primitives.units import AccountId, Amount, Height, PeerId

RENEW_TIMER: Final = "registry/renew"
EXPIRE_TIMER: Final = "registry/expire"
PULL_TIMER: Final = "registry/pull"

OFFER_KEY: Final = b"offer"
SEQ_KEY: Final = b"seq"


class RegistryParameters(msgspec.Struct, frozen=True):
    """Bounds and spans of the registry; local, not agreed on by the chain."""

    ads_max: int = 10_000
    """Providers whose ad is kept: 4 KiB each at most, so 40 MiB."""
    future_ms_max: int = 60_000
    """How far ahead of our clock an ad may be dated."""
    ad_gap_ms: int = 2_000
    """A provider's ads are taken at this rate in the long run."""
    ad_burst_max: int = 8
    """And this many at once."""
    change_gap_ms: int = 10_000
    """Between our own ads when only space or addresses changed."""
    offer_gap_ms: int = 4_000
    """Between our own ads when the operator changes the offer; slower than `ad_gap_ms`."""
    offer_burst_max: int = 4
    ttl_s_min: int = 30
    """Shortest life of our own ad."""
    renew_ms_max: int = 0
    """Our own ad is renewed after this at the latest; 0: at a third of its life."""
    heard_ms: int = 1_000
    """After the first connection: what the mesh needs to form before an ad is heard."""
    early_ms: tuple[int, ...] = ()
    """After the first connection: our ad leaves again, and one neighbour is asked for its ads, as
    whatever was said before the mesh stood may have reached nobody. Ascending; a quarter more by
    lot. Pulls bring what was lost as well, for less: each ad goes to everybody."""
    publish_alone: bool = True
    """Publish also while nobody is connected: gossip then offers the ad to the first who come. Of
    thousands that start in one moment, each would offer it to all and its successor soon after."""
    asks_max: int = 3
    """Neighbours asked for their ads after a time alone."""
    pull_ms_min: int = 2_000
    """Between questions for ads while they bring news, or neighbours change; a quarter more by
    lot."""
    pull_ms_max: int = 16_000
    """The same when nothing happens: doubles up to this. Each costs four bytes an ad known."""
    page_max: Annotated[int, Meta(ge=1)] = 64
    """Ads in one answer: 256 KiB at most."""
    services: tuple[str, ...] = ("blob/1",)


# ---- inputs ---------------------------------------------------------------------------------


class Restored(msgspec.Struct, frozen=True):
    """Rows of `Table.OFFER` that an earlier run left."""

    rows: tuple[tuple[bytes, bytes], ...]


class AddressesKnown(msgspec.Struct, frozen=True):
    """Where this node can be reached: the first one starts the advertising."""

    addresses: tuple[str, ...]


class OfferChanged(msgspec.Struct, frozen=True):
    """The operator's new wish. Yields `PublishAd`, or `Rejected` alone."""

    offer: Offer


class SpaceMeasured(msgspec.Struct, frozen=True):
    """Free room for blobs."""

    free_bytes: int


class AdReceived(msgspec.Struct, frozen=True):
    """A verified ad from gossip. Yields exactly one `Judge`, first."""

    ad: Verified[CapacityAd]


class AdsReceived(msgspec.Struct, frozen=True):
    """A neighbour's answer to `AskAds`: ads by provider upwards. Nothing of it is gossiped on."""

    peer: PeerId
    ads: tuple[Verified[CapacityAd], ...]


class AskFailed(msgspec.Struct, frozen=True):
    """A neighbour did not answer `AskAds`."""

    peer: PeerId


class AccountsBonded(msgspec.Struct, frozen=True):
    """Everybody who has something at stake on the chain; replaces the list before."""

    accounts: tuple[AccountId, ...]


RegistryInput = (
    Restored
    | AddressesKnown
    | OfferChanged
    | SpaceMeasured
    | AdReceived
    | AdsReceived
    | AskFailed
    | AccountsBonded
    | PeerConnected
    | PeerDisconnected
    | TimerFired
)

# ---- effects --------------------------------------------------------------------------------


class Verdict(Enum):
    """What becomes of a gossiped ad."""

    ACCEPT = "accept"
    """Kept and passed on."""
    IGNORE = "ignore"
    """Dropped, nobody's fault."""
    REJECT = "reject"
    """False whatever else happens: whoever sent it is penalised."""


class Judge(msgspec.Struct, frozen=True):
    """The verdict on the `AdReceived` at hand."""

    verdict: Verdict
    reason: Reason | None = None


class PublishAd(msgspec.Struct, frozen=True):
    """Gossip our own ad; its seq is durable by now."""

    ad: Verified[CapacityAd]


class AskAds(msgspec.Struct, frozen=True):
    """Ask a neighbour for up to `count` ads that we lack, of providers above `after`, upwards.

    `until` and `known` as in the request. Yields `AdsReceived` or `AskFailed`.
    """

    peer: PeerId
    after: bytes
    count: int
    until: bytes = b""
    known: bytes = b""


class AdLearned(msgspec.Struct, frozen=True):
    """A provider's newest ad is kept; it says where the provider can be reached."""

    provider: AccountId
    seq: int
    addresses: tuple[str, ...]


class AdDropped(msgspec.Struct, frozen=True):
    """A provider's ad is gone: `EXPIRED`, or `TOO_MANY` when one at stake took its place."""

    provider: AccountId
    reason: Reason


class AdConflictFound(msgspec.Struct, frozen=True):
    """A provider signed two ads of one seq: evidence."""

    first: Verified[CapacityAd]
    second: Verified[CapacityAd]


RegistryEffect = (
    Judge
    | PublishAd
    | AskAds
    | AdLearned
    | AdDropped
    | AdConflictFound
    | Rejected
    | Persist
    | SetTimer
)

# ---- queries --------------------------------------------------------------------------------


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer looks for. The cost of an ad is its price for this use."""

    height: Height
    """The chain's height: providers that drain from it are left out."""
    blob_bytes: int = 0
    epochs: int = 0
    reads: int = 1
    """How often the whole blob will be read."""
    cost_max: Amount | None = None
    region: str | None = None
    service: str | None = None
    exclude: tuple[AccountId, ...] = ()
    salt: bytes = b""
    """Orders equal costs: different salts spread consumers over equal providers."""

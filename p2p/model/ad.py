"""CapacityAd: what a provider offers, signed by the provider.

A higher `seq` replaces; expiry, `accepting = False` or a drain epoch is how a node scales down.
Claimed capacity earns nothing.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.fields import (
    AccountField,
    AddressText,
    AmountField,
    CountField,
    DigestField,
    MomentField,
    NameText,
    SignatureField,
)
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignedKind, Signer
from p2p.primitives.units import MIB, Amount, Digest, div_ceil

AD_TTL_S_MAX: Final = 24 * 3600
TtlField = Annotated[int, Meta(ge=1, le=AD_TTL_S_MAX)]
"""Seconds that an ad stands unless it is renewed."""


class Resources(Value, frozen=True):
    """What the provider's machine lends. Storage in bytes, bandwidth in bits a second."""

    storage_bytes_total: CountField = 0
    storage_bytes_free: CountField = 0
    bandwidth_up_bps: CountField = 0
    bandwidth_down_bps: CountField = 0
    cpu_milli: CountField = 0
    memory_bytes: CountField = 0
    gpus: CountField = 0


class Price(Value, frozen=True):
    """Micro-tokens a MiB: stored once, read once, kept for an epoch."""

    per_mib_put: AmountField = Amount(100)
    per_mib_get: AmountField = Amount(100)
    per_mib_epoch: AmountField = Amount(1)

    def amount(self, *, bytes_put: int, bytes_get: int, mib_epochs: int) -> Amount:
        """Price of an amount of work, rounded up once."""
        moved = bytes_put * self.per_mib_put + bytes_get * self.per_mib_get
        return Amount(div_ceil(moved, MIB) + mib_epochs * self.per_mib_epoch)


class CapacityAd(Value, frozen=True, tag="ad"):
    """One provider's offer."""

    chain_id: DigestField
    provider: AccountField
    seq: CountField
    issued_ms: MomentField
    ttl_s: TtlField
    addrs: Annotated[tuple[AddressText, ...], Meta(max_length=8)]
    services: Annotated[tuple[NameText, ...], Meta(max_length=8)]
    region: NameText
    resources: Resources
    price: Price
    blob_bytes_max: CountField
    accepting: bool
    drain_epoch: CountField
    """Height from which nothing new is taken; 0 is never."""
    signature: SignatureField = b""

    @property
    def expires_ms(self) -> int:
        """Moment of Unix time at which the ad lapses."""
        return self.issued_ms + self.ttl_s * 1000

    def body(self) -> bytes:
        """The signed bytes: the ad without its signature."""
        return encode(msgspec.structs.replace(self, signature=b""))

    def digest(self) -> Digest:
        """Names the signed ad, as receipts do."""
        return digest(encode(self))


def sign_ad(ad: CapacityAd, signer: Signer) -> CapacityAd:
    """The ad with its provider's signature."""
    signature = signer.sign(SignedKind.CAPACITY_AD, ad.chain_id, ad.body())
    return msgspec.structs.replace(ad, signature=signature)

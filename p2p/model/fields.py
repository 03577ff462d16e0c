"""Field types with their bounds, checked by the codec while it decodes."""

from typing import Annotated

from msgspec import Meta

from p2p.primitives.units import (
    AMOUNT_MAX,
    AccountId,
    Amount,
    BlobId,
    ChannelId,
    Digest,
    Height,
    Millis,
    Round,
)

_exactly_32 = Meta(min_length=32, max_length=32)

AccountField = Annotated[AccountId, _exactly_32]
DigestField = Annotated[Digest, _exactly_32]
ChannelField = Annotated[ChannelId, _exactly_32]
BlobField = Annotated[BlobId, _exactly_32]
SignatureField = Annotated[bytes, Meta(max_length=64)]
"""Empty while the body is being signed, 64 bytes after."""

AmountField = Annotated[Amount, Meta(ge=0, le=AMOUNT_MAX)]
PositiveAmountField = Annotated[Amount, Meta(ge=1, le=AMOUNT_MAX)]
HeightField = Annotated[Height, Meta(ge=0, le=2**53)]
RoundField = Annotated[Round, Meta(ge=0, le=2**31)]
ValidRoundField = Annotated[Round, Meta(ge=-1, le=2**31)]
MomentField = Annotated[Millis, Meta(ge=0, le=2**53)]
CountField = Annotated[int, Meta(ge=0, le=2**53)]
"""Bytes, MiB-epochs, sequence numbers, nonces: 2**53 fits every reader's integers."""

AddressText = Annotated[str, Meta(max_length=256)]
NameText = Annotated[str, Meta(max_length=64)]

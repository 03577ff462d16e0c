"""ServiceReceipt: work that a consumer counter-signed, cumulative per channel.

Counters and amount never fall and the highest `seq` wins, so receipts aggregate, survive loss and
cannot be counted twice. The consumer signs first; the provider signs that, and publishes it.
"""

from typing import Final

import msgspec

from p2p.model.fields import (
    AccountField,
    AmountField,
    ChannelField,
    CountField,
    DigestField,
    HeightField,
    SignatureField,
)
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import digest
from p2p.primitives.signing import SignedKind, Signer
from p2p.primitives.units import Digest

EPOCHS_AHEAD_MAX: Final = 2
"""How far ahead of its epoch a provider dates receipts of a channel where others came too late."""
EPOCH_SKEW_MAX: Final = 3 + EPOCHS_AHEAD_MAX
"""How far from its own epoch a consumer signs: a provider may be blocks ahead of it or behind."""


class ServiceReceipt(Value, frozen=True, tag="receipt"):
    """All work on one channel so far. `obligations_root` commits to the blobs still held."""

    chain_id: DigestField
    provider: AccountField
    consumer: AccountField
    channel: ChannelField
    epoch: HeightField
    seq: CountField
    bytes_put: CountField
    bytes_get: CountField
    mib_epochs: CountField
    amount: AmountField
    obligations_root: DigestField
    ad_digest: DigestField
    """The ad whose prices the newest work was charged at."""
    consumer_signature: SignatureField = b""
    provider_signature: SignatureField = b""

    def consumer_body(self) -> bytes:
        """What the consumer signs: the receipt without signatures."""
        bare = msgspec.structs.replace(self, consumer_signature=b"", provider_signature=b"")
        return encode(bare)

    def provider_body(self) -> bytes:
        """What the provider signs: the receipt with the consumer's signature."""
        return encode(msgspec.structs.replace(self, provider_signature=b""))

    def digest(self) -> Digest:
        """Names the receipt with its signatures."""
        return digest(encode(self))


def sign_as_consumer(receipt: ServiceReceipt, signer: Signer) -> ServiceReceipt:
    """The receipt with the consumer's signature."""
    signature = signer.sign(SignedKind.RECEIPT_CONSUMER, receipt.chain_id, receipt.consumer_body())
    return msgspec.structs.replace(receipt, consumer_signature=signature)


def sign_as_provider(receipt: ServiceReceipt, signer: Signer) -> ServiceReceipt:
    """The receipt with the provider's signature over the consumer's."""
    signature = signer.sign(SignedKind.RECEIPT_PROVIDER, receipt.chain_id, receipt.provider_body())
    return msgspec.structs.replace(receipt, provider_signature=signature)

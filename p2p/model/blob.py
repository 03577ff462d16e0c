"""Blobs by content: their names, and the messages of `/gigmesh/blob/1`.

A file is cut into chunks; `leaf = H(0x00 || chunk)`, the root is RFC 6962's over the leaves, and
`blob_id = H(0x02 || root || size (8 bytes) || chunk_size (4 bytes))`, big-endian. Whoever knows
the id can check a manifest; whoever has the manifest can check the list of leaves; with the leaves
every chunk is checked alone, from whomever and in whatever order it comes.

A stream carries control messages (the union `BlobMessage`, MessagePack) and, where the protocol
expects them, raw ones: the leaves (32 bytes each, one message) and chunks (one message each).

    consumer                          provider
    Find            ------------->    Found | Refused
    PutOpen         ------------->    Opened | Refused
    leaves, chunks  ------------->                        one window
    Pay             ------------->    Paid | Refused      (WRONG_EPOCH: sign again for `epoch`)
    GetOpen         ------------->    Opened, leaves | Refused
                    <-------------    chunks              one window
    Pay             ------------->    Paid | Refused
    Pay             <-------------    Renew               (opened by the provider)
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from msgspec import Meta

from p2p.model.ad import CapacityAd
from p2p.model.fields import (
    AccountField,
    BlobField,
    ChannelField,
    CountField,
    DigestField,
    HeightField,
)
from p2p.model.receipt import ServiceReceipt
from p2p.model.rejection import Reason
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import (
    DIGEST_BYTES,
    digest,
    leaf_digest,
    merkle_root,
    merkle_root_of_digests,
)
from p2p.primitives.units import KIB, MIB, BlobId, Digest, div_ceil

BLOB_PROTOCOL: Final = "/gigmesh/blob/1"
BLOB_SERVICE: Final = "blob/1"
"""The name of this service in an ad."""

CHUNK_BYTES: Final = 256 * KIB
"""Default: 1 GiB then has 4096 leaves, 128 KiB of digests."""
CHUNK_BYTES_MIN: Final = 1 * KIB
CHUNK_BYTES_MAX: Final = 1 * MIB
LEAVES_MAX: Final = 16 * KIB
"""A list of leaves is one message of at most 512 KiB."""
LEAVES_BYTES_MAX: Final = LEAVES_MAX * DIGEST_BYTES
MESSAGE_BYTES_MAX: Final = 16 * KIB
"""A control message: an ad, a receipt and a little more."""
WINDOW_BYTES: Final = 8 * MIB
"""Default work between two signatures: what either party risks."""
WINDOW_BYTES_MAX: Final = 64 * MIB
EPOCHS_MAX: Final = 1_000_000
"""Epochs that a blob may be paid for in advance; keeps counters far from their bound."""

WindowField = Annotated[int, Meta(ge=1, le=WINDOW_BYTES_MAX)]


class Manifest(Value, frozen=True, tag="manifest"):
    """The shape of a blob; with it, its leaves can be checked."""

    root: DigestField
    size_bytes: CountField
    chunk_bytes: Annotated[int, Meta(ge=CHUNK_BYTES_MIN, le=CHUNK_BYTES_MAX)]

    @property
    def blob(self) -> BlobId:
        """The id that this manifest, and no other, has."""
        size, chunk = self.size_bytes.to_bytes(8), self.chunk_bytes.to_bytes(4)
        return BlobId(digest(b"\x02", self.root, size, chunk))

    @property
    def chunks(self) -> int:
        """Number of chunks; 0 for the empty blob."""
        return div_ceil(self.size_bytes, self.chunk_bytes)

    def chunk_size(self, index: int) -> int:
        """Bytes of a chunk; only the last one may be short. Raises IndexError."""
        if not 0 <= index < self.chunks:
            raise IndexError(f"chunk {index} of {self.chunks}")
        return min(self.chunk_bytes, self.size_bytes - index * self.chunk_bytes)


def manifest_of(leaves: Sequence[Digest], *, size_bytes: int, chunk_bytes: int) -> Manifest:
    """The manifest of a blob whose leaves are known."""
    return Manifest(
        root=merkle_root_of_digests(leaves), size_bytes=size_bytes, chunk_bytes=chunk_bytes
    )


def is_acceptable(manifest: Manifest) -> bool:
    """Whether the blob is within the bound on leaves."""
    return manifest.chunks <= LEAVES_MAX


def chunk_bytes_for(size_bytes: int) -> int | None:
    """The chunk size that a blob of this size gets, or None when it is too large for any."""
    chunk_bytes = CHUNK_BYTES
    while chunk_bytes <= CHUNK_BYTES_MAX:
        if div_ceil(size_bytes, chunk_bytes) <= LEAVES_MAX:
            return chunk_bytes
        chunk_bytes *= 2
    return None


def split_leaves(manifest: Manifest, data: bytes) -> tuple[Digest, ...] | None:
    """The leaves in a raw message, or None where they are not the manifest's."""
    if len(data) != manifest.chunks * DIGEST_BYTES:
        return None
    leaves = tuple(
        Digest(data[start : start + DIGEST_BYTES]) for start in range(0, len(data), DIGEST_BYTES)
    )
    return leaves if merkle_root_of_digests(leaves) == manifest.root else None


def chunk_leaves(data: bytes | memoryview, chunk_bytes: int) -> list[Digest]:
    """Leaves of consecutive chunks; `data` starts at a chunk's border."""
    view = memoryview(data)
    return [leaf_digest(view[i : i + chunk_bytes]) for i in range(0, len(view), chunk_bytes)]


class Obligation(Value, frozen=True, tag="obligation"):
    """A blob that a provider holds for a consumer on a channel, until an epoch."""

    blob: BlobField
    channel: ChannelField
    provider: AccountField
    consumer: AccountField
    size_bytes: CountField
    until_epoch: CountField
    """Owed in receipts of epochs below this one."""
    name: Annotated[str, Meta(max_length=256)] = ""
    """The consumer's own word for it; not committed to."""


def obligations_root(obligations: Iterable[Obligation]) -> Digest:
    """Merkle root over (blob, size, until_epoch), by blob upwards."""
    ordered = sorted(obligations, key=lambda held: held.blob)
    return merkle_root([obligation_leaf(held) for held in ordered])


def obligation_leaf(held: Obligation) -> bytes:
    """What a receipt's obligations root commits to, for one blob."""
    return encode((held.blob, held.size_bytes, held.until_epoch))


class Owed(Value, frozen=True):
    """Work that a broken transfer left unpaid: at most one window."""

    bytes_put: CountField = 0
    bytes_get: CountField = 0
    mib_epochs: CountField = 0


class Find(Value, frozen=True, tag="find"):
    """Do you hold this blob, and at what price?"""

    blob: BlobField


class Found(Value, frozen=True, tag="found"):
    """I do; the price is the ad's."""

    manifest: Manifest
    ad: CapacityAd


class PutOpen(Value, frozen=True, tag="put"):
    """Store this blob for so many epochs; paid on my channel."""

    channel: ChannelField
    manifest: Manifest
    epochs: Annotated[int, Meta(ge=1, le=EPOCHS_MAX)]
    window_bytes: WindowField
    receipt: ServiceReceipt | None
    """The newest that I hold with both signatures."""


class GetOpen(Value, frozen=True, tag="get"):
    """Send this blob from a chunk onwards; paid on my channel."""

    channel: ChannelField
    blob: BlobField
    from_chunk: CountField
    window_bytes: WindowField
    leaves: bool
    """Whether to send the list of leaves first."""
    receipt: ServiceReceipt | None


class Opened(Value, frozen=True, tag="opened"):
    """Go on, at this ad's price. The smaller of both window sizes holds."""

    ad: CapacityAd
    manifest: Manifest
    epoch: HeightField
    """The height that the provider works on."""
    window_bytes: WindowField
    receipt: ServiceReceipt | None
    """The newest that the provider holds."""
    obligations_root: DigestField
    """Of what the provider holds on this channel in that epoch; where it differs, use another."""
    owed: Owed
    """To be paid for with the first window."""


class Pay(Value, frozen=True, tag="pay"):
    """The last window, signed for by the consumer."""

    receipt: ServiceReceipt


class Paid(Value, frozen=True, tag="paid"):
    """The same receipt with the provider's signature; the next window may move."""

    receipt: ServiceReceipt


class Refused(Value, frozen=True, tag="refused"):
    """No, and why."""

    reason: Reason
    detail: Annotated[str, Meta(max_length=512)] = ""
    epoch: HeightField | None = None
    """With WRONG_EPOCH: the one to sign for."""


class Renew(Value, frozen=True, tag="renew"):
    """A provider asks to date its newest receipt anew: it was too late to be settled."""

    ad: CapacityAd
    receipt: ServiceReceipt
    epoch: HeightField


BlobMessage = Find | Found | PutOpen | GetOpen | Opened | Pay | Paid | Refused | Renew

BlobRequest = Find | PutOpen | GetOpen | Renew

"""What a party remembers of its channels: the newest receipts, and the blobs that are owed."""

from collections.abc import Iterator
from typing import Final

from p2p.model.blob import Obligation, obligation_leaf
from p2p.model.receipt import ServiceReceipt
from p2p.primitives.codec import Value, decode
from p2p.primitives.digests import EMPTY_ROOT, leaf_digest, merkle_root_of_digests
from p2p.primitives.units import KIB, BlobId, ChannelId, Digest

RECORD_BYTES_MAX: Final = 4 * KIB
OBLIGATION_BYTES_MAX: Final = 2 * KIB


class ChannelRecord(Value, frozen=True, tag="channel_record"):
    """The newest of one channel, as it lies on disk under the channel's id."""

    receipt: ServiceReceipt | None = None
    """Signed by both: what the parties agree on."""
    promise: ServiceReceipt | None = None
    """Consumer: signed by us, and not known to be counter-signed. Its work is credit."""
    pending: Obligation | None = None
    """Consumer: the blob that the promise adds."""


NO_RECORD: Final = ChannelRecord()


def decode_record(data: bytes) -> ChannelRecord:
    """A record from our own disk. Raises Malformed."""
    return decode(data, ChannelRecord, bytes_max=RECORD_BYTES_MAX)


def decode_obligation(data: bytes) -> Obligation:
    """An obligation from our own disk. Raises Malformed."""
    return decode(data, Obligation, bytes_max=OBLIGATION_BYTES_MAX)


def obligation_key(held: Obligation) -> bytes:
    """Where an obligation lies in its table: by channel, then by blob."""
    return held.channel + held.blob


class _Held:
    """The blobs of one channel, with the digests that their root is made of."""

    __slots__ = ("blobs", "leaves", "root")

    def __init__(self) -> None:
        self.blobs: dict[BlobId, Obligation] = {}
        self.leaves: dict[BlobId, Digest] = {}
        self.root: tuple[int, Digest] | None = None
        """The last one computed without an addition, and its epoch."""


class Obligations:
    """Blobs owed, by channel; mutable, changed by its machine alone."""

    def __init__(self) -> None:
        self._channels: dict[ChannelId, _Held] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Obligation]:
        for held in self._channels.values():
            yield from held.blobs.values()

    def of_channel(self, channel: ChannelId) -> tuple[Obligation, ...]:
        """What is owed on one channel, as recorded."""
        held = self._channels.get(channel)
        return () if held is None else tuple(held.blobs.values())

    def of_blob(self, blob: BlobId) -> tuple[Obligation, ...]:
        """What is owed of one blob, by channel as recorded."""
        return tuple(held.blobs[blob] for held in self._channels.values() if blob in held.blobs)

    def get(self, channel: ChannelId, blob: BlobId) -> Obligation | None:
        """One obligation."""
        held = self._channels.get(channel)
        return None if held is None else held.blobs.get(blob)

    def put(self, obligation: Obligation) -> None:
        """Add or replace one."""
        held = self._channels.setdefault(obligation.channel, _Held())
        self._count += obligation.blob not in held.blobs
        held.blobs[obligation.blob] = obligation
        held.leaves[obligation.blob] = leaf_digest(obligation_leaf(obligation))
        held.root = None

    def drop(self, channel: ChannelId, blob: BlobId) -> bool:
        """Remove one; whether it was there."""
        held = self._channels.get(channel)
        if held is None or held.blobs.pop(blob, None) is None:
            return False
        del held.leaves[blob]
        held.root = None
        self._count -= 1
        if not held.blobs:
            del self._channels[channel]
        return True

    def root(self, channel: ChannelId, epoch: int, adds: Obligation | None = None) -> Digest:
        """Root over what is owed in an epoch, by blob upwards; `adds` replaces its like."""
        held = self._channels.get(channel)
        if adds is None:
            if held is None:
                return EMPTY_ROOT
            if held.root is None or held.root[0] != epoch:
                held.root = (epoch, _root(held, epoch))
            return held.root[1]
        after = _Held()
        if held is not None:
            after.blobs, after.leaves = dict(held.blobs), dict(held.leaves)
        after.blobs[adds.blob] = adds
        after.leaves[adds.blob] = leaf_digest(obligation_leaf(adds))
        return _root(after, epoch)


def _root(held: _Held, epoch: int) -> Digest:
    owed = sorted(blob for blob, item in held.blobs.items() if item.until_epoch > epoch)
    return merkle_root_of_digests([held.leaves[blob] for blob in owed])

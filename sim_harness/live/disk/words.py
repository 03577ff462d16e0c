"""What the harness and the disk process tell one another: a MessagePack message a packet."""

from typing import Final

import msgspec

PACKET_BYTES_MAX: Final = 4 * 1024


class _Word(msgspec.Struct, frozen=True, tag=True):
    pass


class DiskSet(_Word, frozen=True):
    """How a node's disk is from now on."""

    node: int
    sync_us: int = 0
    """Added to every sync of any file."""
    full: bool = False
    """Whether whatever needs room is refused: ENOSPC."""
    cut_pid: int = 0
    """The process that dies with its power in its next sync; 0: none."""
    seed: int = 0
    """What a power cut takes is drawn from it."""


class Settled(_Word, frozen=True):
    """The node is about to start: whatever is there is durable."""

    node: int


class Probe(_Word, frozen=True):
    """Write a page to a file of the node through the mount and sync it: how long that takes."""

    node: int


DiskOrder = DiskSet | Settled | Probe


class Mounted(_Word, frozen=True):
    """The file system is there."""


class Refused(_Word, frozen=True):
    """It could not be mounted; a sentence."""

    why: str


class PowerCut(_Word, frozen=True):
    """What a node lost, in bytes over all of its files."""

    node: int
    buffered: int
    dropped: int
    torn: int


class Probed(_Word, frozen=True):
    """An order was carried out; what the disk of the node did so far."""

    node: int
    sync_us: int = 0
    """What the probe's sync took."""
    error: str = ""
    """Why it failed."""
    syncs: int = 0
    refused: int = 0
    """Writes and new names that found no room."""


DiskNews = Mounted | Refused | PowerCut | Probed

_orders: msgspec.msgpack.Decoder[DiskOrder] = msgspec.msgpack.Decoder(DiskOrder)
_news: msgspec.msgpack.Decoder[DiskNews] = msgspec.msgpack.Decoder(DiskNews)
_encoder = msgspec.msgpack.Encoder()


def pack(word: DiskOrder | DiskNews) -> bytes:
    """One packet."""
    return _encoder.encode(word)


def unpack_order(data: bytes) -> DiskOrder:
    """What the harness ordered. Raises msgspec.DecodeError."""
    return _orders.decode(data)


def unpack_news(data: bytes) -> DiskNews:
    """What the disk process tells. Raises msgspec.DecodeError."""
    return _news.decode(data)

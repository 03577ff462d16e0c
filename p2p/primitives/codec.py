"""Canonical MessagePack: one value, one byte string.

Values are `msgspec.Struct` types, encoded as arrays. msgspec checks schema and bounds while it
decodes, but accepts several spellings of one value (a long integer form, say), which would give one
value two digests. So `decode` encodes again what it decoded and rejects a difference.
"""

from collections.abc import Hashable
from functools import cache
from typing import TypeVar, cast

import msgspec

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Malformed(ValueError):
    """Bytes that are not the canonical encoding of a value of the expected type."""


class Value(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every value on the wire and on disk: immutable, encoded as an array."""


@cache
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[object]:
    return msgspec.msgpack.Decoder(kind, strict=True)


def encode(value: object) -> bytes:
    """The canonical bytes of a value."""
    return _encoder.encode(value)


def decode(data: bytes | memoryview, kind: type[T], *, bytes_max: int) -> T:
    """The value of type `kind` (a Struct or a union of them) that `data` encodes.

    Raises:
        Malformed: too long, not MessagePack, out of bounds, or not canonical.
    """
    if len(data) > bytes_max:
        raise Malformed(f"{len(data)} bytes, more than the {bytes_max} allowed")
    try:
        value = _decoder(cast("Hashable", kind)).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if _encoder.encode(value) != data:
        raise Malformed("not the canonical encoding of its value")
    return cast("T", value)

"""The product's values as JSON: the design's names, accounts as people know them, hex digests."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec

from p2p.api.values import Json, Row
from p2p.primitives.keys import account_text, peer_text
from p2p.primitives.units import AccountId, PeerId

_ACCOUNT_NAMES: Final = frozenset(
    {
        "account",
        "consumer",
        "offender",
        "proposer",
        "provider",
        "reporter",
        "sender",
        "to",
        "validator",
    }
)
"""Fields that hold an account id: the same 32 bytes elsewhere are a digest."""


def plain(value: object, name: str = "") -> Json:
    """The JSON of a value; `name` is the field that holds it. Raises TypeError."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return _bytes_text(value, name)
    if isinstance(value, msgspec.Struct):
        return row(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item, name.removesuffix("s")) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON")


def row(value: msgspec.Struct, **more: Json) -> Row:
    """A struct's fields by name, and more; a tag becomes `type`."""
    found: Row = {}
    tag = value.__struct_config__.tag
    if tag is not None:
        found["type"] = tag
    for field in msgspec.structs.fields(value):
        found[field.name] = plain(getattr(value, field.name), field.name)
    found.update(more)
    return found


def _bytes_text(value: bytes, name: str) -> str:
    if name in _ACCOUNT_NAMES and len(value) == 32:
        return account_text(AccountId(value))
    if name == "peer":
        return peer_text(PeerId(value))
    return value.hex()

"""What nft and tc say that they counted."""

import re
from typing import Final

import msgspec

_CLASS: Final = re.compile(
    r"^class htb (?P<name>\S+) .*\n\s*Sent (?P<bytes>\d+) bytes \d+ pkt \(dropped (?P<dropped>\d+)",
    re.MULTILINE,
)


class Counter(msgspec.Struct, frozen=True):
    """Of one rule, or several that count together."""

    packets: int = 0
    bytes: int = 0


class _Item(msgspec.Struct):
    counter: dict[str, int | str] | None = None


class _Listing(msgspec.Struct):
    nftables: list[_Item]


def counters(text: str) -> dict[str, Counter]:
    """By name, of `nft -j list counters table`. Raises msgspec.MsgspecError."""
    found = msgspec.json.decode(text, type=_Listing).nftables
    return {
        str(one.counter["name"]): Counter(int(one.counter["packets"]), int(one.counter["bytes"]))
        for one in found
        if one.counter is not None
    }


def class_bytes(text: str) -> dict[str, int]:
    """Bytes that left each class, of `tc -s class show`."""
    return {one["name"]: int(one["bytes"]) for one in _CLASS.finditer(text)}


def class_drops(text: str) -> dict[str, int]:
    """Packets that found no room in each class."""
    return {one["name"]: int(one["dropped"]) for one in _CLASS.finditer(text)}

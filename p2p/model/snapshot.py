"""Snapshots: a state in parts, each of which can be checked before the rest is there.

An offer names the digests of all parts; they join to the state root of a header, so whoever has
proven the header knows each part for true or false on arrival, from whomever it came. Accounts and
channels are cut by prefix of their keys (`p2p.primitives.merkle_map`); the few other values travel
in the offer as a state without accounts and channels, its frame.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p.model.fields import DigestField, HeightField
from p2p.model.ledger import (
    AccountEntry,
    ChannelEntry,
    State,
)
from p2p.primitives.codec import Value, encode
from p2p.primitives.digests import EMPTY_ROOT, leaf_digest, merkle_root_of_digests
from p2p.primitives.merkle_map import KEY_BITS, MerkleMap, parts_digest, prefix_parts
from p2p.primitives.units import Digest, Height

ENTRIES_MAX: Final = 2_000
"""Entries of a part: 400 KiB of channels at most, within an answer's bound."""
PARTS_MAX: Final = 8_192
"""Of each map: 16 million accounts, and 300 KiB of offer."""
OFFER_BYTES_MAX: Final = 900 * 1024
"""A state whose frame is larger (a million unbondings) is not offered."""


class SnapshotRequest(Value, frozen=True, tag="snapshot?"):
    """Which state above this height can be fetched from you?"""

    chain_id: DigestField
    above: HeightField


class Part(Value, frozen=True):
    """The entries below one prefix of this many bits, in key order after the part before."""

    bits: Annotated[int, Meta(ge=0, le=KEY_BITS)]
    digest: DigestField


class SnapshotOffer(Value, frozen=True, tag="snapshot"):
    """A state of which every part can be asked for."""

    frame: State
    """The state without accounts and channels."""
    accounts: Annotated[tuple[Part, ...], Meta(max_length=PARTS_MAX)]
    channels: Annotated[tuple[Part, ...], Meta(max_length=PARTS_MAX)]

    @property
    def height(self) -> Height:
        """Of the state."""
        return self.frame.height

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts; a part's number is its place here."""
        return (*self.accounts, *self.channels)

    def root(self) -> Digest | None:
        """The state root that the parts join to; None where they do not fit together."""
        if self.frame.accounts or self.frame.channels:
            return None
        accounts = parts_digest([(part.bits, part.digest) for part in self.accounts])
        channels = parts_digest([(part.bits, part.digest) for part in self.channels])
        if accounts is None or channels is None:
            return None
        return merkle_root_of_digests(self.frame.parts(accounts=accounts, channels=channels))


class PartRequest(Value, frozen=True, tag="part?"):
    """A part of the state of a height, by number."""

    height: HeightField
    number: Annotated[int, Meta(ge=0, le=2 * PARTS_MAX - 1)]


class PartEntries(Value, frozen=True, tag="part"):
    """The entries of a part, by key upwards; of one kind."""

    accounts: Annotated[tuple[AccountEntry, ...], Meta(max_length=ENTRIES_MAX)]
    channels: Annotated[tuple[ChannelEntry, ...], Meta(max_length=ENTRIES_MAX)]

    def is_part(self, offer: SnapshotOffer, number: int) -> bool:
        """Whether these are the entries of that part of the offer."""
        of_accounts = number < len(offer.accounts)
        if (self.channels if of_accounts else self.accounts) or number >= len(offer.parts):
            return False
        entries = self.accounts if of_accounts else self.channels
        keys = [entry.id for entry in entries]
        if keys != sorted(set(keys)):
            return False
        leaves: dict[bytes, Digest] = {entry.id: leaf_digest(encode(entry)) for entry in entries}
        return MerkleMap(leaves).digest == offer.parts[number].digest


def offer_of(state: State, *, entries_max: int = ENTRIES_MAX) -> SnapshotOffer:
    """The offer of a state."""
    maps = state.entry_maps
    return SnapshotOffer(
        frame=msgspec.structs.replace(state, accounts={}, channels={}),
        accounts=_parts(state.accounts, maps.accounts, entries_max),
        channels=_parts(state.channels, maps.channels, entries_max),
    )


def _parts(keys: Iterable[bytes], held: MerkleMap, entries_max: int) -> tuple[Part, ...]:
    cut = prefix_parts(list(keys), entries_max=entries_max)
    return tuple(
        Part(bits, held.part_digest(below[0], bits) if below else EMPTY_ROOT) for bits, below in cut
    )


def entries_of(state: State, number: int, *, entries_max: int = ENTRIES_MAX) -> PartEntries | None:
    """The entries of a part of a state's offer, or None when it has no such part."""
    accounts = list(prefix_parts(list(state.accounts), entries_max=entries_max))
    if number < len(accounts):
        keys = accounts[number][1]
        found = tuple(AccountEntry(key, state.accounts[key]) for key in keys)  # type: ignore[index,arg-type]
        return PartEntries(found, ())
    channels = list(prefix_parts(list(state.channels), entries_max=entries_max))
    if number - len(accounts) >= len(channels):
        return None
    keys = channels[number - len(accounts)][1]
    return PartEntries((), tuple(ChannelEntry(key, state.channels[key]) for key in keys))  # type: ignore[index,arg-type]


def assembled(offer: SnapshotOffer, parts: Mapping[int, PartEntries]) -> State:
    """The state of an offer whose every part was checked. Raises ValueError when it is not."""
    ordered = [parts[number] for number in range(len(offer.parts))]
    state = msgspec.structs.replace(
        offer.frame,
        accounts={entry.id: entry.account for part in ordered for entry in part.accounts},
        channels={entry.id: entry.channel for part in ordered for entry in part.channels},
    )
    if state.root != offer.root():
        raise ValueError("the parts do not make up the state that was offered")
    return state

"""What a node holds of an open height, compactly: neighbours fill each other's gaps by it.

Gossip may lose anything, and swallows what is sent again. So a node tells a neighbour which votes
it holds, and the neighbour answers with those that are missing.
"""

from typing import Annotated, Final

from msgspec import Meta

from p2p.model.fields import DigestField, HeightField, RoundField, ValidRoundField
from p2p.model.parameters import VALIDATORS_MAX
from p2p.model.vote import VoteKind
from p2p.primitives.codec import Value
from p2p.primitives.units import KIB

TALLIES_MAX: Final = 64
"""Tallies of a summary: a few rounds, both kinds, the values that split them."""
SUMMARY_BYTES_MAX: Final = 8 * KIB

Voters = Annotated[bytes, Meta(max_length=(VALIDATORS_MAX + 7) // 8)]
"""Bit i (from the low end, little-endian) is validator i of the height's set."""


class TallySummary(Value, frozen=True):
    """Who voted for one value (None is nil) and valid round, in one kind of one round."""

    round: RoundField
    kind: VoteKind
    header_digest: DigestField | None
    valid_round: ValidRoundField
    voters: Voters


class ProposalName(Value, frozen=True):
    """A proposal that is held."""

    round: RoundField
    header_digest: DigestField


class VoteSummary(Value, frozen=True, tag="summary"):
    """The votes and proposals that its sender holds of its open height's rounds of interest."""

    height: HeightField
    round: RoundField
    tallies: Annotated[tuple[TallySummary, ...], Meta(max_length=TALLIES_MAX)]
    proposals: Annotated[tuple[ProposalName, ...], Meta(max_length=TALLIES_MAX)]


def voters_of(bits: int) -> bytes:
    """The bytes of a set of validator indices, given as bits."""
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def bits_of(voters: bytes) -> int:
    """The bits of a set of validator indices."""
    return int.from_bytes(voters, "little")

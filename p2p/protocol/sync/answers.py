"""What to answer a neighbour that catches up: bounds, without the store."""

from collections.abc import Iterable

import msgspec

from p2p.model.block import CommittedBlock
from p2p.model.requests import BLOCKS_COUNT_MAX, RESPONSE_BYTES_MAX, BlocksRequest
from p2p.primitives.codec import encode
from p2p.primitives.units import Height

_ENVELOPE_BYTES = 64
"""What an answer takes besides its blocks."""


class HeightRange(msgspec.Struct, frozen=True):
    """`count` heights from `first` upwards; a count of 0 is none."""

    first: Height
    count: int


def answerable(request: BlocksRequest, *, lowest_height: Height, height: Height) -> HeightRange:
    """The part of a request that a store holding `lowest_height` to `height` can answer.

    It begins where the request does, or is empty: an answer with a gap would be of no use.
    """
    first = request.from_height
    if not lowest_height <= first <= height:
        return HeightRange(first, 0)
    return HeightRange(first, min(request.count, BLOCKS_COUNT_MAX, height - first + 1))


def fitting(
    blocks: Iterable[CommittedBlock], *, bytes_max: int = RESPONSE_BYTES_MAX
) -> tuple[CommittedBlock, ...]:
    """The blocks up to the first that would make an answer longer than `bytes_max`."""
    taken: list[CommittedBlock] = []
    room = bytes_max - _ENVELOPE_BYTES
    for block in blocks:
        room -= len(encode(block))
        if room < 0:
            break
        taken.append(block)
    return tuple(taken)

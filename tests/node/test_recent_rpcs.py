"""RPCs that come again are not parsed again, and what is remembered of them is bounded."""

import pytest

from p2p.model.rpc import Message, Rpc, encode_rpc
from p2p.node.recent_rpcs import RECENT_BYTES_MAX, RECENT_MAX, RecentRpcs
from p2p.primitives.codec import Malformed


def rpc_of(number: int, size: int = 20) -> bytes:
    return encode_rpc(Rpc(publish=(Message("topic", number.to_bytes(size)),)))


def test_a_copy_is_the_object_that_the_first_was_decoded_to() -> None:
    recent = RecentRpcs()
    first = recent.decode(rpc_of(1))
    assert recent.get(rpc_of(1)) is first
    assert recent.get(rpc_of(2)) is None


def test_the_oldest_makes_room_and_neither_large_ones_nor_mere_control_are_kept() -> None:
    recent = RecentRpcs()
    for number in range(RECENT_MAX + 1):
        recent.decode(rpc_of(number))
    assert recent.get(rpc_of(0)) is None
    assert recent.get(rpc_of(1)) is not None
    for data in (rpc_of(1, RECENT_BYTES_MAX), encode_rpc(Rpc(graft=("topic",)))):
        recent.decode(data)
        assert recent.get(data) is None


def test_what_is_malformed_is_refused_each_time() -> None:
    recent = RecentRpcs()
    for _ in range(2):
        with pytest.raises(Malformed):
            recent.decode(b"\xff")
        assert recent.get(b"\xff") is None

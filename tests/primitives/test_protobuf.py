import pytest
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from p2p.primitives.codec import Malformed
from p2p.primitives.protobuf import (
    bytes_field,
    key_of_bytes,
    key_of_number,
    number_field,
    read_fields,
    read_varint,
    varint,
    varint_size,
)

u64 = st.integers(0, 2**64 - 1)


@given(u64)
def test_a_varint_is_read_back_and_has_the_size_foretold(value: int) -> None:
    encoded = varint(value)
    assert read_varint(b"..." + encoded + b"rest", 3) == (value, 3 + len(encoded))
    assert varint_size(value) == len(encoded)


@given(st.integers(1, 2**64 - 1))
def test_google_protobuf_writes_and_reads_the_same_numbers(value: int) -> None:
    assert UInt64Value(value=value).SerializeToString() == number_field(1, value)
    assert UInt64Value.FromString(number_field(1, value)).value == value


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_number_out_of_range_is_our_mistake(value: int) -> None:
    with pytest.raises(ValueError, match="unsigned 64-bit"):
        varint(value)


def test_bits_above_the_64th_are_lost_as_protobuf_demands() -> None:
    assert read_varint(b"\xff" * 9 + b"\x7f", 0) == (2**64 - 1, 10)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 10, b"\xff" * 11 + b"\x00"])
def test_a_varint_that_does_not_end_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed, match="does not end"):
        read_varint(data, 0)


def test_fields_come_in_order_and_fixed_ones_are_left_out() -> None:
    data = (
        bytes_field(2, b"abc")
        + bytes([3 << 3 | 1]) + bytes(8)
        + number_field(1, 300)
        + bytes([4 << 3 | 5]) + bytes(4)
        + bytes_field(16, b"x" * 200)
    )  # fmt: skip
    assert read_fields(data, fields_max=5) == [
        (key_of_bytes(2), 0, b"abc"),
        (key_of_number(1), 300, b""),
        (key_of_bytes(16), 0, b"x" * 200),
    ]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x00\x00", "not the key"),
        (b"\x07", "not the key"),
        (varint(2**32) + b"\x00", "not the key"),
        (b"\x0b", "wire type 3"),
        (b"\x0c", "wire type 4"),
        (b"\x0e", "wire type 6"),
        (b"\x0a", "does not end"),
        (b"\x0a\x05abcd", "cut short"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut short"),
        (b"\x09" + bytes(7), "cut short"),
        (b"\x0d" + bytes(3), "cut short"),
        (b"\x08\x01" * 4, "more than 3 fields"),
        (b"\x09" + bytes(8) + b"\x08\x01" * 3, "more than 3 fields"),
    ],
)
def test_hostile_bytes_are_malformed(data: bytes, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        read_fields(data, fields_max=3)


@given(st.binary(max_size=300))
def test_reading_any_bytes_raises_nothing_but_malformed(data: bytes) -> None:
    try:
        fields = read_fields(data, fields_max=20)
    except Malformed:
        return
    assert len(fields) <= 20
    assert sum(len(value) for _, _, value in fields) <= len(data)

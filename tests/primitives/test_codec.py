"""One value, one byte string: every other spelling is refused."""

from typing import Annotated

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from p2p.primitives.codec import Malformed, Value, decode, encode


class Small(Value, frozen=True, tag="small"):
    number: Annotated[int, Meta(ge=0, le=2**53)]
    data: Annotated[bytes, Meta(max_length=4)]
    text: str = ""


class Nested(Value, frozen=True, tag="nested"):
    parts: Annotated[tuple[Small, ...], Meta(max_length=2)]
    flag: bool | None = None


Either = Small | Nested
EXAMPLE = Small(5, b"ab", "x")
BYTES = b"\x94\xa5small\x05\xc4\x02ab\xa1x"
NUMBERS = st.integers(0, 2**53)
SMALLS = st.builds(Small, NUMBERS, st.binary(max_size=4), st.text(max_size=40))
VALUES = st.one_of(
    SMALLS,
    st.builds(Nested, st.lists(SMALLS, max_size=2).map(tuple), st.none() | st.booleans()),
)


def read(data: bytes | memoryview) -> Small | Nested:
    value: Small | Nested = decode(data, Either, bytes_max=1_000)  # type: ignore[arg-type]
    return value


def test_a_value_is_an_array_that_starts_with_its_tag() -> None:
    assert encode(EXAMPLE) == BYTES
    assert read(BYTES) == EXAMPLE
    assert read(memoryview(BYTES)) == EXAMPLE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x94\xa5small\xcc\x05\xc4\x02ab\xa1x", id="integer in 8 bits too many"),
        pytest.param(b"\x94\xa5small\xd3" + bytes(7) + b"\x05\xc4\x02ab\xa1x", id="signed"),
        pytest.param(b"\x94\xa5small\x05\xc5\x00\x02ab\xa1x", id="long binary head"),
        pytest.param(b"\x94\xa5small\x05\xc4\x02ab\xd9\x01x", id="long text head"),
        pytest.param(b"\xdc\x00\x04\xa5small\x05\xc4\x02ab\xa1x", id="long array head"),
        pytest.param(b"\x94\xd9\x05small\x05\xc4\x02ab\xa1x", id="long tag head"),
        pytest.param(b"\x93\xa5small\x05\xc4\x02ab", id="default left out"),
        pytest.param(b"\x95\xa5small\x05\xc4\x02ab\xa1x\x00", id="a field more"),
        pytest.param(BYTES + b"\x00", id="a byte more"),
        pytest.param(BYTES[:-1], id="a byte less"),
        pytest.param(b"\x94\xa5other\x05\xc4\x02ab\xa1x", id="unknown tag"),
        pytest.param(b"\x94\xa5small\xff\xc4\x02ab\xa1x", id="below its bound"),
        pytest.param(b"\x94\xa5small\x05\xc4\x05abcde\xa1x", id="above its length"),
        pytest.param(b"\x94\xa5small\x05\xa2ab\xa1x", id="text for bytes"),
        pytest.param(b"\x94\xa5small\x05\xc4\x02ab\xa1\xff", id="not UTF-8"),
        pytest.param(b"\x94\xa5small\xcb@\x14" + bytes(6) + b"\xc4\x02ab\xa1x", id="float"),
        pytest.param(b"\x84\xa4type\xa5small\xa6number\x05\xa4data\xc4\x00\xa4text\xa0", id="map"),
        pytest.param(b"\x91" * 5_00, id="deep"),
    ],
)
def test_any_other_spelling_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


def test_depth_without_end_is_malformed_not_a_crash() -> None:
    with pytest.raises(Malformed):
        decode(b"\x91" * 100_000, Small, bytes_max=200_000)


def test_size_is_refused_before_anything_is_read() -> None:
    with pytest.raises(Malformed, match="14 bytes, more than the 13 allowed"):
        decode(BYTES, Small, bytes_max=13)
    assert decode(BYTES, Small, bytes_max=14) == EXAMPLE


@given(VALUES)
def test_values_survive_their_bytes(value: Small | Nested) -> None:
    assert read(encode(value)) == value


@given(VALUES)
def test_the_bytes_are_what_another_implementation_writes(value: Small | Nested) -> None:
    plain = msgpack.unpackb(encode(value))
    assert msgpack.packb(plain) == encode(value)


@given(VALUES, st.data())
def test_changed_bytes_are_malformed_or_another_value(
    value: Small | Nested, data: st.DataObject
) -> None:
    """No two byte strings are one value."""
    good = encode(value)
    place = data.draw(st.integers(0, len(good) - 1))
    cut = data.draw(st.integers(0, 3))
    changed = good[:place] + data.draw(st.binary(max_size=4)) + good[place + cut :]
    try:
        other = read(changed)
    except Malformed:
        return
    assert encode(other) == changed
    assert (other == value) == (changed == good)


@given(st.binary(max_size=60))
def test_any_bytes_are_malformed_or_canonical(data: bytes) -> None:
    try:
        value = read(data)
    except Malformed:
        return
    assert encode(value) == data

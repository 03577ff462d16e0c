"""The few words of Protocol Buffers' wire format that the libp2p pubsub protocol needs.

A message is a run of fields; a field is a key, `number << 3 | wire type`, and a value: a varint
(type 0), 8 bytes (1), a length and that many bytes (2), or 4 bytes (5). `read_fields` takes one
message apart, in time linear in its length, and leaves the meaning of keys to its caller: unknown
ones are skipped there, as are known numbers under another wire type. Groups (3 and 4) are refused.

Source: protobuf.dev, "Encoding".
"""

from typing import Final

from p2p.primitives.codec import Malformed

VARINT_BYTES_MAX: Final = 10
"""64 bits at 7 a byte."""
KEY_MAX: Final = 2**32 - 1
"""Field numbers have at most 29 bits."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64: Final = 2**64 - 1
_SMALL: Final = tuple(bytes([value]) for value in range(128))

Field = tuple[int, int, bytes]
"""Key, number (0 for a field of bytes), bytes (empty for a number)."""


def key_of_number(number: int) -> int:
    """The key of a varint field."""
    return number << 3 | _VARINT


def key_of_bytes(number: int) -> int:
    """The key of a string, bytes or nested message field."""
    return number << 3 | _BYTES


def varint(value: int) -> bytes:
    """A number in [0, 2**64) as a varint. Raises ValueError."""
    if 0 <= value < 128:
        return _SMALL[value]
    if not 0 <= value <= _U64:
        raise ValueError(f"{value} does not fit an unsigned 64-bit integer")
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def varint_size(value: int) -> int:
    """How many bytes `varint` makes of a number."""
    return max(1, (value.bit_length() + 6) // 7)


def number_field(number: int, value: int) -> bytes:
    """A field that holds a number."""
    return varint(key_of_number(number)) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field that holds a string, bytes or a nested message."""
    return varint(key_of_bytes(number)) + varint(len(value)) + value


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """The number that starts at `start`, and where it ends; bits above the 64th are lost.

    Raises:
        Malformed: it does not end within ten bytes, or within the data.
    """
    value = shift = 0
    for position in range(start, min(start + VARINT_BYTES_MAX, len(data))):
        byte = data[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & _U64, position + 1
        shift += 7
    raise Malformed("a varint does not end")


def read_fields(data: bytes, *, fields_max: int) -> list[Field]:
    """The fields of a message in their order; those of fixed size are checked and left out.

    Raises:
        Malformed: cut short, a bad key, a group, or more than `fields_max` fields.
    """
    fields: list[Field] = []
    position, end, left = 0, len(data), fields_max
    while position < end:
        if not left:
            raise Malformed(f"more than {fields_max} fields in one message")
        left -= 1
        key = data[position]
        position += 1
        if key >= 128:
            key, position = read_varint(data, position - 1)
        if not 8 <= key <= KEY_MAX:
            raise Malformed(f"{key} is not the key of a field")
        kind = key & 7
        if kind == _BYTES:
            if position < end and data[position] < 128:
                size = data[position]
                position += 1
            else:
                size, position = read_varint(data, position)
            start, position = position, position + size
            fields.append((key, 0, data[start:position]))
        elif kind == _VARINT:
            value, position = read_varint(data, position)
            fields.append((key, value, b""))
        elif kind == _FIXED64:
            position += 8
        elif kind == _FIXED32:
            position += 4
        else:
            raise Malformed(f"wire type {kind} is not in use")
        if position > end:
            raise Malformed("a field is cut short")
    return fields

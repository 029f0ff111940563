"""The wire format of protocol buffers, read field by field without a schema.

Costs one step for each field; nothing is copied, and what is nested is only opened when asked.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mstore.errors import CorruptError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types; the two of groups are long gone and refused."""

_SIZES = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT = 10
_MORE = 0x80
_WORD = (1 << 64) - 1


class Field(NamedTuple):
    """One field: a varint is in ``value``, bytes of every other wire type are in ``content``."""

    number: int
    wire: int
    value: int
    content: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message in their order; CorruptError where it is none."""
    place, empty = 0, message[:0]
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise CorruptError("a field with number 0")
        if wire == VARINT:
            value, place = _varint(message, place)
            yield Field(number, wire, value, empty)
            continue
        if wire == LENGTH:
            size, place = _varint(message, place)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise CorruptError(f"a field of wire type {wire}")
        if size > len(message) - place:
            raise CorruptError("a field that is longer than its message")
        yield Field(number, wire, 0, message[place : place + size])
        place += size


def signed(value: int) -> int:
    """A varint as int64 has it, and int32 of a negative number too."""
    return value - (1 << 64) if value >> 63 else value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for at in range(_MAX_VARINT):
        if place + at >= len(message):
            raise CorruptError("a number that is cut off")
        byte = message[place + at]
        value |= (byte & ~_MORE) << 7 * at
        if byte < _MORE:
            return value & _WORD, place + at + 1
    raise CorruptError("a number of more than ten bytes")

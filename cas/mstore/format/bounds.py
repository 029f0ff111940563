"""Limits on msgpack that is not decoded yet, so that no few bytes become many objects.

``check_value`` walks the structure without building anything. It is used where a schema allows
any JSON value, ``check_map`` where it allows a map of one type; everywhere else the types
themselves bound what decoding builds.
"""

import struct

import msgspec

from mstore.errors import CorruptError

MAX_DEPTH = 16
"""How deep arrays and maps may stand in one another (SPEC §11)."""
MAX_VALUES = 100_000
"""How many values one field of free JSON may hold, keys included (SPEC §11)."""

CANONICAL_NAN = 0x7FF8_0000_0000_0000
_EXPONENT = 0x7FF0_0000_0000_0000
_SIGN = 1 << 63

# First byte -> bytes of the number that follows it.
_NUMBERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xCB: 8}
_STRINGS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}
_SHORT_STRINGS = range(0xA0, 0xC0)
_SHORT_ARRAYS = range(0x90, 0xA0)
_SHORT_MAPS = range(0x80, 0x90)
_FLOAT64 = 0xCB
_FLOAT32 = b"\xca"
# Values that are one byte: the small integers, nil, false, true.
_BARE = frozenset((*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3))

_SHORT = 4096
"""Bytes of a map that is decoded to see what is in it: it cannot grow beyond any bound."""
_decode_flat = msgspec.msgpack.Decoder(dict[str, bool | int | float | str | None]).decode


def check_value(view: memoryview, where: str) -> None:
    """CorruptError unless ``view`` starts with one bounded msgpack value that is JSON.

    Refused: more than ``MAX_DEPTH`` levels, more than ``MAX_VALUES`` values, binary, extension
    types, keys that are not strings, and any NaN but the canonical one. Costs about 0.3 µs per
    value; strings are stepped over. A short map of text and numbers, as most are, costs 1 µs.
    """
    if len(view) <= _SHORT and _is_flat(view):
        return
    remaining = [1]
    is_map = [False]
    position = count = 0
    try:
        while remaining:
            if not remaining[-1]:
                remaining.pop()
                is_map.pop()
                continue
            must_be_key = is_map[-1] and remaining[-1] % 2 == 0
            remaining[-1] -= 1
            count += 1
            position, children, opens_map = _step(view, position, where, must_be_key=must_be_key)
            if children >= 0:
                remaining.append(children)
                is_map.append(opens_map)
            if len(remaining) > MAX_DEPTH + 1 or count > MAX_VALUES:
                message = f"{where}: more than {MAX_DEPTH} levels or {MAX_VALUES} values"
                raise CorruptError(message)
    except IndexError:
        message = f"{where}: ends in the middle of a value"
        raise CorruptError(message) from None


def _is_flat(view: memoryview) -> bool:
    """Whether ``view`` is a map of text and numbers, none of them to be looked at closely."""
    if _FLOAT32 in bytes(view):
        return False
    try:
        values = _decode_flat(view).values()
    except (msgspec.DecodeError, UnicodeError):
        return False
    return all(value == value for value in values)  # noqa: PLR0124 - what is not is NaN


def check_map(view: memoryview, where: str) -> None:
    """CorruptError when ``view`` starts with a map of more than ``MAX_VALUES`` values.

    They are counted as by ``check_value``; what they are is left to the decoder's type, which has
    to know of each. Costs the same for any map.
    """
    try:
        _, children, _ = _step(view, 0, where, must_be_key=False)
    except IndexError:
        message = f"{where}: ends in the middle of a value"
        raise CorruptError(message) from None
    if children >= MAX_VALUES:
        message = f"{where}: more than {MAX_VALUES} values"
        raise CorruptError(message)


def _step(
    view: memoryview, position: int, where: str, *, must_be_key: bool
) -> tuple[int, int, bool]:
    """The position after a value's head, how many children it has (-1: none can), is it a map."""
    first = view[position]
    position += 1
    if first in _SHORT_STRINGS:
        return position + (first & 0x1F), -1, False
    if first in _STRINGS:
        width = _STRINGS[first]
        return position + width + _number(view, position, width), -1, False
    if must_be_key:
        message = f"{where}: a map key that is not a string"
        raise CorruptError(message)
    if first in _BARE:
        return position, -1, False
    if first in _NUMBERS:
        if first == _FLOAT64:
            _check_float(_number(view, position, 8), where)
        return position + _NUMBERS[first], -1, False
    return _container(view, first, position, where)


def _container(view: memoryview, first: int, position: int, where: str) -> tuple[int, int, bool]:
    if first in _SHORT_MAPS:
        return position, 2 * (first & 0x0F), True
    if first in _SHORT_ARRAYS:
        return position, first & 0x0F, False
    if first in _MAPS:
        width = _MAPS[first]
        return position + width, 2 * _number(view, position, width), True
    if first in _ARRAYS:
        width = _ARRAYS[first]
        return position + width, _number(view, position, width), False
    message = f"{where}: msgpack type 0x{first:02x} is not JSON"
    raise CorruptError(message)


def _number(view: memoryview, position: int, width: int) -> int:
    if position + width > len(view):
        raise IndexError
    return int.from_bytes(view[position : position + width], "big")


def _check_float(bits: int, where: str) -> None:
    if (bits & ~_SIGN) > _EXPONENT and bits != CANONICAL_NAN:
        message = f"{where}: a NaN other than {CANONICAL_NAN:016x}"
        raise CorruptError(message)


def is_canonical_float(value: float) -> bool:
    """Whether ``value`` is a number, an infinity, or the one NaN of SPEC §6."""
    if value == value:  # noqa: PLR0124 - the test for NaN that needs no import
        return True
    return struct.pack(">d", value) == CANONICAL_NAN.to_bytes(8, "big")

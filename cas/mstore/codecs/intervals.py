"""What the leading bits of numbers say of the numbers: between which they lie (SPEC §8.7).

Numbers are little-endian bit patterns of floats, signed or unsigned integers. Of a negative float
more bits mean less, of every other number more.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mstore.codecs._elements import UNSIGNED, Elements, elements

INFINITY: Mapping[str, int] = {
    "F16": 0x7C00,
    "BF16": 0x7F80,
    "F32": 0x7F80_0000,
    "C64": 0x7F80_0000,
    "F64": 0x7FF0_0000_0000_0000,
}
"""The dtypes that are made of floats, and the bit pattern of infinity among these."""

_TILE = 1 << 18
_BYTE = 8


def trim(content: memoryview, width: int, bits: int) -> None:
    """Leave ``bits`` leading bits of each number of ``width`` bytes; the others become zero."""
    below = _BYTE * width - bits
    numbers, _ = elements(content, width)
    mask = ~((_one(numbers) << _like(numbers, below)) - _one(numbers))
    for tile in _tiles(numbers):
        np.bitwise_and(tile, mask, out=tile)


def to_middle(content: memoryview, width: int, bits: int, dtype: str) -> None:
    """Make of leading bits, with zeros below, numbers about the middle of where they may lie.

    Infinity and what is no number stay so. Where leading bits leave it open whether a number is
    finite, it is taken for the smallest that it may be.
    """
    below = _BYTE * width - bits
    if not below:
        return
    numbers, _ = elements(content, width)
    half = _one(numbers) << _like(numbers, below - 1)
    infinity = INFINITY.get(dtype)
    scratch = np.empty(_TILE // width, numbers.dtype)
    for tile in _tiles(numbers):
        np.bitwise_or(tile, half, out=tile)
        if infinity is not None:
            magnitudes = np.bitwise_and(tile, _magnitude(numbers), out=scratch[: len(tile)])
            if magnitudes.max() >= infinity:
                tile[magnitudes >= _like(numbers, infinity)] ^= half


def bounds(content: memoryview, width: int, bits: int, dtype: str) -> tuple[memoryview, memoryview]:
    """The least and the greatest numbers that begin with these leading bits, zeros below.

    Where a number may be infinite or none at all, one of the two is infinite; where it is none
    for certain, both are none.
    """
    least, _ = elements(content, width)
    below = _BYTE * width - bits
    if not below:
        return _bytes(least.copy()), _bytes(least.copy())
    half = _one(least) << _like(least, below - 1)
    greatest = least | (half | half - _one(least))
    infinity = INFINITY.get(dtype)
    if infinity is None:
        return _bytes(least.copy()), _bytes(greatest)
    far = _like(least, infinity)
    sign = ~_magnitude(least)
    greatest = np.where((greatest & ~sign) > far, (least & sign) | far, greatest)
    greatest = np.where((least & ~sign) > far, least, greatest)
    is_negative = (least & sign) != 0
    low, high = np.where(is_negative, greatest, least), np.where(is_negative, least, greatest)
    return _bytes(low), _bytes(high)


def _bytes(numbers: Elements) -> memoryview:
    return numbers.view(np.uint8).data


def _tiles(numbers: Elements) -> list[Elements]:
    count = _TILE // numbers.itemsize
    return [numbers[start : start + count] for start in range(0, len(numbers), count)]


def _magnitude(numbers: Elements) -> Any:  # noqa: ANN401 - a NumPy scalar
    """All bits but the sign."""
    return _like(numbers, (1 << (_BYTE * numbers.itemsize - 1)) - 1)


def _one(numbers: Elements) -> Any:  # noqa: ANN401 - a NumPy scalar
    return _like(numbers, 1)


def _like(numbers: Elements, value: int) -> Any:  # noqa: ANN401 - a NumPy scalar
    return UNSIGNED[numbers.itemsize].type(value)

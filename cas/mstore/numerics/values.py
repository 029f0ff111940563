"""The numbers of a tensor as float64, whatever its dtype; in NumPy, by integer arithmetic.

Every float of 8 to 64 bits is exact. Integers beyond 2^53 are rounded to the nearest float64; of
complex numbers the real and imaginary parts stand one after another. Elements narrower than a byte
are no numbers here.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mstore.codecs.intervals import INFINITY
from mstore.errors import UnsupportedError
from mstore.format.dtypes import DTYPE_BITS
from mstore.ids import Buffer

Array = npt.NDArray[Any]

_NATIVE = {
    "BOOL": "u1",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<f4",
}
_ALL_BUT_SIGN = 127
PARTS = {"C64": 2}
"""Floats of one element, where it is not one."""


class _Small(NamedTuple):
    """A float of 8 bits: its mantissa bits, its bias, and whether it is one of the two odd kinds.

    ``ieee`` ones have infinities; those ``without_zero`` have no negative zero but one NaN there.
    """

    mantissa: int
    bias: int
    ieee: bool = False
    without_zero: bool = False


_SMALL = {
    "F8_E4M3": _Small(3, 7),
    "F8_E5M2": _Small(2, 15, ieee=True),
    "F8_E4M3FNUZ": _Small(3, 8, without_zero=True),
    "F8_E5M2FNUZ": _Small(2, 16, without_zero=True),
}


def is_numeric(dtype: str) -> bool:
    """Whether ``values`` knows the numbers of a dtype."""
    return dtype in _NATIVE or dtype in _SMALL or dtype in ("BF16", "F8_E8M0")


def width_of(dtype: str) -> int:
    """Bytes of one element of a numeric dtype."""
    return DTYPE_BITS[dtype] // 8


def values(dtype: str, content: Buffer) -> Array:
    """The numbers in the bytes of a tensor, as float64; UnsupportedError for other dtypes."""
    if dtype == "BF16":
        wide = np.frombuffer(content, "<u2").astype(np.uint32)
        np.left_shift(wide, 16, out=wide)
        return _as_float64(wide.view(np.float32))
    if dtype in _NATIVE:
        return _as_float64(np.frombuffer(content, _NATIVE[dtype]))
    if is_numeric(dtype):
        return _table(dtype)[np.frombuffer(content, np.uint8)]
    raise UnsupportedError(f"dtype '{dtype}' has no numbers that can be compared")


def leading_values(dtype: str, leading: Buffer) -> Array:
    """About the numbers of which only the leading 16 bits are given, or all 8 in the low byte.

    These are the values of a sketch (``mstore.ops.sketches``); what is below them counts as zero.
    """
    words = np.frombuffer(leading, "<u2")
    if dtype in ("BF16", "F32", "C64"):
        return _as_float64((words.astype(np.uint32) << np.uint32(16)).view(np.float32))
    if dtype == "F64":
        return (words.astype(np.uint64) << np.uint64(48)).view(np.float64)
    if dtype == "F16":
        return _as_float64(words.view(np.float16))
    if dtype in _NATIVE and np.dtype(_NATIVE[dtype]).itemsize > 1:
        signed = np.dtype(_NATIVE[dtype]).kind == "i"
        return _as_float64(words.view(np.int16 if signed else np.uint16))
    return values(dtype, words.astype(np.uint8).tobytes())


def error_bounds(dtype: str, middle: Array, bits: int) -> Array:
    """How far finite numbers may be from the middles that ``bits`` of their leading bits give.

    ``middle`` holds their bit patterns as ``intervals.to_middle`` leaves them.
    """
    width = middle.itemsize
    kind = middle.dtype.type
    below = kind((1 << (8 * width - bits)) - 1)
    sign, far = kind(1 << (8 * width - 1)), kind(INFINITY[dtype])
    low, high = middle & ~below, middle | below
    # The greatest may be no number any more: then the largest that is one bounds what is finite.
    high = np.where((high & ~sign) >= far, (high & sign) | (far - kind(1)), high)
    exact, *ends = (values(dtype, np.ascontiguousarray(end).data) for end in (middle, low, high))
    with np.errstate(invalid="ignore"):
        found = np.maximum(*(np.abs(end - exact) for end in ends))
    known: Array = np.where(np.isfinite(exact), found, 0.0)
    return known


def _as_float64(numbers: Array) -> Array:
    # A signalling NaN becomes a quiet one, which is no news.
    with np.errstate(invalid="ignore"):
        found: Array = numbers.astype(np.float64)
    return found


@cache
def _table(dtype: str) -> Array:
    """The value of each of the 256 bytes."""
    codes = np.arange(256)
    if dtype == "F8_E8M0":
        powers: Array = np.ldexp(1.0, codes - 127)
        powers[255] = np.nan
        return powers
    mantissa, bias, ieee, without_zero = _SMALL[dtype]
    low, exponent = codes & ((1 << mantissa) - 1), (codes & _ALL_BUT_SIGN) >> mantissa
    # Those with the exponent 0 are subnormal: no leading one, and the scale of exponent 1.
    digits = low + ((exponent > 0) << mantissa)
    found: Array = np.ldexp(digits.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa)
    found[codes > _ALL_BUT_SIGN] *= -1
    top = exponent == _ALL_BUT_SIGN >> mantissa
    if ieee:
        found[top] = np.where(low[top] > 0, np.nan, np.copysign(np.inf, found[top]))
    elif without_zero:
        found[128] = np.nan
    else:
        found[(codes & _ALL_BUT_SIGN) == _ALL_BUT_SIGN] = np.nan
    return found

"""How the numbers of a tensor are spread: one pass over its bytes, in memory that does not grow.

1. Every number is counted under its leading 16 bits as a float32: its sign, its exponent and seven
   bits of its fraction. From these 65,536 counts bins are cut when all has been seen, so that
   nothing has to be read twice to learn where the bins lie. A number is off by at most 1/256 of
   itself then; least, greatest, mean and deviation are exact.
2. Bytes may be given in pieces of whole elements; how they are cut changes no count.
"""

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mstore.ids import Buffer

Array = npt.NDArray[Any]

BINS = 40
"""Bins of a histogram."""
MIDDLE = 0.999
"""The share of the numbers that the bins span; the few further out are counted at the ends."""
_CELLS = 1 << 16
_BLOCK = 1 << 16
"""Elements worked on at once, so that what is made of them stays near the processor."""
_INFINITE = 0x7F80
"""The leading 16 bits of infinity; with any higher ones but the sign, a float is none."""

_E4M3_NAN = 0x7F

_PLAIN = {
    "BOOL": "u1",
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
_WIDENED = {"BF16": "<u2", "F8_E5M2": "u1", "F8_E4M3": "u1"}
READABLE = frozenset({*_PLAIN, *_WIDENED})
"""The dtypes whose numbers can be counted."""


class Spread(NamedTuple):
    """What was found in a tensor.

    ``elements`` counts all; the figures after ``infinities`` are of the finite ones and None
    where there is none. ``bins`` counts those in equal steps from ``low`` to ``high``.
    """

    elements: int
    zeros: int
    nans: int
    infinities: int
    least: float | None
    greatest: float | None
    mean: float | None
    deviation: float | None
    low: float
    high: float
    bins: tuple[int, ...]


class Tally:
    """Counts the elements of one tensor; ``dtype`` is one of ``READABLE``."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._cells = np.zeros(_CELLS, np.int64)
        self._finite = 0
        self._zeros = 0
        self._mean = 0.0
        self._squares = 0.0
        self._least = np.inf
        self._greatest = -np.inf

    def add(self, content: Buffer) -> None:
        """Count some whole elements."""
        numbers = _numbers(self._dtype, content)
        self._cells += np.bincount(_leading(numbers), minlength=_CELLS)
        self._zeros += int(numbers.size - np.count_nonzero(numbers))
        for start in range(0, numbers.size, _BLOCK):
            self._add_moments(numbers[start : start + _BLOCK])

    def _add_moments(self, numbers: Array) -> None:
        """Mean and deviation of two sets joined (Chan, Golub and LeVeque, 1983)."""
        finite = numbers
        if numbers.dtype.kind == "f":
            known = np.isfinite(numbers)
            finite = numbers if known.all() else numbers[known]
        if not finite.size:
            return
        self._least = min(self._least, float(finite.min()))
        self._greatest = max(self._greatest, float(finite.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(finite.mean(dtype=np.float64))
            apart = np.subtract(finite, mean, dtype=np.float64)
            squares = float(np.multiply(apart, apart, out=apart).sum())
            total = self._finite + finite.size
            away = mean - self._mean
            self._mean += away * finite.size / total
            self._squares += squares + away * away * self._finite * finite.size / total
        self._finite = total

    def spread(self) -> Spread:
        """What was found so far."""
        positive, negative = self._cells[: _CELLS // 2], self._cells[_CELLS // 2 :]
        nans = int(positive[_INFINITE + 1 :].sum() + negative[_INFINITE + 1 :].sum())
        count = int(self._cells.sum())
        infinities = count - nans - self._finite
        low, high, bins = _bins(positive, negative)
        known = self._finite > 0
        return Spread(
            elements=count,
            zeros=self._zeros,
            nans=nans,
            infinities=infinities,
            least=self._least if known else None,
            greatest=self._greatest if known else None,
            mean=self._mean if known else None,
            deviation=float(np.sqrt(self._squares / self._finite)) if known else None,
            low=low,
            high=high,
            bins=bins,
        )


def _leading(numbers: Array) -> Array:
    """The leading 16 bits of numbers as float32."""
    if sys.byteorder == "little" and numbers.dtype == np.float32:
        halves: Array = numbers.view(np.uint16)[1::2]
        return halves
    with np.errstate(over="ignore", invalid="ignore"):
        # A float64 beyond float32 is counted as infinite here, and exactly elsewhere.
        bits: Array = numbers.astype(np.float32).view(np.uint32) >> np.uint32(16)
    return bits


def _bins(positive: Array, negative: Array) -> tuple[float, float, tuple[int, ...]]:
    """Cut the counts of finite numbers into bins over their middle."""
    counts = np.concatenate([negative[:_INFINITE][::-1], positive[:_INFINITE]])
    total = int(counts.sum())
    if not total:
        return 0.0, 0.0, ()
    sizes = (np.arange(_INFINITE, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
    values = np.concatenate([-sizes[::-1], sizes])
    below = np.cumsum(counts)
    rest = total * (1 - MIDDLE) / 2
    low = float(values[np.searchsorted(below, rest, side="right")])
    high = float(values[min(int(np.searchsorted(below, total - rest)), counts.size - 1)])
    if low == high:
        return low, high, (total,)
    there = np.flatnonzero(counts)
    inside = np.clip(values[there], low, high)
    bins, _ = np.histogram(inside, BINS, (low, high), weights=counts[there])
    return low, high, tuple(int(number) for number in bins)


def _numbers(dtype: str, content: Buffer) -> Array:
    if dtype in _PLAIN:
        found: Array = np.frombuffer(content, _PLAIN[dtype])
        return found
    stored: Array = np.frombuffer(content, _WIDENED[dtype])
    if dtype == "BF16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "F8_E5M2":
        # It is the upper half of a float16.
        return (stored.astype(np.uint16) << np.uint16(8)).view(np.float16)
    numbers: Array = _E4M3[stored]
    return numbers


def _e4m3() -> Array:
    """The number of every byte of F8_E4M3: bias 7, no infinities, NaN at 0x7F and 0xFF."""
    codes = np.arange(256)
    exponent, fraction = (codes >> 3) & 15, codes & 7
    small = fraction * 2.0**-9
    large = (8 + fraction) * 2.0 ** (exponent - 10.0)
    size = np.where(exponent == 0, small, large)
    size[[_E4M3_NAN, _E4M3_NAN | 128]] = np.nan
    numbers: Array = np.where(codes >> 7, -size, size).astype(np.float32)
    return numbers


_E4M3 = _e4m3()

"""What changed between the numbers of two tensors: counted and added up a piece at a time.

1. Sums are in float64. Where a number is infinite or none on either side, that element is left out
   of every sum; ``not_finite`` says how many are.
2. Pieces may be compared in any order and by any number of threads; added up in one order they
   give the same figures always.
3. Elements are changed when their bits are, so -0.0 is not 0.0 and a NaN with other bits is
   changed; between two dtypes they are when their numbers differ.
"""

import math

import numpy as np
from msgspec import Struct, field

from mstore.format.dtypes import DTYPE_BITS
from mstore.ids import Buffer
from mstore.numerics.figures import Bounds, Bucket, Figures, Interval, buckets, finite, share
from mstore.numerics.values import PARTS, Array, error_bounds, is_numeric, values, width_of

TILE = 1 << 17
"""Elements that are worked on at once: of fewer, threads spend their time in waiting for the GIL
between two steps; of more, what is made of them no longer stays in the processor's cache."""
MAX_BUCKETS = 24
"""Powers of two that a histogram tells apart; smaller changes are put to the last of them."""

_PLACES = 1 << 12
"""A histogram is kept by the leading 12 bits of a change as float64: its sign and power of two."""
_SIGN = 1 << 11
_MANTISSA = 52
_BIAS = 1023
_BYTE = 8
_RUN = 1 << 12
_ADDED = (
    *("elements", "changed", "bits", "changed_bits", "not_finite", "numbers"),
    *("base", "other", "change", "unknown", "unknown_bits"),
    *("base_error", "other_error", "change_error"),
)


class Tally(Struct):
    """What was counted of some elements of two tensors; ``add`` joins two of them.

    ``bits`` are those of elements whose dtypes are equal. ``base``, ``other`` and ``change`` are
    sums of squares over ``numbers`` finite ones. What only leading bits are known of may be off:
    ``unknown`` elements may have changed unseen, and the sums of squares of the greatest errors
    bound the others.
    """

    elements: int = 0
    changed: int = 0
    bits: int = 0
    changed_bits: int = 0
    not_finite: int = 0
    numbers: int = 0
    base: float = 0.0
    other: float = 0.0
    change: float = 0.0
    largest: float = 0.0
    unknown: int = 0
    unknown_bits: int = 0
    base_error: float = 0.0
    other_error: float = 0.0
    change_error: float = 0.0
    largest_error: float = 0.0
    histogram: Array = field(default_factory=lambda: np.zeros(_PLACES, np.int64))

    def add(self, more: "Tally") -> None:
        """Count what another one counted."""
        for name in _ADDED:
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.largest = max(self.largest, more.largest)
        self.largest_error = max(self.largest_error, more.largest_error)
        if len(self.histogram):
            self.histogram += more.histogram

    def figures(
        self,
        rank: float | None = None,
        rank_limit: int | None = None,
        *,
        rank_sampled: bool = False,
        leading: bool = False,
    ) -> Figures:
        """The figures; with ``leading`` they have bounds."""
        return Figures(
            elements=self.elements,
            changed=self.changed,
            changed_share=share(self.changed, self.elements),
            changed_bits=self.changed_bits if self.bits else None,
            changed_bits_share=share(self.changed_bits, self.bits) if self.bits else None,
            not_finite=self.not_finite,
            relative_l2=self._relative_l2(),
            cosine=self._cosine(),
            max_change=self.largest if self.numbers else None,
            effective_rank=rank,
            rank_limit=rank_limit,
            rank_sampled=rank_sampled,
            histogram=self._buckets(),
            bounds=self._bounds() if leading else None,
        )

    def _relative_l2(self) -> float | None:
        if self.change == 0 and self.numbers:
            return 0.0
        if not self.base or math.isinf(self.base):
            return None
        return finite(math.sqrt(self.change / self.base))

    def _cosine(self) -> float | None:
        lengths = math.sqrt(self.base) * math.sqrt(self.other)
        found = finite((self.base + self.other - self.change) / 2 / lengths) if lengths else None
        return None if found is None else max(-1.0, min(1.0, found))

    def _buckets(self) -> tuple[Bucket, ...]:
        """From the most negative change to the greatest."""
        if not len(self.histogram):
            return ()
        negative, positive = self._powers(_SIGN), self._powers(0)
        floor = max((*negative, *positive), default=0) - MAX_BUCKETS + 1
        zero = int(self.histogram[0] + self.histogram[_SIGN])
        middle = [Bucket(0.0, 0.0, zero)] if zero else []
        below, above = (
            buckets(_merged(powers, floor), sign)
            for powers, sign in ((negative, -1), (positive, 1))
        )
        return (*below, *middle, *above)

    def _powers(self, start: int) -> dict[int, int]:
        """How many changes of one sign have each power of two; zero and infinity are none."""
        counts = self.histogram[start + 1 : start + _SIGN - 1]
        return {int(at) + 1 - _BIAS: int(counts[at]) for at in np.flatnonzero(counts)}

    def _bounds(self) -> Bounds:
        changed_bits = Interval(self.changed_bits, self.changed_bits + self.unknown_bits)
        return Bounds(
            changed=Interval(self.changed, min(self.changed + self.unknown, self.elements)),
            changed_bits=changed_bits if self.bits else None,
            relative_l2=self._bounded_l2(),
            cosine=self._bounded_cosine(),
            max_change=Interval(
                max(0.0, self.largest - self.largest_error), self.largest + self.largest_error
            ),
        )

    def _bounded_l2(self) -> Interval | None:
        """By the triangle inequality: no length is further off than the length of the errors."""
        base, change = math.sqrt(self.base), math.sqrt(self.change)
        off, base_off = math.sqrt(self.change_error), math.sqrt(self.base_error)
        if base <= base_off:
            return None
        return Interval(
            max(0.0, change - off) / (base + base_off), (change + off) / (base - base_off)
        )

    def _bounded_cosine(self) -> Interval | None:
        """Neither side turns further than the length of its errors lets it."""
        cosine = self._cosine()
        if cosine is None:
            return None
        errors = ((self.base_error, self.base), (self.other_error, self.other))
        turn = sum(math.asin(math.sqrt(min(1.0, error / square))) for error, square in errors)
        angle = math.acos(cosine)
        return Interval(math.cos(min(math.pi, angle + turn)), math.cos(max(0.0, angle - turn)))


def brief_tally() -> Tally:
    """One that keeps no histogram, for sums over many tensors."""
    return Tally(histogram=np.zeros(0, np.int64))


def compare(base_dtype: str, base: Buffer, dtype: str, other: Buffer) -> Tally:
    """What changed between equally many elements of two tensors; most of it without the GIL.

    Of dtypes without numbers (``values.is_numeric``) only bits are compared.
    """
    tally = Tally()
    first, second = memoryview(base), memoryview(other)
    if not is_numeric(base_dtype) or not is_numeric(dtype):
        _compare_bits(tally, dtype, first, second)
        return tally
    widths = width_of(base_dtype), width_of(dtype)
    for at in range(0, len(first) // widths[0], TILE):
        tiles = (
            view[at * width : (at + TILE) * width]
            for view, width in zip((first, second), widths, strict=True)
        )
        _compare_tile(tally, base_dtype, dtype, *tiles)
    return tally


def add_errors(tally: Tally, dtype: str, base: Buffer, other: Buffer | None, bits: int) -> None:
    """Say of what ``compare`` made of middles how far their ``bits`` leading bits let it be off.

    ``dtype`` is made of floats wider than that, on both sides. ``other`` is None where the numbers
    are known to be the same, whatever they are.
    """
    width = width_of(dtype) // PARTS.get(dtype, 1)
    first = np.frombuffer(base, f"<u{width}")
    second = first if other is None else np.frombuffer(other, first.dtype)
    if other is not None:
        tally.unknown += tally.elements - tally.changed
        tally.unknown_bits += (_BYTE * width - bits) * len(first)
    for at in range(0, len(first), TILE):
        a, b = (error_bounds(dtype, part[at : at + TILE], bits) for part in (first, second))
        tally.base_error += _square(a)
        tally.other_error += _square(b)
        if other is not None:
            tally.change_error += _square(a + b)
            # Of a complex number both parts may be off.
            largest = float((a + b).max(initial=0.0)) * math.sqrt(PARTS.get(dtype, 1))
            tally.largest_error = max(tally.largest_error, largest)


def _compare_tile(
    tally: Tally, base_dtype: str, dtype: str, first: memoryview, second: memoryview
) -> None:
    if base_dtype == dtype and not _compare_bits(tally, dtype, first, second):
        _add_equal(tally, dtype, first)
        return
    a, b = values(base_dtype, first), values(dtype, second)
    parts = max(PARTS.get(base_dtype, 1), PARTS.get(dtype, 1))
    if base_dtype != dtype:
        a, b = (_with_parts(side, parts, kind) for side, kind in ((a, base_dtype), (b, dtype)))
        differs = (a != b) & ~(np.isnan(a) & np.isnan(b))
        tally.elements += len(a) // parts
        tally.changed += int(np.count_nonzero(_any(differs, parts)))
    _add_sums(tally, a, b, parts)


def _compare_bits(tally: Tally, dtype: str, first: memoryview, second: memoryview) -> int:
    """How many elements have other bits; of those narrower than a byte, how many bytes have."""
    bits = DTYPE_BITS[dtype]
    whole = bits % _BYTE == 0
    a, b = (np.frombuffer(view, f"<u{bits // _BYTE if whole else 1}") for view in (first, second))
    away = a ^ b
    changed = int(np.count_nonzero(away))
    tally.elements += len(first) * _BYTE // bits
    tally.bits += len(first) * _BYTE
    if changed:
        wide = away.view(np.uint64) if away.nbytes % _BYTE == 0 else away
        tally.changed_bits += int(np.bitwise_count(wide).sum(dtype=np.int64))
        tally.changed += changed if whole else _changed_parts(away, bits)
    return changed


def _changed_parts(away: Array, bits: int) -> int:
    """How many elements of fewer bits than a byte differ, given the bytes that do."""
    stream = np.unpackbits(away, bitorder="little")
    return int(np.count_nonzero(stream.reshape(-1, bits).any(axis=1)))


def _add_equal(tally: Tally, dtype: str, content: memoryview) -> None:
    """What elements that did not change add to the sums."""
    numbers, parts = values(dtype, content), PARTS.get(dtype, 1)
    square = _square(numbers)
    if not math.isfinite(square):
        numbers = numbers[_finite_ones(tally, numbers, parts)]
        square = _square(numbers)
    tally.base += square
    tally.other += square
    tally.numbers += len(numbers)
    tally.histogram[0] += len(numbers)


def _add_sums(tally: Tally, a: Array, b: Array, parts: int) -> None:
    base, other = _square(a), _square(b)
    if not (math.isfinite(base) and math.isfinite(other)):
        kept = _finite_ones(tally, a + b, parts) if parts > 1 else _finite_both(tally, a, b)
        a, b = a[kept], b[kept]
        base, other = _square(a), _square(b)
    with np.errstate(over="ignore"):
        change = np.subtract(b, a)
    tally.base += base
    tally.other += other
    tally.change += _square(change)
    tally.numbers += len(a)
    tally.largest = max(tally.largest, _largest(change, parts))
    places = np.right_shift(change.view(np.uint64), _MANTISSA).view(np.int64)
    tally.histogram += np.bincount(places, minlength=_PLACES)


def _finite_both(tally: Tally, a: Array, b: Array) -> Array:
    kept = np.isfinite(a) & np.isfinite(b)
    tally.not_finite += len(kept) - int(np.count_nonzero(kept))
    found: Array = kept
    return found


def _finite_ones(tally: Tally, numbers: Array, parts: int) -> Array:
    """Which numbers belong to an element that is finite in all of its parts."""
    away = _any(~np.isfinite(numbers), parts)
    tally.not_finite += int(np.count_nonzero(away))
    return np.repeat(~away, parts)


def _largest(change: Array, parts: int) -> float:
    if not len(change):
        return 0.0
    if parts > 1:
        return float(np.hypot(change[::parts], change[1::parts]).max())
    return max(float(change.max()), -float(change.min()))


def _square(numbers: Array) -> float:
    """The sum of the squares; infinite where it is too large."""
    # In short runs: for long ones BLAS would start threads beside those that call us.
    whole = len(numbers) // _RUN * _RUN
    rows, rest = numbers[:whole].reshape(-1, _RUN), numbers[whole:]
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.vecdot(rows, rows).sum() + np.vecdot(rest, rest))


def _with_parts(numbers: Array, parts: int, dtype: str) -> Array:
    """A real number among complex ones has an imaginary part of zero."""
    own = PARTS.get(dtype, 1)
    if own == parts:
        return numbers
    found = np.zeros(parts * len(numbers))
    found[::parts] = numbers
    return found


def _any(flags: Array, parts: int) -> Array:
    found: Array = np.any(flags.reshape(-1, parts), axis=1)
    return found if parts > 1 else flags


def _merged(powers: dict[int, int], floor: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for power, count in powers.items():
        found[max(power, floor)] = found.get(max(power, floor), 0) + count
    return found

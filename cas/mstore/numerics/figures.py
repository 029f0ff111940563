"""What is told of the change of numbers: plain values, without NumPy."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct


class Bucket(Struct, frozen=True):
    """``count`` changes from ``low`` to ``high``; both are 0 for no change.

    Of the two ends the one that is nearer to zero belongs to it.
    """

    low: float
    high: float
    count: int


class Interval(NamedTuple):
    """Between which two numbers, both included, a figure is."""

    low: float
    high: float


class Bounds(Struct, frozen=True):
    """Where figures of all bits are when only leading bits were read.

    That holds if all numbers are finite. None where nothing can be told.
    """

    changed: Interval
    changed_bits: Interval | None
    relative_l2: Interval | None
    cosine: Interval | None
    max_change: Interval


class Figures(Struct, frozen=True):
    """The change of some numbers.

    ``changed_bits`` is None between two dtypes. ``not_finite`` elements are infinite or no numbers
    on one side at least, and are left out of what follows. ``relative_l2`` is the length of the
    change over that of the base, None when that is 0. ``effective_rank`` is that of the change as
    a matrix, of at most ``rank_limit``; see ``numerics/rank.py``. ``bounds`` is None where all bits
    were read.
    """

    elements: int
    changed: int
    changed_share: float
    changed_bits: int | None
    changed_bits_share: float | None
    not_finite: int
    relative_l2: float | None
    cosine: float | None
    max_change: float | None
    effective_rank: float | None
    rank_limit: int | None
    rank_sampled: bool
    histogram: tuple[Bucket, ...]
    bounds: Bounds | None


def unchanged(elements: int) -> Figures:
    """The figures of numbers that are known to be the same, and were not read for it."""
    return Figures(
        elements=elements,
        changed=0,
        changed_share=0.0,
        changed_bits=0,
        changed_bits_share=0.0,
        not_finite=0,
        relative_l2=0.0,
        cosine=1.0,
        max_change=0.0,
        effective_rank=0.0,
        rank_limit=None,
        rank_sampled=False,
        histogram=(Bucket(0.0, 0.0, elements),) if elements else (),
        bounds=None,
    )


def share(part: int, whole: int) -> float:
    """``part`` of ``whole``; 0 of nothing."""
    return part / whole if whole else 0.0


def finite(value: float) -> float | None:
    """``value`` unless it is infinite or no number."""
    return value if math.isfinite(value) else None


def buckets(powers: dict[int, int], sign: int) -> Iterable[Bucket]:
    """The buckets of changes of one sign, from the lowest; ``powers`` counts by powers of two.

    Empty ones between them are there too.
    """
    found = []
    for power in range(min(powers, default=0), max(powers, default=-1) + 1):
        near, far = math.ldexp(1.0, power), _two_to(power + 1)
        low, high = (near, far) if sign > 0 else (-far, -near)
        found.append(Bucket(low, high, powers.get(power, 0)))
    return found if sign > 0 else found[::-1]


def _two_to(power: int) -> float:
    try:
        return math.ldexp(1.0, power)
    except OverflowError:
        return math.inf

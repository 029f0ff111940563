"""Numbers for people, and scales to draw them on."""

import math
import sys
from collections.abc import Iterable
from typing import NamedTuple

_MINUS = "\N{MINUS SIGN}"
_DECADES = 2.0
"""Decades that positive values must span to be drawn on a logarithmic scale."""
_FOUR_DIGITS = 1000
_EXACT = 1e15
"""Whole numbers up to here are written out."""


class Scale(NamedTuple):
    """From numbers to shares of an axis: ``low`` is at 0 and ``high`` at 1.

    ``is_whole`` for what is counted: there is nothing between one whole number and the next.
    """

    low: float
    high: float
    is_log: bool
    is_whole: bool = False

    def place(self, value: float) -> float:
        """Where a number lies."""
        low, high = _bend(self.low, self.is_log), _bend(self.high, self.is_log)
        if high == low:
            return 0.5
        return (_bend(value, self.is_log) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers between the ends, about five."""
        return _log_ticks(self) if self.is_log else _ticks(self)


def scale_of(values: Iterable[float], *, may_be_log: bool = True, margin: float = 0.04) -> Scale:
    """A scale with a margin around the finite ones of some numbers."""
    known = [float(value) for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    is_whole = all(value.is_integer() for value in known)
    decades = math.log10(high) - math.log10(low) if low > 0 else 0.0
    if may_be_log and decades >= _DECADES:
        wide = 10.0 ** (decades * margin)
        # At the very ends of what a float holds there is no room for a margin.
        return Scale(low / wide or low, min(high * wide, sys.float_info.max), is_log=True)
    room = (high - low) * margin
    if high == low and margin:
        room = abs(high) / 2 or 1.0
    return Scale(low - room, high + room, is_log=False, is_whole=is_whole)


def number(value: float) -> str:
    """A number in few digits: ``12,345``, ``0.9722``, ``3.1e-05``, ``NaN``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    if _FOUR_DIGITS <= abs(value) < _EXACT or (float(value).is_integer() and abs(value) < _EXACT):
        return f"{value:,.0f}".replace("-", _MINUS)
    return f"{value:.4g}".replace("-", _MINUS, 1) if value < 0 else f"{value:.4g}"


def size(count: int) -> str:
    """Bytes with a binary unit: ``0 B``, ``12.3 MiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024:  # noqa: PLR2004 - the step between binary units
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} PiB"


def brief(count: int) -> str:
    """A count in three digits: ``812``, ``61.7 k``, ``1.24 M``, ``7.1 G``."""
    amount = float(count)
    for unit in ("", " k", " M", " G"):
        if amount < 1000:  # noqa: PLR2004 - the step between decimal units
            return f"{count}" if not unit else f"{amount:.3g}{unit}"
        amount /= 1000
    return f"{amount:.3g} T"


def percent(share: float) -> str:
    """A place on an axis as SVG takes it."""
    return f"{100 * share:.2f}%"


def _bend(value: float, is_log: bool) -> float:  # noqa: FBT001 - a scale's own switch
    return math.log10(value) if is_log else value


def _ticks(scale: Scale) -> list[float]:
    rough = (scale.high - scale.low) / 6 or 1.0
    if scale.is_whole:
        rough = max(rough, 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    units = (1, 2, 5, 10) if scale.is_whole else (1, 2, 2.5, 5, 10)
    step = next(unit * power for unit in units if unit * power >= rough * 0.9999)
    first = math.ceil(scale.low / step)
    last = math.floor(scale.high / step)
    return [float(f"{at * step:.12g}") for at in range(first, last + 1)]


def _log_ticks(scale: Scale) -> list[float]:
    first = math.ceil(math.log10(scale.low))
    last = math.floor(math.log10(scale.high))
    every = max(1, (last - first + 1) // 5)
    return [10.0**power for power in range(first, last + 1, every)]

"""Quantities as people write them: ``100MB``, ``20 ms``, ``1GHz``, ``90 %``; pure.

A value is always kept in the base unit of its kind, so that values compare. ``MB`` is 10^6 bytes
and ``MiB`` 2^20, as IEC 80000-13 has it.
"""

import math
import re
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Final, Literal, NamedTuple, get_args

from mstore.errors import InvalidInputError

UnitKind = Literal[
    "", "bytes", "seconds", "hertz", "fraction", "operations", "operations/s", "watts", "joules"
]
"""What a quantity measures, by its base unit; empty for a plain number."""

UNIT_KINDS: Final[tuple[UnitKind, ...]] = get_args(UnitKind)

MAX_TEXT: Final = 64
"""Characters of one quantity."""


class Quantity(NamedTuple):
    """A number in the base unit of its kind: ``100MB`` is (100000000.0, "bytes")."""

    value: float
    kind: UnitKind = ""


_PREFIXES: Final = dict(
    zip(
        ("u", "m", "", "k", "M", "G", "T", "P", "E"),
        ("1e-6", "1e-3", "1", "1e3", "1e6", "1e9", "1e12", "1e15", "1e18"),
        strict=True,
    )
)


def _metric(unit: str, prefixes: str) -> dict[str, str]:
    """``unit`` plain and with each of ``prefixes``, smallest first."""
    wanted = [prefix for prefix in _PREFIXES if prefix in prefixes]
    return {prefix + unit: _PREFIXES[prefix] for prefix in wanted}


_BINARY: Final = {f"{prefix}iB": str(1024**power) for power, prefix in enumerate("KMGTP", 1)}
_SCALES: Final[Mapping[UnitKind, Mapping[str, str]]] = {
    "": _metric("", "kMGT"),
    "bytes": _metric("B", "kMGTP") | _BINARY,
    "seconds": {"ns": "1e-9"} | _metric("s", "um"),
    "hertz": _metric("Hz", "kMGT"),
    "fraction": {"%": "1e-2"},
    "operations": _metric("FLOP", "kMGTPE"),
    "operations/s": _metric("FLOP/s", "kMGTP"),
    "watts": _metric("W", "umkM"),
    "joules": _metric("J", "umkM"),
}
"""Units in which quantities are written, smallest first, and how many base units each is."""

_ALSO: Final[Mapping[str, tuple[UnitKind, str]]] = {
    "bytes": ("bytes", "1"),
    "byte": ("bytes", "1"),
    "µs": ("seconds", "1e-6"),
    "μs": ("seconds", "1e-6"),
    "sec": ("seconds", "1"),
    "seconds": ("seconds", "1"),
    "min": ("seconds", "60"),
    "h": ("seconds", "3600"),
    "d": ("seconds", "86400"),
    "percent": ("fraction", "1e-2"),
    "Wh": ("joules", "3600"),
    "kWh": ("joules", "3600000"),
}
"""Units that are read but not written."""

_EXACT: Final = Context(prec=60)
_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)[ \t]*(?P<unit>\S*)"
)
_NON_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_HINT = "write a number and a unit: 100MB, 20 ms, 1GHz, 90%, 1.8 GFLOP"


def parse_quantity(text: str) -> Quantity:
    """``text`` in the base unit of its kind: ``20 ms`` is (0.02, "seconds").

    ``nan`` and ``inf`` are plain numbers. InvalidInputError when it is no number, the unit is
    unknown or the number is too large for a float.
    """
    wanted = text.strip()
    if len(wanted) <= MAX_TEXT and _NON_FINITE.fullmatch(wanted):
        return Quantity(float(wanted))
    match = _NUMBER.fullmatch(wanted) if len(wanted) <= MAX_TEXT else None
    if match is None:
        raise InvalidInputError(f"'{text[:MAX_TEXT]}' is not a quantity", hint=_HINT)
    kind, scale = find_unit(match["unit"])
    value = float(_EXACT.multiply(Decimal(match["number"]), Decimal(scale)))
    if not math.isfinite(value):
        raise InvalidInputError(f"'{text}' is too large a number")
    return Quantity(value, kind)


def find_unit(unit: str) -> tuple[UnitKind, str]:
    """The kind of a unit and how many base units it is, as decimal text.

    Case counts only where it tells units apart: ``mw`` is refused, ``mb`` is ``MB``. ``FLOPs`` is a
    count of operations and ``FLOPS`` is refused, as people mean either by it. InvalidInputError.
    """
    found = _UNITS.get(unit) or _FOLDED.get(unit.casefold())
    if found is None or unit.endswith("FLOPS"):
        raise InvalidInputError(f"'{unit}' is not a unit", hint=_unit_hint(unit))
    return found


def format_quantity(value: float, kind: UnitKind = "", digits: int | None = None) -> str:
    """``value``, in base units, as people write it: ``44.7 MB``, ``20 ms``, ``90 %``.

    Whole, so that ``parse_quantity`` gives the value back, or with so many significant ``digits``.
    """
    if not math.isfinite(value):
        return repr(value)
    exact = Decimal(repr(value))
    rounded = exact if digits is None else Context(prec=digits).plus(exact)
    unit, scale = _unit_for(abs(rounded), kind)
    number = _EXACT.divide(rounded, scale).normalize(_EXACT)
    if not _is_exact(number, scale, rounded):
        unit, number = _base_unit(kind), rounded.normalize(_EXACT)
    plain = abs(number.adjusted()) < _PLAIN_DIGITS
    return f"{number:f} {unit}".rstrip() if plain else f"{number:e} {unit}".rstrip()


_PLAIN_DIGITS: Final = 16
"""Larger and smaller numbers are written with an exponent."""


def _unit_for(size: Decimal, kind: UnitKind) -> tuple[str, Decimal]:
    # Plain numbers are read more easily without a prefix, and bytes in powers of ten.
    named = {"": "1"} if not kind else _SCALES[kind]
    units = [(unit, Decimal(scale)) for unit, scale in named.items() if "i" not in unit]
    fitting = [unit for unit in units if unit[1] <= size]
    if not size:
        return next(unit for unit in units if kind == "fraction" or unit[1] == 1)
    return fitting[-1] if fitting else units[0]


def _base_unit(kind: UnitKind) -> str:
    return next(unit for unit, scale in _SCALES[kind].items() if scale == "1")


def _is_exact(number: Decimal, scale: Decimal, value: Decimal) -> bool:
    return bool(_EXACT.multiply(number, scale) == value)


def _unit_hint(unit: str) -> str:
    if unit.endswith("FLOPS"):
        stem = unit.removesuffix("S")
        return f"write {stem} for a count of operations or {stem}/s for a speed"
    return f"units are {', '.join(unit for unit in _UNITS if unit)}"


def _all_units() -> dict[str, tuple[UnitKind, str]]:
    units = {
        unit: (kind, scale) for kind, named in _SCALES.items() for unit, scale in named.items()
    }
    plural = {f"{unit}s": found for unit, found in units.items() if unit.endswith("FLOP")}
    return {**units, **_ALSO, **plural}


def _folded(units: Mapping[str, tuple[UnitKind, str]]) -> dict[str, tuple[UnitKind, str]]:
    """The units by their names in small letters, those left out that case alone tells apart."""
    folded: dict[str, set[tuple[UnitKind, str]]] = {}
    for unit, found in units.items():
        folded.setdefault(unit.casefold(), set()).add(found)
    plain = {unit: found.pop() for unit, found in folded.items() if len(found) == 1}
    # One letter alone is too little to guess from: "5 m" could be minutes or millions.
    return {unit: found for unit, found in plain.items() if len(unit) > 1 or unit == "k"}


_UNITS: Final = _all_units()
_FOLDED: Final = _folded(_UNITS)

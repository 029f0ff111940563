"""Floats rounded to fewer bits and back: the arithmetic of ``numerics/schemes.py``, in NumPy.

1. All is computed in float64, of which every float of a source is one, a block at a time.
2. The error that is told is that of the very numbers that come out when they are read back.
3. Chance comes from a generator whose stream is fixed: equal seeds give equal bytes everywhere.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mstore.errors import InvalidInputError
from mstore.ids import Buffer
from mstore.numerics.schemes import (
    CODEBOOK,
    INT4,
    SCALE,
    SHAPE,
    ZERO_POINT,
    Scheme,
    channels,
    packed_row,
    rows_of,
)

Array = npt.NDArray[Any]

BLOCK = 1 << 18
"""Elements worked on at once."""

_STORED = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
_PRECISION = {"F16": 11, "BF16": 8}
_LEAST = {"F16": -24, "BF16": -133}
_GREATEST = {"F16": 65504.0, "BF16": 255 * 2.0**120}
_GREATEST |= {"F32": float(np.finfo(np.float32).max), "F64": float(np.finfo(np.float64).max)}
_LEAST_EXPONENT = -1074
_TINY = np.float32(2.0**-149)


class Numbers(NamedTuple):
    """A tensor's floats, as they are stored."""

    dtype: str
    shape: tuple[int, ...]
    content: Buffer

    def rows(self, count: int) -> Array:
        """All of them as ``count`` rows; BF16 as bit patterns."""
        flat: Array = np.frombuffer(self.content, _STORED[self.dtype])
        found: Array = flat.reshape(rows_of(self.shape, count))
        return found


class Table(NamedTuple):
    """What the places of each row mean: ``(place - zero) * scale``, or ``codebook[place]``."""

    scale: Array | None = None
    zero: Array | None = None
    codebook: Array | None = None

    def numbers(self, places: Array, rows: slice) -> Array:
        """The float32 numbers of the places of some rows."""
        if self.codebook is not None:
            tables, table = self.codebook[rows], np.arange(rows.start, rows.stop) - rows.start
            found: Array = tables[table[:, None], places]
            return found
        assert self.scale is not None
        assert self.zero is not None
        away = places.astype(np.int16) - self.zero[rows, None].astype(np.int16)
        with np.errstate(over="ignore"):
            return away.astype(np.float32) * self.scale[rows, None]


class Rounded(NamedTuple):
    """What a tensor became: the bytes of each member, by suffix.

    ``error`` is the greatest difference of a number from what it was, ``magnitude`` the greatest
    that it was; ``clamped`` numbers were out of range.
    """

    contents: dict[str, memoryview]
    error: float
    magnitude: float
    clamped: int = 0


class _Tally:
    """The greatest error so far; what is not finite has none."""

    def __init__(self) -> None:
        self.error = self.magnitude = 0.0
        self.clamped = 0

    def add(self, exact: Array, found: Array) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            away = np.abs(found.astype(np.float64) - exact)
        finite = np.isfinite(exact)
        self.error = max(self.error, float(away.max(initial=0.0, where=finite)))
        largest = np.abs(exact).max(initial=0.0, where=finite)
        self.magnitude = max(self.magnitude, float(largest))


class _Draws:
    """Numbers from [0, 1), always the same ones for a seed."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def __call__(self, shape: tuple[int, ...]) -> Array:
        raw = self._bits.random_raw(int(np.prod(shape))) >> np.uint64(11)
        return (raw * 2.0**-53).reshape(shape)


def round_numbers(
    numbers: Numbers, scheme: Scheme, seed: int, table: Table | None = None
) -> Rounded:
    """A tensor in a scheme; ``seed`` decides what chance decides, ``table`` may be known already.

    InvalidInputError for what the scheme cannot hold: NaN or infinity in ``int8`` and ``int4``,
    numbers beyond the range of ``fp16`` and ``bf16`` unless clamped.
    """
    draws = _Draws(seed) if scheme.rounding == "random" else None
    if scheme.is_table:
        table = table or make_table(numbers, scheme, seed)
        return _round_to_table(numbers, scheme, table, draws)
    tally = _Tally()
    source = numbers.rows(1)
    dtype = scheme.dtype or numbers.dtype
    exponent = None if scheme.dtype else _grid(numbers, scheme.bits)
    target = np.empty(source.shape, _STORED[dtype])
    for rows, columns in _tiles(*source.shape):
        exact = _widen(numbers.dtype, source[rows, columns])
        if exponent is None:
            found = _to_float(exact, dtype, draws, tally, clamp=scheme.clamp)
        else:
            found = _to_grid(exact, dtype, exponent, draws)
        tally.add(exact, found)
        target[rows, columns] = _narrow(dtype, found)
    return Rounded({"": _view(target)}, tally.error, tally.magnitude, tally.clamped)


def make_table(numbers: Numbers, scheme: Scheme, seed: int) -> Table:
    """The table of each channel; InvalidInputError when there are NaN or infinity."""
    source = numbers.rows(channels(scheme, numbers.shape))
    low = np.full(len(source), np.inf)
    high = -low
    for rows, columns in _tiles(*source.shape):
        exact = _widen(numbers.dtype, source[rows, columns])
        if not np.isfinite(exact).all():
            raise InvalidInputError(f"NaN or infinity, which '{scheme.name}' cannot hold")
        low[rows] = np.minimum(low[rows], exact.min(axis=1))
        high[rows] = np.maximum(high[rows], exact.max(axis=1))
    if scheme.codebook == "uniform":
        spread = np.linspace(0.0, 1.0, scheme.levels)
        listed = low[:, None] * (1.0 - spread) + high[:, None] * spread
        return Table(codebook=_single(listed))
    if scheme.codebook == "random":
        # Not the draws of the rounding: a number must not be rounded by what chose it.
        listed = _drawn(numbers, source, scheme.levels, _Draws(seed ^ 1))
        listed[:, 0], listed[:, -1] = low, high
        listed.sort(axis=1)
        return Table(codebook=_single(listed))
    return _evenly(np.minimum(low, 0.0), np.maximum(high, 0.0), scheme.levels)


def table_size(table: Table) -> int:
    """Bytes of a table in memory."""
    return sum(array.nbytes for array in table if array is not None)


def table_contents(table: Table, scheme: Scheme, shape: tuple[int, ...]) -> dict[str, memoryview]:
    """The bytes of the members that say what places mean, by suffix."""
    found = {SHAPE: np.array(shape, "<i8")} if scheme.bits == INT4 else {}
    if table.codebook is not None:
        found[CODEBOOK] = table.codebook
    elif table.zero is not None and table.scale is not None:
        found[SCALE] = table.scale
        found[ZERO_POINT] = table.zero if scheme.bits == INT4 else _signed(table.zero)
    return {suffix: _view(array) for suffix, array in found.items()}


def pack(places: Array, length: int) -> Array:
    """Places of four bits, two to a byte; every row of ``length`` of them begins a byte."""
    rows = places.reshape(-1, length)
    packed = rows[:, ::2].copy()
    packed[:, : length // 2] |= rows[:, 1::2] << np.uint8(4)
    return packed


def unpack(packed: Array, length: int) -> Array:
    """The places that ``pack`` packed, in rows of ``length``."""
    rows = packed.reshape(-1, -(-length // 2))
    places = np.empty((len(rows), length), np.uint8)
    places[:, ::2] = rows & np.uint8(15)
    places[:, 1::2] = rows[:, : length // 2] >> np.uint8(4)
    return places


def numbers_of(dtype: str, content: Buffer) -> Array:
    """A member's numbers: F32, or places, signed ones too as places from 0."""
    if dtype == "F32":
        return np.frombuffer(content, "<f4")
    places = np.frombuffer(content, np.uint8)
    return places ^ np.uint8(128) if dtype == "I8" else places


def look_up(places: Array, table: Table, count: int) -> Array:
    """The float32 numbers of all places of a tensor with ``count`` channels."""
    source = places.reshape(count, places.size // count if count else 0)
    target = np.empty(source.shape, np.float32)
    for rows, columns in _tiles(*source.shape):
        target[rows, columns] = table.numbers(source[rows, columns], rows)
    return target


def _round_to_table(
    numbers: Numbers, scheme: Scheme, table: Table, draws: _Draws | None
) -> Rounded:
    tally = _Tally()
    source = numbers.rows(channels(scheme, numbers.shape))
    places = np.empty(source.shape, np.uint8)
    for rows, columns in _tiles(*source.shape):
        exact = _widen(numbers.dtype, source[rows, columns])
        place = _places(exact, table, rows, scheme.levels, draws)
        places[rows, columns] = place
        tally.add(exact, table.numbers(place, rows))
    if not np.isfinite(tally.error):
        raise InvalidInputError(f"numbers too large for '{scheme.name}'")
    if scheme.bits == INT4:
        stored = pack(places, packed_row(numbers.shape))
    else:
        stored = places if scheme.codebook else _signed(places)
    contents = {**table_contents(table, scheme, numbers.shape), "": _view(stored)}
    return Rounded(contents, tally.error, tally.magnitude)


def _evenly(low: Array, high: Array, levels: int) -> Table:
    """Tables whose numbers are evenly spaced, zero among them; ``low <= 0 <= high``."""
    with np.errstate(over="ignore", under="ignore"):
        exact = high / (levels - 1) - low / (levels - 1)
        scale = exact.astype(np.float32)
        # Rounded up, so that the greatest number is never beyond the last place.
        scale = np.where(scale < exact, np.nextafter(scale, np.float32(np.inf)), scale)
    if not np.isfinite(scale).all():
        raise InvalidInputError("numbers too large for a scale of 32 bits")
    scale = np.where(exact == 0, np.float32(1), np.maximum(scale, _TINY))
    zero = np.rint(-low / scale.astype(np.float64)).clip(0, levels - 1)
    return Table(scale=scale.astype("<f4"), zero=zero.astype(np.uint8))


def _drawn(numbers: Numbers, source: Array, levels: int, draws: _Draws) -> Array:
    """As many numbers of each row as a table has, drawn by chance."""
    count, length = source.shape
    tables = np.empty((count, levels))
    for row in range(count):
        chosen = (draws((levels,)) * length).astype(np.intp)
        tables[row] = _widen(numbers.dtype, source[row, chosen])
    return tables


def _single(tables: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        found = tables.astype("<f4")
    if not np.isfinite(found).all():
        raise InvalidInputError("numbers too large for a codebook of 32 bits")
    return found


def _places(
    exact: Array, table: Table, rows: slice, levels: int, draws: _Draws | None
) -> npt.NDArray[np.uint8]:
    if table.codebook is not None:
        return _listed_places(exact, table.codebook, rows, draws)
    assert table.scale is not None
    assert table.zero is not None
    away = _whole(exact / table.scale[rows, None].astype(np.float64), draws)
    place = away + table.zero[rows, None]
    return place.clip(0, levels - 1).astype(np.uint8)


def _listed_places(
    exact: Array, codebook: Array, rows: slice, draws: _Draws | None
) -> npt.NDArray[np.uint8]:
    found = np.empty(exact.shape, np.uint8)
    chance = np.full(exact.shape, 0.5) if draws is None else draws(exact.shape)
    for number, row in enumerate(exact):
        table = codebook[rows][number].astype(np.float64)
        below = np.searchsorted(table, row, side="right").clip(1, len(table) - 1) - 1
        gap = table[below + 1] - table[below]
        part = np.divide(row - table[below], gap, out=np.zeros_like(row), where=gap > 0)
        found[number] = below + (chance[number] < part)
    return found


def _grid(numbers: Numbers, bits: int) -> int:
    """The exponent of the step between a fixed-point tensor's numbers."""
    largest = 0.0
    source = numbers.rows(1)
    for rows, columns in _tiles(*source.shape):
        exact = np.abs(_widen(numbers.dtype, source[rows, columns]))
        largest = max(largest, float(exact.max(initial=0.0, where=np.isfinite(exact))))
    part, exponent = np.frexp(largest)
    part, more = np.frexp(part / ((1 << (bits - 1)) - 1))
    step = int(exponent) + int(more) - int(part == 0.5)  # noqa: PLR2004 - a power of two itself
    return max(step, _LEAST_EXPONENT)


def _to_grid(exact: Array, dtype: str, exponent: int, draws: _Draws | None) -> Array:
    """Multiples of a power of two; NaN and infinity stay. Exact in the dtype they came from."""
    whole = _whole(_scaled(exact, -exponent), draws)
    found = _scaled(whole, exponent)
    beyond = np.isfinite(exact) & ~(np.abs(found) <= _GREATEST[dtype])
    if beyond.any():
        found[beyond] = _scaled(whole[beyond] - np.sign(whole[beyond]), exponent)
    return found


def _to_float(
    exact: Array, dtype: str, draws: _Draws | None, tally: _Tally, *, clamp: bool
) -> Array:
    """Numbers of a shorter float dtype; NaN and infinity stay."""
    _, exponent = np.frexp(exact)
    step = np.maximum(exponent - _PRECISION[dtype], _LEAST[dtype])
    found = _scaled(_whole(_scaled(exact, -step), draws), step)
    greatest = _GREATEST[dtype]
    beyond = np.isfinite(exact) & (np.abs(found) > greatest)
    if beyond.any():
        if not clamp:
            most = float(np.abs(exact[beyond]).max())
            raise InvalidInputError(f"numbers up to {most:.6g}: '{dtype}' ends at {greatest:.6g}")
        tally.clamped += int(beyond.sum())
        found[beyond] = np.copysign(greatest, exact[beyond])
    return found


def _scaled(numbers: Array, exponent: Array | int) -> Array:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found: Array = np.ldexp(numbers, exponent)
    return found


def _whole(numbers: Array, draws: _Draws | None) -> Array:
    if draws is None:
        return np.rint(numbers)
    below = np.floor(numbers)
    with np.errstate(invalid="ignore"):
        found = below + (draws(numbers.shape) < numbers - below)
    # As the nearest number would be: what is left of a negative number is minus zero.
    signed: Array = np.copysign(found, numbers)
    return signed


def _widen(dtype: str, stored: Array) -> Array:
    if dtype != "BF16":
        return stored.astype(np.float64)
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def _narrow(dtype: str, numbers: Array) -> Array:
    """Stored forms of numbers that the dtype has."""
    if dtype != "BF16":
        return numbers.astype(_STORED[dtype])
    return (numbers.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype("<u2")


def _signed(places: Array) -> Array:
    """Places from 0 as places from -128."""
    return (places ^ np.uint8(128)).view(np.int8)


def _view(array: Array) -> memoryview:
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Whole rows of up to ``BLOCK`` elements, or parts of one row."""
    if not rows * columns:
        return
    high, wide = max(1, BLOCK // columns), min(columns, BLOCK)
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            yield slice(top, min(top + high, rows)), slice(left, min(left + wide, columns))

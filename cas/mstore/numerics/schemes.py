"""The ways to store floats in fewer bits than they have, and what tensors each makes (no numbers).

``fp16`` and ``bf16`` are dtypes. ``fixedK`` keeps the dtype and rounds to a grid of K bits, one
power of two apart for a whole tensor. ``int8`` and ``int4`` store a number's place in a table of
256 or 16: evenly spaced (``scale`` and ``zero_point``), or listed (``codebook``).

Of a tensor ``w``, ``int8`` makes

* ``w``, I8, or U8 with a codebook, or packed in U8 for ``int4``: the places;
* ``w.scale``, F32, and ``w.zero_point``, as ``w``: a number is (place - zero_point) * scale;
* or ``w.codebook``, F32, the table in the last dimension: a number is codebook[place];
* ``w.shape``, I64, for ``int4`` only: the shape of what is packed.

Two places of ``int4`` share a byte, the first in the low half. What stands at each index of the
first dimension begins a byte: of a tensor of two dimensions or more, ``w`` has rows of bytes. With
``per_channel``, such a tensor has one scale, zero point or codebook for each of these indices.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Literal, NamedTuple, get_args

from msgspec import Struct

from mstore.errors import InvalidInputError
from mstore.format.dtypes import tensor_size

Rounding = Literal["nearest", "random"]
"""To the nearest number, the even one of two; or up or down by chance, right on the average."""
Codebook = Literal["uniform", "random"]
"""Evenly from the least to the greatest number; or drawn from the tensor's own."""
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
CODEBOOKS: tuple[Codebook, ...] = get_args(Codebook)

SOURCES = ("F16", "BF16", "F32", "F64")
"""Dtypes that can be quantised."""
MIN_FIXED, MAX_FIXED = 4, 24
MAX_SEED = (1 << 63) - 1
INT4 = 4
SHAPE = ".shape"
SCALE = ".scale"
ZERO_POINT = ".zero_point"
CODEBOOK = ".codebook"
SUFFIXES = (SHAPE, SCALE, ZERO_POINT, CODEBOOK)

_FORMS = {"fp16": "F16", "bf16": "BF16", "int8": None, "int4": None}
_FIXED = re.compile(r"fixed([1-9][0-9]?)", re.ASCII)


class Scheme(Struct, frozen=True):
    """How numbers are made shorter; ``bits`` are what each has then."""

    name: str
    bits: int
    dtype: str | None = None
    rounding: Rounding = "nearest"
    codebook: Codebook | None = None
    per_channel: bool = False
    clamp: bool = False
    seed: int = 0

    @property
    def is_table(self) -> bool:
        """Whether places in a table are stored, and no floats."""
        return self.name.startswith("int")

    @property
    def used_seed(self) -> int | None:
        """The seed, or None where nothing is left to chance."""
        return self.seed if "random" in (self.rounding, self.codebook) else None

    @property
    def levels(self) -> int:
        """How many numbers a table has."""
        return 1 << self.bits


class Member(NamedTuple):
    """One of the tensors that a tensor becomes; ``suffix`` goes after its name."""

    suffix: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its bytes."""
        return tensor_size(self.dtype, self.shape)


def make_scheme(
    to: str,
    *,
    rounding: Rounding = "nearest",
    codebook: Codebook | None = None,
    per_channel: bool = False,
    clamp: bool = False,
    seed: int = 0,
) -> Scheme:
    """The scheme of this name; InvalidInputError for one that is none, or options it has not."""
    fixed = _FIXED.fullmatch(to)
    bits = int(fixed[1] if fixed else re.sub(r"\D", "", to) or 0)
    if to not in _FORMS and not (fixed and MIN_FIXED <= bits <= MAX_FIXED):
        known = f"fp16, bf16, fixed{MIN_FIXED} to fixed{MAX_FIXED}, int8 and int4"
        raise InvalidInputError(f"unknown scheme '{to}'", hint=f"known are: {known}")
    scheme = Scheme(to, bits, _FORMS.get(to), rounding, codebook, per_channel, clamp, seed)
    if (codebook or per_channel) and not scheme.is_table:
        option = "a codebook" if codebook else "a scale per channel"
        raise InvalidInputError(f"'{to}' has no use for {option}: only int8 and int4 have")
    if clamp and scheme.dtype is None:
        raise InvalidInputError(f"'{to}' has no range to clamp to: only fp16 and bf16 have")
    if rounding not in ROUNDINGS or codebook not in (None, *CODEBOOKS):
        raise InvalidInputError(f"unknown rounding '{rounding}' or codebook '{codebook}'")
    if not 0 <= seed <= MAX_SEED:
        raise InvalidInputError(f"seed {seed} is not one of 0 to {MAX_SEED}")
    return scheme


def channels(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """How many tables a tensor has."""
    return shape[0] if scheme.per_channel and len(shape) > 1 else 1


def members(scheme: Scheme, dtype: str, shape: tuple[int, ...]) -> tuple[Member, ...] | None:
    """What a tensor becomes; None where it stays: no float, already so, or else not smaller."""
    if dtype not in SOURCES or dtype == scheme.dtype:
        return None
    if not scheme.is_table:
        return (Member("", scheme.dtype or dtype, shape),)
    found = tuple(_table_members(scheme, shape))
    size = sum(member.size for member in found)
    return found if size < tensor_size(dtype, shape) else None


def _table_members(scheme: Scheme, shape: tuple[int, ...]) -> list[Member]:
    each = (channels(scheme, shape),) if scheme.per_channel and len(shape) > 1 else ()
    packed = scheme.bits == INT4
    places = packed_shape(shape) if packed else shape
    found = [Member(SHAPE, "I64", (len(shape),))] if packed else []
    if scheme.codebook is not None:
        found.append(Member(CODEBOOK, "F32", (*each, scheme.levels)))
        return [*found, Member("", "U8", places)]
    small = "U8" if packed else "I8"
    found += [Member(SCALE, "F32", each), Member(ZERO_POINT, small, each)]
    return [*found, Member("", small, places)]


def packed_row(shape: tuple[int, ...]) -> int:
    """How many places of a tensor are packed one after another."""
    return prod(shape[1:]) if len(shape) > 1 else prod(shape)


def packed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the bytes that hold packed places."""
    row = -(-packed_row(shape) // 2)
    return (shape[0], row) if len(shape) > 1 else (row,) if shape else ()


def quantised_names(dtypes: Mapping[str, str]) -> list[str]:
    """Which of some tensors hold places in a table, going by the names and dtypes of all."""
    return [
        name
        for name, dtype in dtypes.items()
        if dtype in ("I8", "U8")
        and (name + CODEBOOK in dtypes or {name + SCALE, name + ZERO_POINT} <= dtypes.keys())
    ]


def rows_of(shape: tuple[int, ...], count: int) -> tuple[int, int]:
    """A tensor of this shape as ``count`` rows of equal length."""
    return count, prod(shape) // count if count else 0

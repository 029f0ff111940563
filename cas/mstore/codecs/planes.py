"""The leading bits of numbers, most significant first; a base holds the other bits (SPEC §8.7).

Whoever reads only what is stored here knows the leading bits of every number; whoever reads the
base too knows all of them. There are two forms. ``split`` makes a chunk of numbers into its
leading bits and a *low chunk*, which is plane after plane, the more significant before the less.
``cut`` makes a low chunk into its first bytes and a lower chunk, so that there may be more steps.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mstore.codecs import BYTES, Layout
from mstore.codecs._byte_planes import code_plane, read_plane
from mstore.codecs._elements import (
    Bytes,
    Elements,
    check_size,
    check_width,
    elements,
    read_header,
    usable,
)
from mstore.errors import CorruptError
from mstore.ids import Buffer

NAME = "planes"
CODE = 6
TAKES_BASE = True

TILE = 1 << 19
"""Bytes of the numbers put together at a time: with what they are made of they fit a cache."""

_HEADER = struct.Struct("<HHI")
_SIZE = struct.Struct("<I")
_BYTE = 8


class Plane(NamedTuple):
    """The same ``bits`` bits (8 or 1, packed) of every number; ``left`` are below them in it."""

    values: Bytes
    bits: int
    left: int


def split(raw: Buffer, width: int, bits: int) -> tuple[bytes, bytes]:
    """The stored form of the ``bits`` leading bits of every number, and the low chunk.

    ``raw`` is whole numbers of ``width`` bytes (2, 4 or 8); ``bits`` is 1 to ``8 * width - 1``.
    """
    numbers, _ = elements(raw, width)
    planes = [_plane_at(numbers, left) for left in _lefts(width, bits)]
    if bits % _BYTE:
        planes[-1] &= np.uint8(_high_mask(bits))
    return _join(width, bits, planes), _low_chunk(numbers, _BYTE * width - bits)


def cut(low: Buffer, size: int) -> tuple[bytes, bytes]:
    """The stored form of the first ``size`` bytes of a low chunk, and the chunk of the rest."""
    first = np.frombuffer(low, np.uint8, count=size)
    return _join(0, 0, [first]), bytes(memoryview(low)[size:])


def low_planes(count: int, low_bits: int) -> list[tuple[int, int]]:
    """(bits, bytes) of each plane of the low chunk of ``count`` numbers, in their order."""
    odd = [(1, -(-count // _BYTE))] * (low_bits % _BYTE)
    return odd + [(_BYTE, count)] * (low_bits // _BYTE)


def low_size(count: int, low_bits: int, more: int) -> int:
    """Bytes of a low chunk's beginning that hold ``more`` bits of each number, or a few more."""
    total = 0
    for bits, size in low_planes(count, low_bits):
        if more <= 0:
            break
        total, more = total + size, more - bits
    return total


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> bytes | None:
    """The stored form of ``raw`` whose low chunk is ``base``; None when that is no low chunk."""
    width = layout.width
    if base is None or width == 1 or not usable(raw, layout) or len(raw) % width:
        return None
    for bits in range(1, _BYTE * width):
        low_bits = _BYTE * width - bits
        if low_size(len(raw) // width, low_bits, low_bits) == len(base):
            stored, low = split(raw, width, bits)
            if low == bytes(base):
                return stored if len(stored) < len(raw) else None
    return None


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Fill ``target`` with the leading bits and those of ``base``; CorruptError for the rest."""
    if base is None:
        message = "planes entry has no base"
        raise CorruptError(message)
    check_size(len(target))
    if is_cut(stored):
        first = first_of(stored, len(target))
        if len(first) + len(base) != len(target):
            message = f"planes entry has {len(first)} bytes before {len(base)}, not {len(target)}"
            raise CorruptError(message)
        target[: len(first)] = first.data
        target[len(first) :] = base
        return
    width, bits, planes = leading_of(stored, len(target))
    low_bits, count = _BYTE * width - bits, len(target) // width
    wanted = low_size(count, low_bits, low_bits)
    if len(base) != wanted:
        message = f"planes entry needs a base of {wanted} bytes, not {len(base)}"
        raise CorruptError(message)
    merge([*planes, *planes_of(base, count, low_bits)], target, width)


def is_cut(stored: Buffer) -> bool:
    """Whether an entry has the first bytes of a low chunk rather than leading bits."""
    _, (width, _, _) = read_header(stored, _HEADER, NAME)
    return not width


def leading_of(stored: Buffer, raw_size: int) -> tuple[int, int, list[Plane]]:
    """The width of a chunk's numbers, how many leading bits an entry has of them, their planes.

    CorruptError for stored bytes that are not those of ``raw_size`` bytes of numbers.
    """
    check_size(raw_size)
    view, (width, bits, count) = read_header(stored, _HEADER, NAME)
    if check_width(width) == 1 or not 0 < bits < _BYTE * width or count * width != raw_size:
        message = f"planes entry has {bits} bits of {count} numbers of {width} bytes"
        raise CorruptError(message)
    lefts = _lefts(width, bits)
    values = _read_planes(view, len(lefts), count)
    if bits % _BYTE and (values[-1] & np.uint8(~_high_mask(bits) & 0xFF)).any():
        message = f"planes entry has more than its {bits} bits set"
        raise CorruptError(message)
    planes = [Plane(plane, _BYTE, left) for plane, left in zip(values, lefts, strict=True)]
    return width, bits, planes


def first_of(stored: Buffer, raw_size: int) -> Bytes:
    """The first bytes of a low chunk of ``raw_size`` bytes, as many as an entry has.

    CorruptError for stored bytes that are not those of a low chunk.
    """
    check_size(raw_size)
    view, (width, bits, size) = read_header(stored, _HEADER, NAME)
    if width or bits or not 0 < size < raw_size:
        message = f"planes entry has {size} first bytes of {raw_size}"
        raise CorruptError(message)
    return _read_planes(view, 1, size)[0]


def planes_of(low: Buffer, count: int, low_bits: int) -> list[Plane]:
    """The planes of ``count`` numbers that stand whole in the beginning of their low chunk."""
    view, left, found = np.frombuffer(low, np.uint8), low_bits, []
    for bits, size in low_planes(count, low_bits):
        if len(view) < size:
            break
        left -= bits
        found.append(Plane(view[:size], bits, left))
        view = view[size:]
    return found


def merge(planes: Sequence[Plane], target: memoryview, width: int) -> None:
    """Fill ``target`` with numbers of the bits that the planes have, one at least, else zeros."""
    numbers, _ = elements(target, width)
    count = TILE // width
    wide = np.empty(min(count, len(numbers)), numbers.dtype)
    pair = np.empty(len(wide), np.uint16)
    for start in range(0, len(numbers), count):
        tile = numbers[start : start + count]
        scratch = wide[: len(tile)]
        into, at = tile, 0
        while at < len(planes):
            taken = planes[at : at + 2]
            if _is_pair(taken):
                _put_pair(taken, start, pair[: len(tile)], into)
            else:
                taken = taken[:1]
                values = _values(taken[0], start, len(tile))
                np.left_shift(values, taken[0].left, out=into, dtype=into.dtype)
            if into is scratch:
                np.bitwise_or(tile, scratch, out=tile)
            into, at = scratch, at + len(taken)


def _is_pair(planes: Sequence[Plane]) -> bool:
    """Whether these are two bytes, one beside the other: put together they are moved once."""
    return len(planes) > 1 and all(plane.bits == _BYTE for plane in planes)


def _put_pair(planes: Sequence[Plane], start: int, pair: Elements, target: Elements) -> None:
    high, low = (_values(plane, start, len(pair)) for plane in planes)
    left = planes[1].left
    into = pair if left or target.dtype != pair.dtype else target
    np.left_shift(high, _BYTE, out=into, dtype=pair.dtype)
    np.bitwise_or(into, low, out=into)
    if into is pair:
        np.left_shift(pair, left, out=target, dtype=target.dtype)


def _values(plane: Plane, start: int, count: int) -> Bytes:
    if plane.bits == _BYTE:
        return plane.values[start : start + count]
    return np.unpackbits(plane.values[start // _BYTE :][: -(-count // _BYTE)], count=count)


def _lefts(width: int, bits: int) -> list[int]:
    """How many bits are below each plane of the leading bits; the last may reach below them."""
    return [_BYTE * (width - 1 - place) for place in range(-(-bits // _BYTE))]


def _high_mask(bits: int) -> int:
    """Which bits of the last plane are among the leading ones."""
    return 0xFF << (-bits % _BYTE) & 0xFF


def _plane_at(numbers: Elements, left: int) -> Bytes:
    plane = np.empty(len(numbers), np.uint8)
    count = TILE // numbers.itemsize
    for start in range(0, len(numbers), count):
        tile = numbers[start : start + count]
        out = plane[start : start + count]
        np.right_shift(tile, left, out=out, dtype=tile.dtype, casting="unsafe")
    return plane


def _low_chunk(numbers: Elements, low_bits: int) -> bytes:
    planes, left = [], low_bits
    for bits, _ in low_planes(len(numbers), low_bits):
        left -= bits
        plane = _plane_at(numbers, left)
        planes.append(plane if bits == _BYTE else np.packbits(plane & 1))
    return b"".join(plane.data for plane in planes)


def _join(width: int, bits: int, planes: list[Bytes]) -> bytes:
    parts = [code_plane(plane) for plane in planes]
    sizes = b"".join(_SIZE.pack(len(part)) for part in parts)
    return b"".join((_HEADER.pack(width, bits, len(planes[0])), sizes, *parts))


def _read_planes(view: memoryview, count: int, size: int) -> list[Bytes]:
    """The ``count`` planes of ``size`` bytes each that stand behind the header."""
    start = _HEADER.size + _SIZE.size * count
    if len(view) < start:
        message = f"planes entry of {len(view)} bytes ends before its planes, at {start}"
        raise CorruptError(message)
    sizes = [stored for (stored,) in _SIZE.iter_unpack(view[_HEADER.size : start])]
    if start + sum(sizes) != len(view):
        message = f"planes entry of {len(view)} bytes has planes of {sizes}"
        raise CorruptError(message)
    planes = []
    for stored in sizes:
        planes.append(read_plane(view[start : start + stored], size))
        start += stored
    return planes

"""Floats as byte planes: those whose bytes repeat are coded, the others stay (SPEC §8.2).

Of a float's bits only the exponent's are far from random. They are made a plane of bytes of
their own, and zstd's Huffman coder takes that plane alone. Elements are cut in tiles that fit a
core's cache; NumPy and zstd release the GIL, so chunks are coded on several threads.
"""

import struct
from itertools import accumulate

import numpy as np

from mstore.codecs import BYTES, Layout
from mstore.codecs._byte_planes import code_plane, read_tiles
from mstore.codecs._elements import (
    Bytes,
    Elements,
    check_size,
    check_width,
    elements,
    read_header,
    read_tail,
    usable,
)
from mstore.errors import CorruptError
from mstore.ids import Buffer

NAME = "split-float"
CODE = 2
TAKES_BASE = False

TILE = 1 << 19
"""Bytes of the elements taken at a time: with what is made of them they fit a core's cache."""

_READ_COUNT = 1 << 17
"""Elements put together at a time. Their planes fit a core's cache, whatever the width."""

_HEADER = struct.Struct("<I")
_SIZE = struct.Struct("<I")
_SIGN, _BOTH = 0x80, 0x807F
_HALF = np.dtype("<u2")
_TOP = 2  # the bytes that have the sign and the exponent


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> bytes | None:
    """The byte planes of ``raw``, each as small as it gets, or None where none shrinks."""
    del base
    if not usable(raw, layout):
        return None
    numbers, tail = elements(raw, layout.width)
    planes = np.empty((layout.width, len(numbers)), np.uint8)
    _split(numbers, planes)
    parts = [code_plane(plane) for plane in planes]
    sizes = b"".join(_SIZE.pack(len(part)) for part in parts)
    size = _HEADER.size + len(sizes) + sum(map(len, parts)) + len(tail)
    if size >= len(raw):
        return None
    return b"".join((_HEADER.pack(layout.width), sizes, *parts, tail.data))


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Fill ``target`` with what ``stored`` holds; CorruptError for anything else."""
    del base
    check_size(len(target))
    view, (width,) = read_header(stored, _HEADER, NAME)
    numbers, tail = elements(target, check_width(width))
    start = _HEADER.size + _SIZE.size * width
    rest = read_tail(view, start, tail)
    sizes = [size for (size,) in _SIZE.iter_unpack(view[_HEADER.size : start])]
    if sum(sizes) != len(rest):
        message = f"split-float entry of {len(view)} bytes has planes of {sizes}"
        raise CorruptError(message)
    stops = list(accumulate(sizes))
    planes = [
        read_tiles(rest[stop - size : stop], len(numbers), _READ_COUNT)
        for size, stop in zip(sizes, stops, strict=True)
    ]
    _merge(planes, numbers)


def _split(numbers: Elements, planes: Bytes) -> None:
    """Byte k of each element to plane k; the sign and the exponent's last bit change places."""
    width = len(planes)
    if width == 1:
        planes[0] = numbers
        return
    count = TILE // width
    scratch = np.empty((2, count), np.uint16)
    for start in range(0, len(numbers), count):
        tile = numbers[start : start + count]
        cut = planes[:, start : start + count]
        top, low = scratch[:, : len(tile)]
        for at in range(width - _TOP):
            np.right_shift(tile, 8 * at, out=cut[at], dtype=tile.dtype, casting="unsafe")
        np.right_shift(tile, 8 * (width - _TOP), out=top, dtype=tile.dtype, casting="unsafe")
        np.right_shift(top, 7, out=cut[-1], dtype=top.dtype, casting="unsafe")
        # The sign takes bit 7, by exchanging what differs between it and the bit there.
        np.right_shift(top, 8, out=low)
        np.bitwise_xor(low, top, out=low)
        np.bitwise_and(low, _SIGN, out=low)
        np.bitwise_xor(low, top, out=cut[-2], dtype=top.dtype, casting="unsafe")


def _merge(planes: list[list[Bytes]], numbers: Elements) -> None:
    """The reverse of ``_split``, of planes that are cut into tiles."""
    width = len(planes)
    scratch = np.empty((2, min(len(numbers), _READ_COUNT)), np.uint16)
    for place, cut in enumerate(zip(*planes, strict=True)):
        tile = numbers[place * _READ_COUNT :][:_READ_COUNT]
        if width == 1:
            tile[:] = cut[0]
            continue
        top, sign = scratch[:, : len(tile)]
        # Copying into wider numbers, then multiplying, is faster than shifting into them.
        np.copyto(top, cut[-1])
        np.multiply(top, 1 << 7, out=top)
        # Made wider as a signed number, the sign fills the upper half.
        np.copyto(sign.view(np.int16), cut[-2].view(np.int8))
        np.bitwise_and(sign, _BOTH, out=sign)
        np.bitwise_or(top, sign, out=tile if width == _TOP else top)
        if width > _TOP:
            tile.view(_HALF).reshape(len(tile), -1)[:, -1] = top
            columns = tile.view(np.uint8).reshape(len(tile), width)
            for at in range(width - _TOP):
                columns[:, at] = cut[at]

"""Bytes as the elements of a tensor, and what a base predicts of them (SPEC §8.1)."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.codecs import Layout
from mstore.errors import CorruptError
from mstore.ids import Buffer

Elements = npt.NDArray[np.unsignedinteger[Any]]
Bytes = npt.NDArray[np.uint8]

MAX_RAW = 4 << 20
"""Bytes of a chunk (SPEC §11): what takes more is no chunk of a tensor."""

_MAX_ROW = (1 << 32) - 1

UNSIGNED: Mapping[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}


def elements(content: Buffer, width: int) -> tuple[Elements, Bytes]:
    """The whole elements of ``content`` and the bytes that are left, both without a copy."""
    whole = len(content) // width
    tail = np.frombuffer(content, np.uint8, offset=whole * width)
    return np.frombuffer(content, UNSIGNED[width], count=whole), tail


def predicted(base: Buffer, size: int, row: int, base_row: int) -> Bytes:
    """``size`` bytes as the base predicts them: its own, and zeros where it has none.

    With rows, byte (r, c) is byte (r, c) of the base. No copy where the base is long enough.
    """
    given = np.frombuffer(base, np.uint8)
    if not row and len(given) >= size:
        return given[:size]
    found = np.zeros(size, np.uint8)
    if not row:
        found[: len(given)] = given
        return found
    common = min(size // row, len(given) // base_row)
    width = min(row, base_row)
    ours = found[: common * row].reshape(common, row)
    ours[:, :width] = given[: common * base_row].reshape(common, base_row)[:, :width]
    ours_left = found[common * row :][:row]
    theirs_left = given[common * base_row :][:base_row]
    width = min(len(ours_left), len(theirs_left))
    ours_left[:width] = theirs_left[:width]
    return found


def read_header(
    stored: Buffer, header: struct.Struct, name: str
) -> tuple[memoryview, tuple[int, ...]]:
    """``stored`` and the numbers that it begins with; CorruptError when they are not all there."""
    view = memoryview(stored)
    if len(view) < header.size:
        message = f"{name} entry of {len(view)} bytes has no header"
        raise CorruptError(message)
    return view, header.unpack_from(view)


def read_tail(view: memoryview, start: int, tail: Bytes) -> memoryview:
    """Fill ``tail`` from the end of an entry, and give what is between ``start`` and it."""
    stop = len(view) - len(tail)
    if stop < start:
        message = f"entry of {len(view)} bytes ends before its streams, which start at {start}"
        raise CorruptError(message)
    tail[:] = np.frombuffer(view, np.uint8, offset=stop)
    return view[start:stop]


def check_width(width: int) -> int:
    """``width``; CorruptError unless it is 1, 2, 4 or 8."""
    if width not in UNSIGNED:
        message = f"entry has elements of {width} bytes, not of 1, 2, 4 or 8"
        raise CorruptError(message)
    return width


def check_count(count: int, numbers: Elements) -> None:
    """CorruptError unless an entry has as many elements as its payload has room for."""
    if count != len(numbers):
        message = f"entry has {count} elements, and its payload has room for {len(numbers)}"
        raise CorruptError(message)


def check_rows(row: int, base_row: int) -> None:
    """CorruptError unless both rows have bytes or neither has."""
    if bool(row) != bool(base_row):
        message = f"entry has rows of {row} bytes and its base rows of {base_row}"
        raise CorruptError(message)


def check_size(size: int) -> None:
    """CorruptError for more bytes than a chunk has."""
    if size > MAX_RAW:
        message = f"entry of a tensor's chunk holds {size} bytes, and at most {MAX_RAW} are allowed"
        raise CorruptError(message)


def usable(raw: Buffer, layout: Layout) -> bool:
    """Whether an encoder can take this: at least one whole element, at most a chunk."""
    rows_fit = bool(layout.row) == bool(layout.base_row) and max(layout[1:3]) <= _MAX_ROW
    return layout.width in UNSIGNED and layout.width <= len(raw) <= MAX_RAW and rows_fit

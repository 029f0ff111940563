"""The few elements that differ from a base: where they are, and by how much (SPEC §8.6).

For changes of up to one element in fifty: about as small as a stream that has a place for every
element, smaller below one in a thousand, and several times as fast both ways.
"""

import struct

import numpy as np

from mstore.codecs import BYTES, Layout
from mstore.codecs._elements import (
    Elements,
    check_count,
    check_rows,
    check_size,
    check_width,
    elements,
    predicted,
    read_header,
    read_tail,
    usable,
)
from mstore.codecs._pcodec import compress, decompress_into
from mstore.errors import CorruptError
from mstore.ids import Buffer

NAME = "sparse"
CODE = 5
TAKES_BASE = True

MAX_CHANGED = 1 / 50
"""Of all elements: above it a writer uses another codec."""
MAX_STORED = 8
"""A reader refuses more than one changed element in so many: it needs 20 bytes for each."""

_HEADER = struct.Struct("<IIIIII")


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> bytes | None:
    """The elements that differ from ``base``, or None where they are more than one in fifty."""
    if base is None or not usable(raw, layout):
        return None
    numbers, tail = elements(raw, layout.width)
    guess = predicted(base, numbers.nbytes, layout.row, layout.base_row)
    differences = numbers - guess.view(numbers.dtype)
    changed = np.count_nonzero(differences)
    if changed > len(numbers) * MAX_CHANGED:
        return None
    places = np.flatnonzero(differences)
    gaps = values = b""
    if changed:
        gaps = compress(np.diff(places, prepend=-1).astype(np.uint32) - np.uint32(1))
        values = compress(differences[places])
    rows = (layout.row, layout.base_row)
    head = _HEADER.pack(layout.width, len(numbers), *rows, changed, len(gaps))
    stored = b"".join((head, gaps, values, tail.data))
    return stored if len(stored) < len(raw) else None


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Fill ``target`` with ``base`` and the changes; CorruptError for anything else."""
    check_size(len(target))
    if base is None:
        message = "sparse entry has no base"
        raise CorruptError(message)
    view, (width, count, row, base_row, changed, gaps_size) = read_header(stored, _HEADER, NAME)
    check_rows(row, base_row)
    numbers, tail = elements(target, check_width(width))
    check_count(count, numbers)
    body = read_tail(view, _HEADER.size, tail)
    places, values = _changes(body, gaps_size, changed, numbers)
    guess = predicted(base, numbers.nbytes, row, base_row)
    numbers[:] = guess.view(numbers.dtype)
    numbers[places] += values


def _changes(
    body: memoryview, gaps_size: int, changed: int, numbers: Elements
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Elements]:
    """Where elements change and by how much; CorruptError where that is beyond the last."""
    if changed > len(numbers) // MAX_STORED or gaps_size > len(body):
        message = f"sparse entry changes {changed} of {len(numbers)} elements"
        raise CorruptError(message)
    if not changed:
        if len(body):
            message = f"sparse entry changes nothing and has {len(body)} bytes for it"
            raise CorruptError(message)
        return np.empty(0, np.int64), np.empty(0, numbers.dtype)
    gaps, values = np.empty(changed, np.uint32), np.empty(changed, numbers.dtype)
    decompress_into(body[:gaps_size], gaps)
    decompress_into(body[gaps_size:], values)
    places = np.cumsum(gaps, dtype=np.int64) + np.arange(changed)
    if places[-1] >= len(numbers):
        message = f"sparse entry changes element {places[-1]} of {len(numbers)}"
        raise CorruptError(message)
    return places, values

"""What changed since a base, as the differences of its bit patterns in pco (SPEC §8.5).

The difference wraps, so it is exact for every bit pattern: NaN payloads, -0 and subnormals
included.
"""

import struct

import numpy as np

from mstore.codecs import BYTES, Layout
from mstore.codecs._elements import (
    Elements,
    check_rows,
    check_size,
    check_width,
    elements,
    predicted,
    read_header,
    read_tail,
    usable,
)
from mstore.codecs._groups import MAX_GROUPS, choose_bounds, keys, members
from mstore.codecs._pcodec import compress, decompress_into
from mstore.errors import CorruptError
from mstore.ids import Buffer

NAME = "delta-pco"
CODE = 4
TAKES_BASE = True

_HEADER = struct.Struct("<HHII")
_LAST_KEY = 255
_GROUP = struct.Struct("<III")


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> bytes | None:
    """The differences from ``base`` as pco streams, or None where they are not smaller."""
    if base is None or not usable(raw, layout):
        return None
    numbers, tail = elements(raw, layout.width)
    predictions = predicted(base, numbers.nbytes, layout.row, layout.base_row)
    guess: Elements = predictions.view(numbers.dtype)
    differences = numbers - guess
    bounds = choose_bounds(guess, differences) if layout.small else []
    parts = _grouped(guess, differences, bounds) if bounds else [differences]
    streams = [compress(part) if len(part) else b"" for part in parts]
    table = b"".join(
        _GROUP.pack(first, len(part), len(stream))
        for first, part, stream in zip([0, *bounds], parts, streams, strict=True)
    )
    head = _HEADER.pack(layout.width, len(parts), layout.row, layout.base_row)
    stored = b"".join((head, table, *streams, tail.data))
    return stored if len(stored) < len(raw) else None


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Fill ``target`` with ``base`` and the differences; CorruptError for anything else."""
    check_size(len(target))
    if base is None:
        message = "delta-pco entry has no base"
        raise CorruptError(message)
    view, (width, groups, row, base_row) = read_header(stored, _HEADER, NAME)
    check_rows(row, base_row)
    numbers, tail = elements(target, check_width(width))
    start = _HEADER.size + _GROUP.size * groups
    streams = read_tail(view, start, tail)
    table = list(_GROUP.iter_unpack(view[_HEADER.size : start]))
    _check_table(table, numbers, len(streams))
    predictions = predicted(base, numbers.nbytes, row, base_row)
    guess: Elements = predictions.view(numbers.dtype)
    if groups == 1:
        decompress_into(streams, numbers)
    else:
        _ungroup(streams, table, guess, numbers)
    np.add(numbers, guess, out=numbers)


def is_grouped(head: Buffer) -> bool:
    """Whether an entry that begins with these bytes has several groups, which take longer."""
    groups: int = _HEADER.unpack_from(head)[1] if len(head) >= _HEADER.size else 1
    return groups > 1


def _grouped(guess: Elements, differences: Elements, bounds: list[int]) -> list[Elements]:
    """The differences of each group, in the order in which its elements stand."""
    parts: list[list[Elements]] = [[] for _ in range(len(bounds) + 1)]
    for start, places in members(keys(guess), bounds):
        tile = differences[start:]
        for part, at in zip(parts, places, strict=True):
            part.append(tile[at])
    return [np.concatenate(part) for part in parts]


def _ungroup(
    streams: memoryview, table: list[tuple[int, int, int]], guess: Elements, numbers: Elements
) -> None:
    """Put every group's differences in the places of its elements."""
    groups, start = [], 0
    for _, count, size in table:
        part = np.empty(count, numbers.dtype)
        if count:
            decompress_into(streams[start : start + size], part)
        groups.append(part)
        start += size
    used = [0] * len(groups)
    for start, places in members(keys(guess), [first for first, _, _ in table[1:]]):
        tile = numbers[start:]
        for at, place in enumerate(places):
            taken = groups[at][used[at] : used[at] + len(place)]
            used[at] += len(place)
            if len(taken) < len(place):
                message = f"delta-pco entry has too few differences in its group {at}"
                raise CorruptError(message)
            tile[place] = taken


def _check_table(table: list[tuple[int, int, int]], numbers: Elements, size: int) -> None:
    """CorruptError unless groups ascend from 0 and share out all numbers and all bytes."""
    firsts = [first for first, _, _ in table]
    if (
        not 0 < len(table) <= MAX_GROUPS
        or firsts != sorted(set(firsts))
        or firsts[0]
        or firsts[-1] > (_LAST_KEY if numbers.itemsize > 1 else 0)
        or sum(count for _, count, _ in table) != len(numbers)
        or sum(stored for _, _, stored in table) != size
        or any(bool(count) != bool(stored) for _, count, stored in table)
    ):
        message = (
            f"delta-pco entry has the groups {table} for {len(numbers)} elements in {size} bytes"
        )
        raise CorruptError(message)

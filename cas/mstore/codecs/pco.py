"""Numbers that follow a distribution, coded to within a hundredth of its entropy (SPEC §8.4).

Each element is taken as an unsigned integer. For integers and masks, whose bytes say little one
by one; floats are as small in ``split-float``, which is several times faster to write.
"""

import struct

from mstore.codecs import BYTES, Layout
from mstore.codecs._elements import (
    check_count,
    check_size,
    check_width,
    elements,
    read_header,
    read_tail,
    usable,
)
from mstore.codecs._pcodec import compress, decompress_into
from mstore.ids import Buffer

NAME = "pco"
CODE = 3
TAKES_BASE = False

_HEADER = struct.Struct("<II")


def encode(raw: Buffer, layout: Layout = BYTES, base: Buffer | None = None) -> bytes | None:
    """``raw`` as a pco stream and the bytes behind its last whole element, or None."""
    del base
    if not usable(raw, layout):
        return None
    numbers, tail = elements(raw, layout.width)
    stored = b"".join((_HEADER.pack(layout.width, len(numbers)), compress(numbers), tail.data))
    return stored if len(stored) < len(raw) else None


def decode_into(stored: Buffer, target: memoryview, base: Buffer | None = None) -> None:
    """Fill ``target`` with what ``stored`` holds; CorruptError for anything else."""
    del base
    check_size(len(target))
    view, (width, count) = read_header(stored, _HEADER, NAME)
    numbers, tail = elements(target, check_width(width))
    check_count(count, numbers)
    decompress_into(read_tail(view, _HEADER.size, tail), numbers)

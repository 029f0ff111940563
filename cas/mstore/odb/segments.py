"""Many pack indexes merged into one sorted table that is quick to open and to search.

A segment is a cache: immutable, named by its content, and worth nothing when its checksum does
not hold. It is laid out as ``magic | pack count u64 | row count u64 | pack names | rows |
BLAKE3 of what precedes``. A pack name is 64 hex digits, ``.pack`` and a line feed; a row is the
64 bytes of a pack index followed by the number of its pack (u32). All integers are little-endian.

1. Rows ascend, so the copies of one object stand together.
2. A pack that a segment names has all its rows in it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from math import isqrt
from typing import NamedTuple

from blake3 import blake3

from mstore.errors import CorruptError
from mstore.ids import ID_SIZE

PACK_ROW = 64
"""Bytes of a row of a pack index (SPEC §7)."""

_MAGIC = b"MSTORESG"
_HEAD = len(_MAGIC) + 16
_NAME = 64 + len(".pack\n")
_ROW = PACK_ROW + 4
_CHECK = 32
_BISECT_REACH = 2


class Copy(NamedTuple):
    """One place where an object is said to be: a pack's name and the row of its index."""

    pack: str
    row: bytes


class Segment:
    """The rows of some packs, in the order of the ids."""

    def __init__(self, packs: tuple[str, ...], content: bytes, start: int, stop: int) -> None:
        """The rows are ``content[start:stop]``, which is not copied."""
        self.packs = packs
        self._content = content
        self._start = start
        self._stop = stop
        self.row_count = (stop - start) // _ROW

    def find(self, oid: bytes) -> list[Copy]:
        """Every place of an object that this segment knows. Cost: about two microseconds."""
        at, copies = self._lower_bound(oid), []
        while at < self.row_count and self._id(at) == oid:
            copies.append(self._copy(at))
            at += 1
        return copies

    def span(self, low: bytes, high: bytes) -> Iterator[Copy]:
        """The places of all objects with ``low`` <= id <= ``high``, in the order of the ids."""
        at = self._lower_bound(low)
        while at < self.row_count and self._id(at) <= high:
            yield self._copy(at)
            at += 1

    def by_pack(self) -> dict[str, list[bytes]]:
        """The rows of each pack, as its index has them."""
        found: dict[str, list[bytes]] = {name: [] for name in self.packs}
        columns = list(found.values())
        content = self._content
        for start in range(self._start, self._stop, _ROW):
            middle = start + PACK_ROW
            number = int.from_bytes(content[middle : middle + 4], "little")
            columns[number].append(content[start:middle])
        return found

    def encode(self) -> bytes:
        """The segment as bytes; equal segments give equal bytes."""
        head = _MAGIC + len(self.packs).to_bytes(8, "little")
        head += (
            self.row_count.to_bytes(8, "little")
            + "".join(f"{pack}\n" for pack in self.packs).encode()
        )
        rows = self._content[self._start : self._stop]
        return b"".join((head, rows, blake3(head).update(rows).digest()))

    def _lower_bound(self, oid: bytes) -> int:
        # Ids are hashes, so a row lies within a few times sqrt(n) of where its id says: two
        # probes replace the first half of the bisection.
        count = self.row_count
        guess = (int.from_bytes(oid[:4], "big") * count) >> 32
        reach = _BISECT_REACH * isqrt(count) + 8
        low, high = max(0, guess - reach), min(count, guess + reach)
        if (low and self._id(low) >= oid) or (high < count and self._id(high) < oid):
            low, high = 0, count
        return bisect_left(range(count), oid, low, high, key=self._id)

    def _id(self, at: int) -> bytes:
        start = self._start + at * _ROW
        return self._content[start : start + ID_SIZE]

    def _copy(self, at: int) -> Copy:
        start = self._start + at * _ROW
        row = self._content[start : start + _ROW]
        number = int.from_bytes(row[PACK_ROW:], "little")
        return Copy(self.packs[number], row[:PACK_ROW])


def merge_rows(packs: Iterable[tuple[str, Iterable[bytes]]]) -> Segment:
    """The segment of some packs, each with the rows of its index; a pack may come only once."""
    names: list[str] = []
    rows: list[bytes] = []
    for number, (name, pack_rows) in enumerate(packs):
        names.append(name)
        suffix = number.to_bytes(4, "little")
        rows += [row + suffix for row in pack_rows]
    rows.sort()
    content = b"".join(rows)
    return Segment(tuple(names), content, 0, len(content))


def decode_segment(content: bytes) -> Segment:
    """Read a segment back; CorruptError when it is torn, changed or of another format."""
    pack_count = int.from_bytes(content[8:16], "little")
    row_count = int.from_bytes(content[16:_HEAD], "little")
    rows_at = _HEAD + pack_count * _NAME
    end = rows_at + row_count * _ROW
    if content[:8] != _MAGIC or len(content) != end + _CHECK:
        raise CorruptError(f"index segment of {len(content)} bytes is torn")
    if blake3(memoryview(content)[:end]).digest() != content[end:]:
        raise CorruptError("index segment does not match its checksum")
    packs = tuple(content[_HEAD:rows_at].decode("ascii", "replace").splitlines())
    return Segment(packs, content, rows_at, end)

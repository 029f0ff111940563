"""Many pack indexes merged into one sorted table that is quick to open and to search.

A segment is a cache: immutable, named by its content, and worth nothing where a checksum does
not hold. It is laid out as ``head | blocks``, all integers little-endian:

* head: ``magic | size of the pack names u64 | row count u64 | pack names, each with a line feed |
  for each block its first id, the offset of its end among the blocks (u64) and its BLAKE3 |
  bytes 8 and 9 of each row's id | BLAKE3 of the head before this``;
* block: up to 256 rows, each the 64 bytes of a pack index, the number of its pack (u32) and the
  number of its base (u32, counted from 1; 0 without), then the ids of the bases in the block.

1. Rows ascend, so the copies of one object stand together.
2. A pack that a segment names has all its rows in it.
3. A block is read, and held against its checksum, when it is first needed: opening a segment of
   any size costs little more than reading the names of its packs. For nearly all objects that
   are not here, as most of what is put is not, the two bytes of each id in the head tell so.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from typing import NamedTuple

from blake3 import blake3

from mstore.errors import CorruptError
from mstore.ids import ID_SIZE

PACK_ROW = 64
"""Bytes of a row of a pack index (SPEC §7)."""
BLOCK_ROWS = 256

_MAGIC = b"MSTORES2"
_FIXED = len(_MAGIC) + 16
_NUMBERED = PACK_ROW + 4
_ROW = _NUMBERED + 4
_CHECK = 32
_LISTED = ID_SIZE + 8 + _CHECK
_MARK = slice(8, 10)
_MARK_SIZE = 2
_AT_ONCE = 128 << 10
_FEW_BLOCKS = 8
_FEW_OF_ALL = 10

Read = Callable[[int, int], bytes]
"""Gives the bytes ``[start, stop)`` of a segment."""


class Copy(NamedTuple):
    """One place where an object is said to be.

    ``row`` is as the index of the pack has it, and ``base`` the id that it names there as a
    number.
    """

    pack: str
    row: bytes
    base: bytes | None


class Segment:
    """The rows of some packs, in the order of the ids.

    Every question raises what reading raises, and CorruptError for a block that has changed.
    """

    def __init__(self, head: bytes, row_count: int, read: Read) -> None:
        """``head`` has been verified; ``read`` is asked for what comes behind it."""
        self.row_count = row_count
        self._head = head
        self._read = read
        self._blocks: dict[int, bytes] = {}

    @property
    def name(self) -> str:
        """32 hex digits that name the content."""
        return self._head[-_CHECK : -_CHECK // 2].hex()

    @property
    def end(self) -> int:
        """Bytes of the whole segment, by its head."""
        return self._end_of(len(self._first_ids) - 1)

    @cached_property
    def packs(self) -> tuple[str, ...]:
        """The packs whose rows are here."""
        names = memoryview(self._head)[_FIXED : self._listed_at]
        return tuple(str(names, "ascii", "replace").split("\n")[:-1])

    def has_pack(self, pack: str) -> bool:
        """Whether a pack's rows are here; quick for a few questions, and then ``packs`` is."""
        line = f"{pack}\n".encode()
        at = self._head.find(line, _FIXED, self._listed_at)
        return at == _FIXED or (at > 0 and self._head[at - 1 : at] == b"\n")

    def find(self, oid: bytes) -> list[Copy]:
        """Every place of an object that this segment knows. Cost: some five microseconds."""
        found: list[Copy] = []
        for number in self._blocks_of(oid, oid):
            if not self._may_hold(number, oid):
                continue
            block, count = self._block(number), self._rows_of(number)
            start = block.find(oid, 0, count * _ROW)
            while start >= 0:
                at, inside = divmod(start, _ROW)
                if not inside:
                    found.append(self._copy(block, count, at))
                start = block.find(oid, start + 1, count * _ROW)
        return found

    def span(self, low: bytes, high: bytes) -> Iterator[Copy]:
        """The places of all objects with ``low`` <= id <= ``high``, in the order of the ids."""
        for number in self._blocks_of(low, high):
            block, count = self._block(number), self._rows_of(number)
            first = bisect_left(range(count), low, key=partial(_id, block))
            for at in range(first, count):
                if _id(block, at) > high:
                    return
                yield self._copy(block, count, at)

    def by_pack(self) -> dict[str, list[Copy]]:
        """The rows of each pack, in the order of its index."""
        found: dict[str, list[Copy]] = {name: [] for name in self.packs}
        for number in range(len(self._first_ids)):
            block, count = self._block(number), self._rows_of(number)
            for at in range(count):
                copy = self._copy(block, count, at)
                found[copy.pack].append(copy)
        return found

    def encode(self) -> bytes:
        """The segment as bytes; equal segments give equal bytes."""
        blocks = map(self._block, range(len(self._first_ids)))
        return b"".join((self._head, *blocks))

    @property
    def _listed_at(self) -> int:
        return _FIXED + int.from_bytes(self._head[8:16], "little")

    @cached_property
    def _first_ids(self) -> list[bytes]:
        places = range(self._listed_at, self._marks_at, _LISTED)
        return [self._head[at : at + ID_SIZE] for at in places]

    @property
    def _marks_at(self) -> int:
        return len(self._head) - _CHECK - self.row_count * _MARK_SIZE

    def _may_hold(self, number: int, oid: bytes) -> bool:
        start = self._marks_at + number * BLOCK_ROWS * _MARK_SIZE
        stop = start + self._rows_of(number) * _MARK_SIZE
        return self._head.find(oid[_MARK], start, stop) >= 0

    def _blocks_of(self, low: bytes, high: bytes) -> range:
        # Those of an object may begin in one block and end in the next.
        first = max(0, bisect_left(self._first_ids, low) - 1)
        return range(first, bisect_right(self._first_ids, high))

    def _rows_of(self, number: int) -> int:
        return min(BLOCK_ROWS, self.row_count - number * BLOCK_ROWS)

    def _end_of(self, number: int) -> int:
        if number < 0:
            return len(self._head)
        at = self._listed_at + number * _LISTED + ID_SIZE
        return len(self._head) + int.from_bytes(self._head[at : at + 8], "little")

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._load(number)
        return block

    def _load(self, number: int) -> bytes:
        if len(self._blocks) == _FEW_BLOCKS + len(self._first_ids) // _FEW_OF_ALL:
            # So many reads cost as much as a single one of everything.
            self._read = _part_of(self._read(0, self.end))
        block = self._read(self._end_of(number - 1), self._end_of(number))
        check_at = self._listed_at + (number + 1) * _LISTED - _CHECK
        if blake3(block).digest() != self._head[check_at : check_at + _CHECK]:
            raise CorruptError(f"block {number} of an index segment does not match its checksum")
        return block

    def _copy(self, block: bytes, count: int, at: int) -> Copy:
        start = at * _ROW
        pack = int.from_bytes(block[start + PACK_ROW : start + _NUMBERED], "little")
        base = int.from_bytes(block[start + _NUMBERED : start + _ROW], "little")
        base_at = count * _ROW + (base - 1) * ID_SIZE
        if pack >= len(self.packs) or (base and base_at + ID_SIZE > len(block)):
            raise CorruptError(f"row of an index segment names pack {pack} and base {base}")
        base_id = block[base_at : base_at + ID_SIZE] if base else None
        return Copy(self.packs[pack], block[start : start + PACK_ROW], base_id)


def merge_rows(packs: Iterable[tuple[str, Iterable[Copy]]]) -> Segment:
    """The segment of some packs, each with the rows of its index; a pack may come only once."""
    names: list[str] = []
    rows: list[bytes] = []
    for number, (name, copies) in enumerate(packs):
        names.append(name)
        suffix = number.to_bytes(4, "little")
        rows += [copy.row + suffix + (copy.base or b"") for copy in copies]
    rows.sort()
    starts = range(0, len(rows), BLOCK_ROWS)
    blocks = [_encode_block(rows[at : at + BLOCK_ROWS]) for at in starts]
    lines = "".join(f"{name}\n" for name in names).encode()
    parts = [_MAGIC, len(lines).to_bytes(8, "little"), len(rows).to_bytes(8, "little"), lines]
    end = 0
    for block in blocks:
        end += len(block)
        parts += [block[:ID_SIZE], end.to_bytes(8, "little"), blake3(block).digest()]
    parts += [row[_MARK] for row in rows]
    unchecked = b"".join(parts)
    head = unchecked + blake3(unchecked).digest()
    content = b"".join((head, *blocks))
    return Segment(head, len(rows), _part_of(content))


def open_segment(size: int, read: Read) -> Segment:
    """Read the head of a segment of ``size`` bytes.

    CorruptError when it is torn, changed or of another format; its blocks are looked at later.
    """
    start = read(0, size if size <= _AT_ONCE else _FIXED)
    names_size, row_count = (int.from_bytes(start[at : at + 8], "little") for at in (8, 16))
    listed_size = -(-row_count // BLOCK_ROWS) * _LISTED
    head_size = _FIXED + names_size + listed_size + row_count * _MARK_SIZE + _CHECK
    if start[:8] != _MAGIC or head_size > size:
        raise CorruptError(f"index segment of {size} bytes is torn")
    head = start[:head_size] if size <= _AT_ONCE else read(0, head_size)
    if blake3(memoryview(head)[:-_CHECK]).digest() != head[-_CHECK:]:
        raise CorruptError("index segment does not match its checksum")
    segment = Segment(head, row_count, _part_of(start) if size <= _AT_ONCE else read)
    if segment.end != size:
        raise CorruptError(f"index segment of {size} bytes is torn")
    return segment


def decode_segment(content: bytes) -> Segment:
    """Read a whole segment back; CorruptError when it is torn, changed or of another format."""
    segment = open_segment(len(content), _part_of(content))
    segment.encode()
    return segment


def _id(block: bytes, at: int) -> bytes:
    return block[at * _ROW : at * _ROW + ID_SIZE]


def _part_of(content: bytes) -> Read:
    return lambda start, stop: content[start:stop]


def _encode_block(rows: list[bytes]) -> bytes:
    bases = sorted({row[_NUMBERED:] for row in rows} - {b""})
    numbers = {base: number.to_bytes(4, "little") for number, base in enumerate(bases, 1)}
    numbers[b""] = bytes(4)
    return b"".join((*(row[:_NUMBERED] + numbers[row[_NUMBERED:]] for row in rows), *bases))

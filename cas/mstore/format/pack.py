"""Packs: the files that hold objects, and the index at their end (SPEC §7).

A pack is a 16-byte header, the entries' bytes with zero padding between them, and the index
section: rows sorted by id, base ids, trailer. The pack is named by the BLAKE3 of its index
section, which lists every id in it, so the name commits to all of its content.

Rows are read one at a time from a memory map: nothing here needs the whole index in memory.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from mstore.errors import CorruptError, InvalidInputError, MstoreError, UnsupportedError
from mstore.format.objects import MAX_PAYLOAD
from mstore.ids import ID_SIZE, Buffer, Kind, ObjectId

MAGIC: Final = b"MSTOREPK"
VERSION: Final = 1
HEADER: Final = MAGIC + VERSION.to_bytes(4, "little") + bytes(4)
HEADER_SIZE: Final = 16
ROW_SIZE: Final = 64
TRAILER_SIZE: Final = 32
CHECK_SIZE: Final = 8
"""Bytes of the checksum of an entry that is not stored raw."""
RAW: Final = 0
"""The codec of an entry stored as it is."""
ALIGNMENT: Final = 64
"""Every entry starts on a multiple of this: the widest SIMD load of today."""
PAGE: Final = 4096
"""Raw chunks of ``PAGE_FROM`` bytes or more start on a multiple of this, to be mapped."""
PAGE_FROM: Final = 64 << 10
PACK_CAP: Final = 1 << 30
"""Bytes a writer puts into one pack, index aside; a bigger pack is read all the same."""
MAX_ROWS: Final = 1 << 26
"""Rows of one index: 4 GiB of it."""
PACK_CONTEXT: Final = "mstore v1 pack"

_ROW = struct.Struct("<32sQIIBBHI8s")
_TRAILER = struct.Struct("<QIIQ8s")
_BASE_FIELD: Final = slice(52, 56)
_NO_CHECK = bytes(CHECK_SIZE)
_KINDS: Final = {int(kind): kind for kind in Kind}


class Entry(NamedTuple):
    """One object's place in a pack: ``stored_size`` bytes from ``offset``, under ``codec``.

    ``raw_size`` is the size after decoding. ``check`` is what ``stored_check`` gives for the
    stored bytes, or zeros when they are raw. ``base`` is the object a delta codec starts from.
    """

    id: ObjectId
    kind: Kind
    codec: int
    offset: int
    stored_size: int
    raw_size: int
    check: bytes = _NO_CHECK
    base: ObjectId | None = None


class Trailer(NamedTuple):
    """Where a pack's index section starts, and what it holds."""

    index_offset: int
    row_count: int
    base_count: int


def align(offset: int, size: int, raw: bool) -> int:  # noqa: FBT001 - (place, length, how)
    """The first offset from ``offset`` on at which an entry of ``size`` stored bytes may start.

    ``raw`` is true for a chunk stored as it is; from 64 KiB on it starts on a page (SPEC §7.2).
    """
    step = PAGE if raw and size >= PAGE_FROM else ALIGNMENT
    return -(-offset // step) * step


def stored_check(stored: Buffer) -> bytes:
    """The check of an entry that is not raw: the first 8 bytes of BLAKE3 of its stored bytes."""
    return blake3(stored).digest(CHECK_SIZE)


def encode_index(entries: Iterable[Entry]) -> bytes:
    """The index section that follows the last entry's last byte.

    InvalidInputError when the entries break a rule of SPEC §7, as overlapping or listing an id
    twice would.
    """
    ordered = sorted(entries, key=lambda entry: entry.id)
    bases = sorted({entry.base for entry in ordered if entry.base is not None})
    places = {base: place for place, base in enumerate(bases, 1)}
    index_offset = max((e.offset + e.stored_size for e in ordered), default=HEADER_SIZE)
    try:
        rows = [_pack_row(entry, places) for entry in ordered]
        trailer = _TRAILER.pack(index_offset, len(rows), len(bases), 0, MAGIC)
        section = b"".join((*rows, *bases, trailer))
        again = decode_index(section, index_offset)
    except (struct.error, MstoreError) as error:
        message = f"cannot write a pack index: {error}"
        raise InvalidInputError(message) from error
    if again != ordered:
        message = "cannot write a pack index: a check is not 8 bytes"
        raise InvalidInputError(message)
    return section


def pack_name(index: Buffer) -> str:
    """The 64 hex digits that name the pack with this index section."""
    return blake3(index, derive_key_context=PACK_CONTEXT).hexdigest()


def check_header(head: Buffer) -> None:
    """CorruptError unless ``head`` starts as a pack does; UnsupportedError for another version."""
    start = bytes(head[:HEADER_SIZE])
    if len(start) < HEADER_SIZE or start[:8] != MAGIC:
        message = "pack header: not a pack"
        raise CorruptError(message)
    version = int.from_bytes(start[8:12], "little")
    if version > VERSION:
        message = f"pack header: version {version} is newer than {VERSION}"
        raise UnsupportedError(message, hint="use a newer mstore")
    if start != HEADER:
        message = "pack header: not in canonical form"
        raise CorruptError(message)


def decode_trailer(last: Buffer, file_size: int) -> Trailer:
    """What the last ``TRAILER_SIZE`` bytes of a pack of ``file_size`` bytes say.

    CorruptError for a file that is cut short, foreign, or whose parts do not add up.
    """
    if len(last) != TRAILER_SIZE:
        message = f"pack trailer: {len(last)} bytes, not {TRAILER_SIZE}"
        raise CorruptError(message)
    index_offset, row_count, base_count, zero, magic = _TRAILER.unpack(last)
    if magic != MAGIC or zero:
        message = "pack trailer: not the end of a pack"
        raise CorruptError(message)
    if row_count > MAX_ROWS or base_count > row_count:
        message = f"pack trailer: {row_count} rows, {base_count} bases, over the limit"
        raise CorruptError(message)
    end = index_offset + ROW_SIZE * row_count + ID_SIZE * base_count + TRAILER_SIZE
    if index_offset < HEADER_SIZE or end != file_size:
        message = f"pack trailer: describes {end} bytes, the file has {file_size}"
        raise CorruptError(message)
    return Trailer(index_offset, row_count, base_count)


def unpack_row(index: Buffer, place: int) -> Entry:
    """The entry in row ``place`` of a whole index section. About 2 µs; checks this row only."""
    row = index[place * ROW_SIZE : (place + 1) * ROW_SIZE]
    return row_entry(row, _base(index, place, base_number(row)))


def base_number(row: Buffer) -> int:
    """Where a row's base stands in its pack's base table, counted from 1; 0 without a base."""
    return int.from_bytes(row[_BASE_FIELD], "little")


def row_entry(row: Buffer, base: bytes | None) -> Entry:
    """The entry of one 64-byte row whose base's id is known; every rule of a row is checked.

    CorruptError too when ``base`` is missing for a row that names one, or given for another.
    """
    oid, offset, stored, raw, kind, codec, zero, number, check = _ROW.unpack(row)
    known = _KINDS.get(kind)
    if known is None:
        raise _unknown_kind(oid, kind)
    if zero:
        raise _bad_row(oid, "unused bytes are not zero")
    limit = MAX_PAYLOAD[known]
    if not 0 < raw <= limit or not 0 < stored <= limit:
        raise _bad_row(oid, f"sizes {stored} and {raw} are not within 1 to {limit}")
    if codec == RAW and (stored != raw or number or check != _NO_CHECK):
        raise _bad_row(oid, "a raw entry with a coded entry's fields")
    if codec != RAW and stored >= raw:
        raise _bad_row(oid, f"{stored} bytes stored for {raw}")
    if bool(number) != (base is not None):
        raise _bad_row(oid, f"base {number} does not stand in the base table")
    start = None if base is None else ObjectId(base)
    return Entry(ObjectId(oid), known, codec, offset, stored, raw, check, start)


def row_id(index: Buffer, place: int) -> bytes:
    """The id in row ``place``, and nothing else of it."""
    start = place * ROW_SIZE
    return bytes(index[start : start + ID_SIZE])


def find_row(index: Buffer, row_count: int, oid: bytes) -> int:
    """The place of the first row whose id is not below ``oid``; ``row_count`` when none is.

    Compare ``row_id`` to know whether it is that id. ``oid`` may be a prefix of an id.
    """
    low, high = 0, row_count
    while low < high:
        middle = (low + high) // 2
        if row_id(index, middle) < oid:
            low = middle + 1
        else:
            high = middle
    return low


def decode_index(index: Buffer, index_offset: int) -> list[Entry]:
    """All entries of an index section, in the order of their ids, every rule of SPEC §7 checked.

    ``index_offset`` is where the section starts in its file. Costs about 2 µs per row.
    """
    trailer = decode_trailer(index[-TRAILER_SIZE:], index_offset + len(index))
    if trailer.index_offset != index_offset:
        message = f"pack trailer: index at {trailer.index_offset}, not at {index_offset}"
        raise CorruptError(message)
    entries = [unpack_row(index, place) for place in range(trailer.row_count)]
    for place in range(1, len(entries)):
        if entries[place - 1].id >= entries[place].id:
            message = f"pack row {place}: id out of order or twice"
            raise CorruptError(message)
    _check_bases(index, trailer, entries)
    _check_extents(entries, index_offset)
    return entries


def _pack_row(entry: Entry, places: dict[ObjectId, int]) -> bytes:
    base = places[entry.base] if entry.base is not None else 0
    return _ROW.pack(
        entry.id,
        entry.offset,
        entry.stored_size,
        entry.raw_size,
        entry.kind,
        entry.codec,
        0,
        base,
        entry.check,
    )


def _bad_row(oid: bytes, reason: str) -> CorruptError:
    return CorruptError(f"pack row of '{oid.hex()}': {reason}")


def _unknown_kind(oid: bytes, kind: int) -> UnsupportedError:
    message = f"pack row of '{oid.hex()}': unknown kind {kind}"
    return UnsupportedError(message, hint="a newer mstore may know it")


def _base(index: Buffer, place: int, base: int) -> ObjectId | None:
    if not base:
        return None
    _, row_count, base_count, _, _ = _TRAILER.unpack(index[-TRAILER_SIZE:])
    start = row_count * ROW_SIZE + (base - 1) * ID_SIZE
    if base > base_count or start + ID_SIZE > len(index) - TRAILER_SIZE:
        raise _bad_row(row_id(index, place), f"base {base} of {base_count}")
    return ObjectId(bytes(index[start : start + ID_SIZE]))


def _check_bases(index: Buffer, trailer: Trailer, entries: Sequence[Entry]) -> None:
    """The base table holds exactly the bases that rows use, sorted; no entry is its own base."""
    start = trailer.row_count * ROW_SIZE
    table = [
        bytes(index[start + place * ID_SIZE : start + (place + 1) * ID_SIZE])
        for place in range(trailer.base_count)
    ]
    if table != sorted({entry.base for entry in entries if entry.base is not None}):
        message = "pack index: the base table is not what the rows use, in order"
        raise CorruptError(message)
    if any(entry.base == entry.id for entry in entries):
        message = "pack index: an entry is its own base"
        raise CorruptError(message)


def _check_extents(entries: Sequence[Entry], index_offset: int) -> None:
    position = HEADER_SIZE
    for entry in sorted(entries, key=lambda entry: entry.offset):
        raw_chunk = entry.codec == RAW and entry.kind is Kind.CHUNK
        if entry.offset < position:
            message = f"pack entry {entry.id}: overlaps the one before it or the header"
            raise CorruptError(message)
        if align(entry.offset, entry.stored_size, raw_chunk) != entry.offset:
            message = f"pack entry {entry.id}: offset {entry.offset} is not aligned"
            raise CorruptError(message)
        if entry.offset - position >= PAGE:
            message = f"pack entry {entry.id}: {entry.offset - position} unused bytes before it"
            raise CorruptError(message)
        position = entry.offset + entry.stored_size
    if position != index_offset:
        message = f"pack index: starts at {index_offset}, the last entry ends at {position}"
        raise CorruptError(message)

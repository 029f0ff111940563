"""Where the records of a zip archive stand, as its central directory says (PKWARE APPNOTE 6.3).

Only archives that can be read in one way are taken: one disk, no comment, every record stored as
it is, no name twice. ``torch.save`` and ``numpy.savez`` write such archives.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.layout import MAX_LITERALS, Read

SIGNATURE: Final = b"PK\x03\x04"
"""What an archive with a record begins with."""

_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s22xHH")
_END: Final = struct.Struct("<4s4H2IH")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR: Final = struct.Struct("<4sIQI")
_WIDE: Final = 0xFFFFFFFF
_WIDE_COUNT: Final = 0xFFFF
_EXTRA_64: Final = 1
_ENCRYPTED: Final = 1


class Record(NamedTuple):
    """The bytes of one record: ``size`` of them from ``start`` on in the archive."""

    start: int
    size: int


class _Directory(NamedTuple):
    entries: int
    start: int
    size: int


def records(size: int, read: Read) -> dict[str, Record]:
    """The records of an archive of ``size`` bytes by name, in the order of the directory.

    CorruptError for what is no archive, UnsupportedError for one that is compressed, encrypted or
    in pieces. Reads the directory and the first bytes of every record.
    """
    directory = _find_directory(size, read)
    content = read(directory.start, directory.size)
    found: dict[str, Record] = {}
    taken: list[tuple[int, int]] = []
    for name, stored, header in _entries(content, directory.entries):
        if name in found:
            message = f"record '{name}' stands twice"
            raise CorruptError(message)
        found[name] = _locate(name, stored, header, directory.start, read)
        taken.append((header, found[name].start + stored))
    taken.sort()
    if any(start < stop for (_, stop), (start, _) in pairwise(taken)):
        message = "two records share some of their bytes"
        raise CorruptError(message)
    return found


def _find_directory(size: int, read: Read) -> _Directory:
    start = size - _END.size
    if start < 0:
        message = "too short for an archive"
        raise CorruptError(message)
    mark, *fields, comment = _END.unpack(read(start, _END.size))
    if mark != b"PK\x05\x06" or comment:
        message = "no directory at the end"
        raise CorruptError(message)
    start, fields = _wide_end(start, fields, read)
    disk, first_disk, here, count, length, offset = fields
    if disk or first_disk or here != count:
        message = "an archive in pieces"
        raise UnsupportedError(message)
    if length > MAX_LITERALS or offset + length > start:
        message = f"a directory of {length} bytes at {offset}"
        raise CorruptError(message)
    return _Directory(count, offset, length)


def _wide_end(end: int, fields: list[int], read: Read) -> tuple[int, list[int]]:
    """Where the directory must end, and the fields of its end: those of zip64 where it has them.

    Some readers look for zip64 always, others only where a field is too large for 32 bits: both
    must see the same.
    """
    at = end - _LOCATOR.size
    mark, disk, start, _ = _LOCATOR.unpack(read(at, _LOCATOR.size)) if at >= 0 else (b"", 0, 0, 0)
    if mark != b"PK\x06\x07":
        if _WIDE_COUNT in fields[:4] or _WIDE in fields[4:]:
            message = "no zip64 directory"
            raise CorruptError(message)
        return end, fields
    if disk or start + _END_64.size > at:
        message = "no zip64 directory at its place"
        raise CorruptError(message)
    mark, _, _, _, *found = _END_64.unpack(read(start, _END_64.size))
    limits = (_WIDE_COUNT,) * 4 + (_WIDE,) * 2
    same = all(
        short in (long, limit) for short, long, limit in zip(fields, found, limits, strict=True)
    )
    if mark != b"PK\x06\x06" or not same:
        message = "a zip64 directory that is another one"
        raise CorruptError(message)
    return start, found


def _entries(content: bytes, count: int) -> Iterator[tuple[str, int, int]]:
    """Name, size and place of the local header of every record."""
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(content):
            message = "the directory ends in an entry"
            raise CorruptError(message)
        fields = _ENTRY.unpack_from(content, at)
        mark, _, _, flags, method = fields[:5]
        packed, size, name_size, extra_size, comment_size, disk, _, _, header = fields[8:]
        start = at + _ENTRY.size
        at = start + name_size + extra_size + comment_size
        if mark != b"PK\x01\x02" or at > len(content):
            message = "an entry of the directory is broken"
            raise CorruptError(message)
        if method or flags & _ENCRYPTED:
            message = "a record is compressed or encrypted"
            raise UnsupportedError(message)
        extra = content[start + name_size : start + name_size + extra_size]
        size, packed, header = _widened([size, packed, header], extra)
        if packed != size or disk:
            message = "a record has two sizes, or stands elsewhere"
            raise CorruptError(message)
        yield _name(content[start : start + name_size]), size, header
    if at != len(content):
        message = f"the directory has {len(content)} bytes, its entries {at}"
        raise CorruptError(message)


def _name(packed: bytes) -> str:
    try:
        return packed.decode()
    except UnicodeDecodeError:
        message = "a record whose name is not UTF-8"
        raise UnsupportedError(message) from None


def _widened(numbers: list[int], extra: bytes) -> list[int]:
    """Numbers of 32 bits, those that are too large for that taken from the zip64 field."""
    if _WIDE not in numbers:
        return numbers
    wide = iter(_wide_numbers(extra))
    try:
        return [next(wide) if number == _WIDE else number for number in numbers]
    except (StopIteration, RuntimeError):
        message = "a record without its zip64 sizes"
        raise CorruptError(message) from None


def _wide_numbers(extra: bytes) -> tuple[int, ...]:
    at = 0
    while at + 4 <= len(extra):
        tag, size = struct.unpack_from("<HH", extra, at)
        if tag == _EXTRA_64:
            field = extra[at + 4 : at + 4 + size]
            return struct.unpack_from(f"<{len(field) // 8}Q", field)
        at += 4 + size
    return ()


def _locate(name: str, size: int, header: int, limit: int, read: Read) -> Record:
    if header + _LOCAL.size > limit:
        message = f"record '{name}' stands behind the directory"
        raise CorruptError(message)
    mark, name_size, extra_size = _LOCAL.unpack(read(header, _LOCAL.size))
    start = header + _LOCAL.size + name_size + extra_size
    if mark != SIGNATURE or start + size > limit:
        message = f"record '{name}' is not at its place"
        raise CorruptError(message)
    return Record(start, size)

"""Reading the index at the end of a pack, in one or two reads."""

from typing import NamedTuple

from mstore.backends.base import Backend
from mstore.errors import CorruptError, UnsupportedError
from mstore.format.pack import (
    HEADER_SIZE,
    TRAILER_SIZE,
    Entry,
    base_number,
    check_header,
    decode_index,
    decode_trailer,
    pack_name,
)
from mstore.ids import ID_SIZE
from mstore.odb.segments import PACK_ROW, Copy

TAIL_SIZE = 4096
"""Bytes read at once: the index of a pack of up to about 60 entries comes with its trailer."""


class Footer(NamedTuple):
    """The index of a pack: ``section`` holds rows, base table and trailer."""

    key: str
    size: int
    index_offset: int
    row_count: int
    section: bytes

    def copies(self) -> list[Copy]:
        """The rows as they stand, in the order of the ids; their rules are not checked."""
        return index_copies(self.key.rpartition("/")[2], self.section, self.row_count)

    def entries(self) -> list[Entry]:
        """The rows read and checked against every rule of SPEC §7, in the order of the ids."""
        try:
            return decode_index(self.section, self.index_offset)
        except CorruptError as error:
            raise CorruptError(f"pack '{self.key}': {error}") from error


def index_copies(pack: str, section: bytes, row_count: int) -> list[Copy]:
    """The rows of the index section of a pack, ``<64 hex>.pack``, each with its base's id.

    A row whose base is not in the base table is given without one: ``row_entry`` refuses it.
    """
    end = row_count * PACK_ROW
    table = section[end:-TRAILER_SIZE]
    rows = [section[at : at + PACK_ROW] for at in range(0, end, PACK_ROW)]
    if not table:
        return [Copy(pack, row, None) for row in rows]
    return [Copy(pack, row, _base(table, base_number(row))) for row in rows]


def _base(table: bytes, number: int) -> bytes | None:
    stop = number * ID_SIZE
    return table[stop - ID_SIZE : stop] if 0 < stop <= len(table) else None


def read_footer(backend: Backend, key: str) -> Footer:
    """The index of a pack; CorruptError unless it hashes to the pack's name.

    UnsupportedError when that is so because a newer mstore wrote the pack.
    """
    try:
        return _read_footer(backend, key)
    except CorruptError:
        _refuse_newer(backend, key)
        raise


def _read_footer(backend: Backend, key: str) -> Footer:
    size = backend.size(key)
    start = max(0, size - TAIL_SIZE)
    tail = backend.read(key, start, size)
    try:
        trailer = decode_trailer(tail[-TRAILER_SIZE:], size)
    except CorruptError as error:
        raise CorruptError(f"pack '{key}': {error}") from error
    offset = trailer.index_offset
    index = tail[offset - start :] if offset >= start else backend.read(key, offset, size)
    _check_name(key, pack_name(index))
    return Footer(key, size, offset, trailer.row_count, index)


def _check_name(key: str, found: str) -> None:
    if not key.endswith(f"/{found}.pack"):
        raise CorruptError(f"pack '{key}' has an index that hashes to '{found}'")


def _refuse_newer(backend: Backend, key: str) -> None:
    try:
        check_header(backend.read(key, 0, HEADER_SIZE))
    except CorruptError:
        # What is wrong with the index tells more than what is wrong with the header.
        return
    except UnsupportedError as error:
        raise UnsupportedError(f"pack '{key}': {error}", hint=error.hint) from error

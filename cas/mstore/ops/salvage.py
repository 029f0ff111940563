"""Getting objects out of a pack whose index is damaged (SPEC §4.7, §7).

Every row is tried, and believed only when the bytes it points to hash to the id it gives. What is
stored as a difference is decoded for that, over bases of this pack or of others.
"""

from collections.abc import Iterator

from mstore.backends.base import Backend
from mstore.errors import CorruptError, MstoreError
from mstore.format.pack import (
    HEADER_SIZE,
    ROW_SIZE,
    TRAILER_SIZE,
    Entry,
    base_number,
    decode_trailer,
    row_entry,
)
from mstore.ids import ID_SIZE, Buffer, ObjectId
from mstore.odb import MAX_CHAIN, salvage
from mstore.odb.entries import Bases, check_stored, decode_entry

GIVE_UP = 64
"""Rows in a row that prove nothing: then the index is taken to begin there."""
MAX_TABLE = 1 << 16
"""Ids that a base table may have when nothing but looking tells where it begins."""


def sound_entries(backend: Backend, key: str, bases: Bases) -> list[Entry]:
    """The entries of a damaged pack that are proven good, by offset; it never raises for damage.

    Reads every entry once. A pack that is cut short has lost its index, and with it all places.
    ``bases`` gives chunks of other packs.
    """
    try:
        return salvage(backend, key, bases)
    except MstoreError:
        return _Rows(backend, key, bases).proven()


class _Rows:
    """The rows of an index that does not hash to the pack's name."""

    def __init__(self, backend: Backend, key: str, bases: Bases) -> None:
        self._backend = backend
        self._key = key
        self._bases = bases
        self._entries: dict[bytes, Entry] = {}
        self._depths: dict[bytes, int] = {}

    def proven(self) -> list[Entry]:
        """The entries that are what their rows say, by offset."""
        waiting = list(self._candidates())
        before = -1
        # What is proven in one round may be the base of what is proven in the next.
        while waiting and before != len(self._entries):
            before = len(self._entries)
            waiting = [entry for entry in waiting if not self._prove(entry)]
        return sorted(self._entries.values(), key=lambda entry: entry.offset)

    def _candidates(self) -> Iterator[Entry]:
        """What the rows say, as far as they follow the rules of a row."""
        try:
            end = self._end_of_rows()
            table = self._backend.read(self._key, end, self._backend.size(self._key))
            start = end - ROW_SIZE
            unproven = 0
            while start >= HEADER_SIZE and unproven < GIVE_UP:
                entry = self._entry(start, table)
                unproven = 0 if entry and self._fits(entry) else unproven + 1
                if entry:
                    yield entry
                start -= ROW_SIZE
        except MstoreError:
            # The place fails: what was read before is good all the same.
            return

    def _end_of_rows(self) -> int:
        """Where the rows end and the base table begins, by the trailer or else by trying."""
        size = self._backend.size(self._key)
        start = max(0, size - TRAILER_SIZE)
        try:
            trailer = decode_trailer(self._backend.read(self._key, start, size), size)
        except MstoreError:
            return self._find_last_row(size - TRAILER_SIZE)
        return trailer.index_offset + ROW_SIZE * trailer.row_count

    def _find_last_row(self, end: int) -> int:
        # Bases are half as long as rows, so the last row ends in one of these places.
        lowest = max(HEADER_SIZE + ROW_SIZE, end - ID_SIZE * MAX_TABLE)
        for at in range(end, lowest - 1, -ID_SIZE):
            table = self._backend.read(self._key, at, end) if at < end else b""
            entry = self._entry(at - ROW_SIZE, table)
            if entry is not None and self._fits(entry):
                return at
        return end

    def _entry(self, start: int, table: bytes) -> Entry | None:
        row = self._backend.read(self._key, start, start + ROW_SIZE)
        stop = base_number(row) * ID_SIZE
        try:
            return row_entry(row, table[stop - ID_SIZE : stop] if 0 < stop <= len(table) else None)
        except MstoreError:
            return None

    def _fits(self, entry: Entry) -> bool:
        """Whether a row leads to bytes that may be its own; a raw one's are hashed later."""
        try:
            check_stored(self._key, entry, self._stored(entry))
        except MstoreError:
            return False
        return True

    def _prove(self, entry: Entry) -> bool:
        try:
            self._decode(entry)
        except MstoreError:
            return False
        self._entries[entry.id] = entry
        self._depths[entry.id] = 1 + self._depths.get(entry.base or b"", 0)
        return True

    def _decode(self, entry: Entry) -> Buffer:
        return decode_entry(self._key, entry, self._stored(entry), self._read_base)

    def _read_base(self, oid: ObjectId) -> Buffer:
        found = self._entries.get(oid)
        if found is None:
            return self._bases(oid)
        if self._depths[oid] > MAX_CHAIN:
            raise CorruptError(f"chunk '{oid}' has more than {MAX_CHAIN} bases")
        return self._decode(found)

    def _stored(self, entry: Entry) -> bytes:
        return self._backend.read(self._key, entry.offset, entry.offset + entry.stored_size)

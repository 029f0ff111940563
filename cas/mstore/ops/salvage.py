"""Getting objects out of a pack whose index is damaged (SPEC §4.7, §7).

Every row is tried, and believed only when the bytes it points to hash to the id it gives.
"""

from mstore.backends.base import Backend
from mstore.errors import MstoreError
from mstore.format.pack import HEADER_SIZE, ROW_SIZE, TRAILER_SIZE, Entry, unpack_row
from mstore.odb import salvage
from mstore.odb.entries import decode_entry

GIVE_UP = 64
"""Rows in a row that prove nothing: then the index is taken to begin there."""


def sound_entries(backend: Backend, key: str) -> list[Entry]:
    """The entries of a damaged pack that are proven good, by offset; it never raises for damage.

    Reads every entry once. A pack that is cut short has lost its index, and with it all places.
    """
    try:
        return salvage(backend, key)
    except MstoreError:
        return sorted(_proven_rows(backend, key), key=lambda entry: entry.offset)


def _proven_rows(backend: Backend, key: str) -> list[Entry]:
    """Rows read backwards from where the last one should stand."""
    found: dict[bytes, Entry] = {}
    try:
        start = backend.size(key) - TRAILER_SIZE - ROW_SIZE
        unproven = 0
        while start >= HEADER_SIZE and unproven < GIVE_UP:
            entry = _proven(backend, key, start)
            unproven = 0 if entry else unproven + 1
            if entry:
                found[entry.id] = entry
            start -= ROW_SIZE
    except MstoreError:
        # The place fails: what was proven before is good all the same.
        return list(found.values())
    return list(found.values())


def _proven(backend: Backend, key: str, start: int) -> Entry | None:
    try:
        entry = unpack_row(backend.read(key, start, start + ROW_SIZE), 0)
        stop = entry.offset + entry.stored_size
        decode_entry(key, entry, backend.read(key, entry.offset, stop))
    except MstoreError:
        return None
    return entry

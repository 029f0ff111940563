"""Checking a whole pack, so that no changed bit of it goes unnoticed (SPEC §7).

Every byte of a pack is covered by exactly one check: the header is compared, an entry hashes to
its id, padding is zero, and the index section hashes to the pack's name.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mstore.backends.base import Backend
from mstore.errors import CorruptError, MstoreError, StorageError, UnsupportedError
from mstore.format.pack import HEADER_SIZE, Entry, check_header
from mstore.ids import ObjectId
from mstore.odb.entries import damaged, decode_entry
from mstore.odb.footer import Footer, read_footer


class Problem(NamedTuple):
    """Something wrong with a pack, and the objects that it makes unreadable there.

    ``kind``: "index" (no object of the pack can be found; ``ids`` is empty), "header",
    "padding", "entry" (bytes are not what the id names), "unreadable" (the place failed) or
    "unsupported" (written by a newer mstore).
    """

    kind: str
    message: str
    ids: tuple[ObjectId, ...] = ()


def check_pack(backend: Backend, key: str) -> Iterator[Problem]:
    """Every problem of a pack, in the order of its bytes; nothing when it is sound.

    NotFoundError when there is no such pack. Reads all of it, an entry at a time.
    """
    try:
        footer = read_footer(backend, key)
        entries = sorted(footer.entries(), key=lambda entry: entry.offset)
    except (CorruptError, StorageError, UnsupportedError) as error:
        yield Problem(_kind(error, "index"), str(error))
        return
    yield from _check_header(backend, footer)
    position = HEADER_SIZE
    for entry in entries:
        yield from _check_entry(backend, key, position, entry)
        position = entry.offset + entry.stored_size


def salvage(backend: Backend, key: str) -> list[Entry]:
    """The entries of a damaged pack that are still good, by offset; CorruptError if none can be.

    It takes an index that is whole: an entry whose place is unknown cannot be found again.
    """
    entries = sorted(read_footer(backend, key).entries(), key=lambda entry: entry.offset)
    return [
        entry
        for entry in entries
        if not any(problem.ids for problem in _check_entry(backend, key, entry.offset, entry))
    ]


def _check_header(backend: Backend, footer: Footer) -> Iterator[Problem]:
    try:
        check_header(backend.read(footer.key, 0, HEADER_SIZE))
    except (CorruptError, StorageError, UnsupportedError) as error:
        yield Problem(_kind(error, "header"), f"pack '{footer.key}': {error}")


def _check_entry(backend: Backend, key: str, position: int, entry: Entry) -> Iterator[Problem]:
    """What is wrong from the end of the entry before, at ``position``, to the end of this one."""
    gap = entry.offset - position
    try:
        content = memoryview(backend.read(key, position, entry.offset + entry.stored_size))
        if any(content[:gap]):
            message = f"pack '{key}' has padding at {position} that is not zero"
            yield Problem("padding", message)
        decode_entry(key, entry, content[gap:])
    except (CorruptError, UnsupportedError) as error:
        yield Problem(_kind(error, "entry"), str(error), (entry.id,))
    except StorageError as error:
        message = str(damaged(key, entry, f"cannot be read: {error}"))
        yield Problem("unreadable", message, (entry.id,))


def _kind(error: MstoreError, otherwise: str) -> str:
    if isinstance(error, StorageError):
        return "unreadable"
    return "unsupported" if isinstance(error, UnsupportedError) else otherwise

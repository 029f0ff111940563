"""Where the catalogue lies, and what is done when it cannot be used as it is.

It lies in the store; where that cannot be written, or is on a file system whose locks cannot be
relied on, in the user's cache folder; else in memory. It always has a rollback journal: write-ahead
logs of SQLite before 3.51.3 can be corrupted, and none works across machines.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from mstore.backends.base import Backend
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, MstoreError

KEY: Final = "cache/catalog.db"
APPLICATION: Final = 0x6D737463  # "mstc"
"""SQLite's application id of a catalogue."""
FIRST_WAIT: Final = 2.0
LONG_WAIT: Final = 60.0
"""Seconds that a locked catalogue is waited for: in silence, and after that."""

UNUSABLE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""What SQLite says of a file that is no sound catalogue; the last of missing tables."""
UNWRITABLE: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PRIMARY: Final = 0xFF
"""The part of an extended result code that says what kind of failure it is."""


class Place(NamedTuple):
    """Where a catalogue may be: a key of a local backend, or memory."""

    backend: LocalBackend | None
    key: str = ""

    def __str__(self) -> str:
        return "memory" if self.backend is None else f"{self.backend.location}/{self.key}"


def schema() -> tuple[str, str]:
    """The statements that make the tables, and those that make their indexes."""
    folder = resources.files("mstore.catalog")
    tables, indexes = folder / "schema.sql", folder / "indexes.sql"
    return tables.read_text(encoding="utf-8"), indexes.read_text(encoding="utf-8")


def schema_number() -> int:
    """A number that is another one after any change of the tables."""
    return zlib.crc32("".join(schema()).encode()) & 0x7FFFFFFF


def places(backend: Backend, store_id: str, fs: FileSystem) -> Iterator[Place]:
    """The places in which the catalogue of a store may be, the best first."""
    if isinstance(backend, LocalBackend):
        if not fs.is_network(backend.location):
            yield Place(backend, KEY)
        import platformdirs  # noqa: PLC0415 - only where the store's own folder will not do

        own = platformdirs.user_cache_path("mstore", appauthor=False)
        # Two copies of a store have one id.
        copy = blake3(backend.location.encode()).hexdigest()[:16]
        if not fs.is_network(str(_nearest(own))):
            yield Place(LocalBackend(own, fs), f"cache/{store_id}-{copy}.db")
    yield Place(None)


def is_there(place: Place) -> bool:
    """Whether a file is at the place already."""
    return place.backend is not None and Path(place.backend.location, place.key).is_file()


def _nearest(path: Path) -> Path:
    """The folder at ``path`` or, as long as there is none, the nearest above."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), path)


def connect(place: Place) -> sqlite3.Connection:
    """A connection to the catalogue at a place, made empty when there is none; sqlite3.Error.

    SQLite is told to believe nothing that the file says of itself.
    """
    where = ":memory:"
    if place.backend is not None:
        where = f"{place.backend.location}/{place.key}"
        _make_room(place.backend, place.key, where)
    connection = sqlite3.connect(
        where, timeout=FIRST_WAIT, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


_SETTINGS: Final = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "synchronous = NORMAL",
    "temp_store = MEMORY",
    "cache_size = -65536",
)


def _make_room(backend: LocalBackend, key: str, path: str) -> None:
    """Have a file at ``key`` that is no link, as far as that can be had."""
    file = Path(path)
    with suppress(MstoreError, OSError):
        if file.is_symlink():
            backend.remove(key)
        if not file.exists():
            # An empty file is an empty database, and never takes the place of one made meanwhile.
            backend.create(key, b"")


def discard(place: Place) -> None:
    """Remove an unsound catalogue, unless another program is at that already."""
    if place.backend is None:
        return
    with suppress(ConflictError), place.backend.exclusive("catalog"):
        # The journal of an unsound file must not be played back into its successor.
        place.backend.remove(f"{place.key}-journal")
        place.backend.remove(place.key)


def failure(error: sqlite3.Error) -> int:
    """The kind of an error of SQLite: one of its primary result codes."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY

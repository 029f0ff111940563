"""``Catalogue``: the tables of one open store, brought up to date whenever they are asked.

1. A search sees the store as it was when the search began, or newer.
2. A catalogue that is damaged, of another build or of another store is made anew; one that is
   locked is waited for; where none can be kept it is made in memory. Each is said in a notice.
3. A program that is killed leaves the tables as they were: all is one transaction.
"""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar, cast

from msgspec import Struct

from mstore.backends.fsio import FileSystem
from mstore.catalog import opening
from mstore.catalog.filling import Filled, Seen, empty, fill, read_seen, stale_refs
from mstore.catalog.opening import Place
from mstore.errors import StorageError
from mstore.parts import Parts

Kept = TypeVar("Kept")

Say = Callable[[str], None]
"""Hears what was unusual about the catalogue: one sentence, small first letter."""


class ReindexReport(Struct, frozen=True):
    """What ``reindex`` made: where, of how many names, versions, metrics and tensors.

    ``seconds`` is how long it took; ``notices`` say what could not be read.
    """

    place: str
    names: int
    versions: int
    metrics: int
    tensors: int
    seconds: float
    notices: tuple[str, ...]


class _UnusableError(Exception):
    """The tables are not those of this store or build; the text says why."""


class Catalogue:
    """The catalogue of one open store. Making one touches nothing."""

    def __init__(self, parts: Parts, fs: FileSystem | None = None) -> None:
        self._parts = parts
        self._fs = fs or FileSystem()
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None
        self._seen: Seen | None = None
        self._kept: dict[str, object] = {}

    def kept(self, name: str, make: Callable[[], Kept]) -> Kept:
        """A value that is made of the tables once, and again only after they have changed."""
        if name not in self._kept:
            self._kept[name] = make()
        return cast("Kept", self._kept[name])

    @contextmanager
    def reading(self, say: Say) -> Iterator[sqlite3.Connection]:
        """The tables, up to date and the same until the end of the block."""
        with self._lock, self._session(say, anew=False) as (connection, _):
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def reindex(self) -> ReindexReport:
        """Make the tables anew from names and objects."""
        notices: list[str] = []
        began = monotonic()
        with self._lock, self._session(notices.append, anew=True) as (connection, place):
            counts = [_count(connection, table) for table in ("seen", "described", "metric")]
            tensors = "SELECT count(DISTINCT tensor) FROM file_tensor"
            (distinct,) = connection.execute(tensors).fetchone()
        names, versions, metrics = counts
        seconds = monotonic() - began
        return ReindexReport(
            str(place), names, versions, metrics, distinct, seconds, tuple(notices)
        )

    @contextmanager
    def _session(self, say: Say, *, anew: bool) -> Iterator[tuple[sqlite3.Connection, Place]]:
        connection, place = self._open(say, anew=anew)
        try:
            yield connection, place
        finally:
            if connection is not self._memory:
                connection.close()

    def _open(self, say: Say, *, anew: bool) -> tuple[sqlite3.Connection, Place]:
        """The tables in the first place that can keep them."""
        for place in opening.places(self._parts.backend, self._parts.config.id, self._fs):
            found = self._open_at(place, say, anew=anew)
            if found is not None:
                return found, place
        message = "the catalogue cannot be made, not even in memory"
        raise StorageError(message, hint="see how much memory and disk is left")

    def _open_at(self, place: Place, say: Say, *, anew: bool) -> sqlite3.Connection | None:
        """The tables at a place; None where they cannot be kept."""
        for wait in (opening.FIRST_WAIT, opening.LONG_WAIT, opening.LONG_WAIT):
            try:
                return self._current(place, say, wait, anew=anew)
            except _UnusableError as reason:
                say(f"the catalogue {reason}: it is made anew")
                anew = True
            except sqlite3.Error as error:
                code = opening.failure(error)
                if code in opening.UNWRITABLE:
                    say(f"no catalogue can be kept in '{place}' ({error}): another place is used")
                    return None
                if code in opening.LOCKED:
                    say(f"the catalogue in '{place}' is locked by another program: waiting")
                    continue
                say(f"the catalogue in '{place}' is damaged ({error}): it is made anew")
                opening.discard(place)
                anew = True
        say(f"the catalogue in '{place}' could not be used: another place is used")
        return None

    def _current(self, place: Place, say: Say, wait: float, *, anew: bool) -> sqlite3.Connection:
        """The tables at a place after what changed was taken in."""
        connection = self._connect(place)
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
            state = "new" if anew else self._state(connection)
            if state == "new":
                self._make(connection, say)
            else:
                self._refresh(connection, say)
        except BaseException:
            self._give_up(connection)
            raise
        return connection

    def _connect(self, place: Place) -> sqlite3.Connection:
        if place.backend is not None:
            return opening.connect(place)
        if self._memory is None:
            self._memory = opening.connect(place)
            weakref.finalize(self, self._memory.close)
        return self._memory

    def _give_up(self, connection: sqlite3.Connection) -> None:
        self._seen = None
        self._kept = {}
        if connection is not self._memory:
            connection.close()
        elif connection.in_transaction:
            connection.execute("ROLLBACK")

    def _state(self, connection: sqlite3.Connection) -> str:
        """Whether the tables are "new" or "known"; _UnusableError when they are not ours."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if not application and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            return "new"
        if application != opening.APPLICATION:
            message = "is another program's file"
            raise _UnusableError(message)
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        if number != opening.schema_number():
            message = "is of another version of mstore"
            raise _UnusableError(message)
        (store_id,) = connection.execute("SELECT value FROM fact WHERE name = 'store'").fetchone()
        if store_id != self._parts.config.id:
            message = "is of another store"
            raise _UnusableError(message)
        return "known"

    def _make(self, connection: sqlite3.Connection, say: Say) -> None:
        tables, indexes = opening.schema()
        with _transaction(connection):
            empty(connection)
            _run(connection, tables)
            fact = ("store", self._parts.config.id)
            connection.execute("INSERT INTO fact VALUES (?, ?)", fact)
            _tell(fill(connection, self._parts, stale_refs(self._parts, {}, hashes=False)), say)
            _run(connection, indexes)
            connection.execute(f"PRAGMA application_id = {opening.APPLICATION}")
            connection.execute(f"PRAGMA user_version = {opening.schema_number()}")
            self._seen = read_seen(connection)
        self._kept = {}

    def _refresh(self, connection: sqlite3.Connection, say: Say) -> None:
        seen = read_seen(connection)
        # Slots are never changed, so in one program they need to be looked at once only.
        stale = stale_refs(self._parts, seen, hashes=seen != self._seen)
        if stale:
            with _transaction(connection):
                seen = read_seen(connection)
                stale = stale_refs(self._parts, seen, hashes=True)
                _tell(fill(connection, self._parts, stale), say)
                seen = read_seen(connection)
        if seen != self._seen:
            self._kept = {}
        self._seen = seen


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run statements one after another; ``executescript`` would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - names of our own tables
    return int(count)


def _tell(filled: Filled, say: Say) -> None:
    for trouble in filled.troubles:
        say(trouble)

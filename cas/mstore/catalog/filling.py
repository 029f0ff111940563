"""Bringing the tables up to date with the names and objects of a store.

What a ref held is remembered with its generation, so only what changed since is read. The tables
are emptied and filled on the same way, which is why the two give the same rows.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct, field

from mstore.catalog.describing import Cell, Described, Describer, Rows, metric_row, troubled
from mstore.errors import MstoreError
from mstore.format.slots import Row
from mstore.ids import ID_SIZE, ObjectId
from mstore.notes import NoteRow, qualified, standing
from mstore.objects import Note
from mstore.parts import Parts
from mstore.refs import HEADS, NOTES, TAGS

Seen = dict[tuple[str, str], tuple[int, bytes]]
"""Of each ref (namespace, name) the generation that was taken in and the hash of its slot."""

NAMESPACES: Final = (HEADS, TAGS, NOTES)
_BATCH: Final = 500
"""Versions whose rows are written together."""

_COLUMNS: Final = {
    "described": 13,
    "lineage": 4,
    "metric": 12,
    "attribute": 6,
    "trait": 4,
    "used": 3,
    "file": 5,
    "file_tensor": 8,
    "series": 10,
}

_ORPHANS: Final = """
WITH RECURSIVE reached (id) AS (
  SELECT version FROM numbered UNION SELECT version FROM alias
  UNION SELECT base FROM lineage JOIN reached ON derived = reached.id
)
SELECT id FROM described EXCEPT SELECT id FROM reached
"""


class Filled(Struct):
    """What was taken in: changed refs, versions read, versions forgotten, and what could not be."""

    refs: int = 0
    versions: int = 0
    forgotten: int = 0
    troubles: list[str] = field(default_factory=list)


def stale_refs(parts: Parts, seen: Seen, *, hashes: bool) -> dict[tuple[str, str], int]:
    """The refs that are not as they were seen, with their newest generation; 0: it is gone.

    Without ``hashes`` a listing per ref says so; with them each newest slot is read as well, which
    finds a store that was put back to an older state.
    """
    newest = {
        (space, name): generation
        for space in NAMESPACES
        for name, generation in parts.refs.newest(space).items()
    }
    stale = {
        ref: generation for ref, generation in newest.items() if _differs(seen, ref, generation)
    }
    if hashes:
        stale |= {
            ref: generation
            for ref, generation in newest.items()
            if ref not in stale and parts.refs.slot_hash(*ref, generation) != seen[ref][1]
        }
    return stale | dict.fromkeys(seen.keys() - newest.keys(), 0)


def _differs(seen: Seen, ref: tuple[str, str], generation: int) -> bool:
    return ref not in seen or seen[ref][0] != generation


def read_seen(connection: sqlite3.Connection) -> Seen:
    """What the tables have taken in."""
    rows = connection.execute("SELECT namespace, name, generation, slot FROM seen")
    return {(space, name): (generation, slot) for space, name, generation, slot in rows}


def fill(connection: sqlite3.Connection, parts: Parts, stale: dict[tuple[str, str], int]) -> Filled:
    """Take in the refs that changed, and the versions that they name now; in a transaction."""
    filling = _Filling(connection, parts)
    for ref, generation in sorted(stale.items()):
        filling.take_ref(*ref, generation)
    filling.take_versions()
    filling.forget_orphans()
    filling.rank_metrics()
    filling.write_documents()
    return filling.done


class _Named(NamedTuple):
    """A row of a model, or with number 0 a tag."""

    name: str
    number: int
    version: bytes
    state: str


class _Filling:
    """One bringing up to date."""

    def __init__(self, connection: sqlite3.Connection, parts: Parts) -> None:
        self.done = Filled()
        self._connection = connection
        self._parts = parts
        self._touched: set[bytes] = set()
        self._anew: set[bytes] = set()
        self._unsaid: set[bytes] = set()
        self._lost_a_name = False
        self._cards: dict[bytes, str] = {}

    def take_ref(self, space: str, name: str, generation: int) -> None:
        """Replace what the tables have of a name; one that is damaged stays as it was."""
        try:
            table = self._parts.refs.find(space, name) if generation else None
        except MstoreError as error:
            self.done.troubles.append(f"name '{name}' was left as it was: {error}")
            return
        rows = [] if table is None else [r for r in table.rows.values() if r.state != "deleted"]
        take = {HEADS: self._take_model, TAGS: self._take_tag, NOTES: self._take_notes}[space]
        take(name, rows)
        self._forget_ref(space, name)
        if table is not None:
            seen = (space, name, table.generation, table.slot_hash)
            self._connection.execute("INSERT INTO seen VALUES (?, ?, ?, ?)", seen)
        self.done.refs += 1

    def _forget_ref(self, space: str, name: str) -> None:
        self._connection.execute("DELETE FROM seen WHERE namespace = ? AND name = ?", (space, name))

    def _take_model(self, name: str, rows: list[Row]) -> None:
        wanted = {_Named(name, row.number, row.version, row.state) for row in rows}
        found = self._connection.execute("SELECT * FROM numbered WHERE model = ?", (name,))
        known = {_Named(*row) for row in found}
        self._note_changes(known, wanted)
        gone = [(name, number) for _, number, _, _ in known - wanted]
        self._connection.executemany("DELETE FROM numbered WHERE model = ? AND number = ?", gone)
        self._insert("numbered", 4, sorted(wanted - known))

    def _take_tag(self, name: str, rows: list[Row]) -> None:
        wanted = {_Named(name, 0, row.version, row.state) for row in rows}
        query = "SELECT tag, 0, version, state FROM alias WHERE tag = ?"
        known = {_Named(*row) for row in self._connection.execute(query, (name,))}
        self._note_changes(known, wanted)
        self._connection.execute("DELETE FROM alias WHERE tag = ?", (name,))
        self._insert("alias", 3, [(tag, version, state) for tag, _, version, state in wanted])

    def _take_notes(self, shard: str, rows: list[Row]) -> None:
        """Replace what is said of the versions whose ids begin with a byte."""
        first = bytes.fromhex(shard)
        bounds = (first, first + b"\xff" * ID_SIZE)
        before = dict(self._connection.execute(_SAID, bounds).fetchall())
        notes = {row.id: row.note for row in standing(self._read_notes(rows))}
        after = {bytes(oid): note.version for oid, note in notes.items()}
        changed = {version for _, version in before.items() ^ after.items()}
        self._touched |= changed
        self._unsaid |= changed
        for statement in _UNSAY:
            self._connection.execute(statement, bounds)
        for oid, note in notes.items():
            self._take_note(oid, note)

    def _read_notes(self, rows: list[Row]) -> Iterator[NoteRow]:
        for row in rows:
            try:
                yield NoteRow(ObjectId(row.version), self._parts.odb.note(row.version))
            except MstoreError as error:
                self.done.troubles.append(f"note {row.version.hex()[:12]} cannot be read: {error}")

    def _take_note(self, oid: ObjectId, note: Note) -> None:
        about = (note.topic, note.dataset, note.split, note.step)
        said = (oid, note.version, note.time, note.author, note.message, *about)
        self._insert("said", 9, [said])
        metrics = [
            metric_row(note.version, qualified(note, name), value, origin=oid, note=note)
            for name, value in note.metrics.items()
        ]
        self._insert("metric", _COLUMNS["metric"], metrics)
        self._insert("trait", 4, [(note.version, "label", tag, oid) for tag in note.tags])

    def _note_changes(self, known: set[_Named], wanted: set[_Named]) -> None:
        self._touched |= {version for _, _, version, _ in known ^ wanted}
        self._lost_a_name |= bool(known - wanted)
        # Stripped or brought back: whether its model card can be read has changed.
        self._anew |= {version for _, _, version, _ in known - wanted}

    def take_versions(self) -> None:
        """Describe every version that a name holds or that is an ancestor, as far as it is new."""
        anew = self._known("SELECT id FROM described WHERE trouble <> ''") | self._anew
        named = self._known("SELECT version FROM numbered UNION SELECT version FROM alias")
        wanted = named | anew & self._known("SELECT id FROM described")
        self._forget(anew)
        described = self._known("SELECT id FROM described")
        waiting = sorted(wanted - described, reverse=True)
        met = described | wanted
        files = self._known("SELECT DISTINCT file FROM file_tensor")
        describer = Describer(self._parts.odb, files)
        batch: Rows = {}
        while waiting:
            oid = waiting.pop()
            found = self._describe(oid, describer)
            new = [parent for parent in dict.fromkeys(found.parents) if parent not in met]
            met.update(new)
            waiting += new
            for table, rows in found.rows.items():
                batch.setdefault(table, []).extend(rows)
            if len(batch["described"]) >= _BATCH:
                self._write(batch)
                batch = {}
        self._write(batch)

    def _describe(self, oid: bytes, describer: Describer) -> Described:
        try:
            found = describer.describe(ObjectId(oid))
        except MstoreError as error:
            reason = f"version {oid.hex()[:12]} cannot be read: {error}"
            self.done.troubles.append(reason)
            found = troubled(oid, reason)
        self._touched.add(oid)
        self._cards[oid] = found.card
        self.done.versions += 1
        return found

    def forget_orphans(self) -> None:
        """Take away the versions that no name leads to any more."""
        if not self._lost_a_name:
            return
        orphans = self._known(_ORPHANS)
        self._forget(orphans)
        self._touched |= orphans
        self._connection.execute("DELETE FROM file_tensor WHERE file NOT IN (SELECT id FROM file)")
        self.done.forgotten = len(orphans)

    def rank_metrics(self) -> None:
        """Mark which of several values of one metric counts."""
        several = "SELECT 1 FROM metric WHERE version = ? AND source <> 'version' LIMIT 1"
        for oid in sorted(self._touched):
            if oid in self._unsaid or self._connection.execute(several, (oid,)).fetchone():
                self._connection.execute(_RANK, (oid,))

    def write_documents(self) -> None:
        """Make the searched texts of what changed."""
        for oid in sorted(self._touched):
            old = self._connection.execute(_OLD_DOCUMENT, (oid,)).fetchone()
            if old is not None:
                # An index of words over another table has to be told what stood there.
                self._connection.execute(_UNSEARCH, old)
                self._connection.execute("DELETE FROM document WHERE number = ?", old[:1])
            card = self._cards.get(oid, old[-1] if old else "")
            self._connection.execute(_DOCUMENT, {"version": oid, "card": card})
            new = self._connection.execute(_OLD_DOCUMENT, (oid,)).fetchone()
            if new is not None:
                self._connection.execute(_SEARCH, new)

    def _forget(self, versions: Collection[bytes]) -> None:
        for table in ("lineage", "attribute", "used", "file", "series"):
            key = "derived" if table == "lineage" else "version"
            self._delete(f"DELETE FROM {table} WHERE {key} = ?", versions)  # noqa: S608 - names of our own tables
        self._delete("DELETE FROM described WHERE id = ?", versions)
        self._delete("DELETE FROM metric WHERE version = ? AND source <> 'note'", versions)
        self._delete("DELETE FROM trait WHERE version = ? AND origin = x''", versions)

    def _delete(self, statement: str, versions: Iterable[bytes]) -> None:
        self._connection.executemany(statement, [(oid,) for oid in sorted(versions)])

    def _write(self, batch: Rows) -> None:
        for table, rows in batch.items():
            self._insert(table, _COLUMNS[table], rows)

    def _insert(self, table: str, columns: int, rows: Iterable[tuple[Cell, ...]]) -> None:
        marks = ", ".join("?" * columns)
        # Two files of a version may say the same, and a name may be nested in two ways.
        self._connection.executemany(
            f"INSERT OR IGNORE INTO {table} VALUES ({marks})",  # noqa: S608 - names of our own tables
            rows,
        )

    def _known(self, query: str) -> set[bytes]:
        return {oid for (oid,) in self._connection.execute(query)}


_OLD_DOCUMENT: Final = """
SELECT number, names, message, tags, notes, card FROM document WHERE version = ?
"""
_SEARCH: Final = """
INSERT INTO words (rowid, names, message, tags, notes, card) VALUES (?, ?, ?, ?, ?, ?)
"""
_UNSEARCH: Final = """
INSERT INTO words (words, rowid, names, message, tags, notes, card)
VALUES ('delete', ?, ?, ?, ?, ?, ?)
"""
_SAID: Final = "SELECT id, version FROM said WHERE version BETWEEN ? AND ?"
_UNSAY: Final = (
    "DELETE FROM said WHERE version BETWEEN ? AND ?",
    "DELETE FROM metric WHERE version BETWEEN ? AND ? AND source = 'note'",
    "DELETE FROM trait WHERE version BETWEEN ? AND ? AND origin <> x''",
)
_RANK: Final = """
UPDATE metric SET is_current = (source, origin) = (
  SELECT source, origin FROM metric AS other
  WHERE other.version = metric.version AND other.name = metric.name
  ORDER BY CASE WHEN topic = 'estimate' THEN 3 WHEN source = 'note' THEN 0
    WHEN source = 'version' THEN 1 ELSE 2 END, time DESC, origin LIMIT 1)
WHERE version = ?
"""
"""What is known of a metric by name alone: the newest note, else what the version said of itself,
else the end of its log, else the newest estimate."""
_DOCUMENT: Final = """
INSERT INTO document (version, names, message, tags, notes, card)
SELECT id,
  coalesce((SELECT group_concat(model, ' ') FROM
    (SELECT DISTINCT model FROM numbered WHERE version = id ORDER BY model)), ''),
  message,
  coalesce((SELECT group_concat(tag, ' ') FROM (
    SELECT tag FROM alias WHERE version = id
    UNION SELECT value FROM trait WHERE version = id AND kind = 'label' ORDER BY 1)), ''),
  coalesce((SELECT group_concat(message, char(10)) FROM
    (SELECT message FROM said WHERE version = described.id ORDER BY time, said.id)), ''),
  :card
FROM described WHERE id = :version
  AND (id IN (SELECT version FROM numbered) OR id IN (SELECT version FROM alias))
"""


def empty(connection: sqlite3.Connection) -> None:
    """Take every row and every table away; in a transaction."""
    kinds = ("trigger", "view", "table")
    for kind in kinds:
        for (name,) in connection.execute(_OURS, (kind,)).fetchall():
            quoted = name.replace('"', '""')
            connection.execute(f'DROP {kind} IF EXISTS "{quoted}"')


_OURS: Final = """
SELECT name FROM sqlite_schema
WHERE type = ? AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'words_%'
"""

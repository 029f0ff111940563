"""What was said of versions after they were stored (SPEC §6.8).

Notes stand in refs of their own, one for each first byte of the ids of versions, so that there
are at most 256 however many notes there are. They are only ever added: two stores that exchange
them end with the same set.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mstore.ids import ObjectId
from mstore.objects import Note, Version
from mstore.parts import Parts
from mstore.refs import NOTES, RefTable

ESTIMATE = "estimate"
"""The topic of a note whose metrics were not measured."""


class NoteRow(NamedTuple):
    """A note and its id."""

    id: ObjectId
    note: Note


def shard_of(version: bytes) -> str:
    """The ref that holds the notes about a version: the first byte of its id as hex digits."""
    return version[:1].hex()


def notes_of(parts: Parts, version: bytes) -> list[NoteRow]:
    """What is said of a version, oldest first, without what was taken back.

    Reads every note of the ref that holds them.
    """
    table = parts.refs.find(NOTES, shard_of(version))
    found = [] if table is None else _read(parts, table)
    return standing(row for row in found if row.note.version == version)


def all_notes(parts: Parts) -> list[NoteRow]:
    """What is said of any version, oldest first, without what was taken back."""
    tables = parts.refs.tables(NOTES).values()
    return standing(row for table in tables for row in _read(parts, table))


def notes_by_version(parts: Parts) -> dict[bytes, list[NoteRow]]:
    """``all_notes`` by the version that each is about."""
    found: dict[bytes, list[NoteRow]] = {}
    for row in all_notes(parts):
        found.setdefault(row.note.version, []).append(row)
    return found


def metrics_of(version: Version, notes: Iterable[NoteRow]) -> dict[str, float]:
    """The results of a version by name; of two with one name the later one counts.

    What was estimated counts only where nothing was measured.
    """
    said = [note for _, note in notes]
    found: dict[str, float] = {}
    for note in (note for note in said if note.topic == ESTIMATE):
        found |= _results(note)
    found |= version.metrics
    for note in (note for note in said if note.topic != ESTIMATE):
        found |= _results(note)
    return found


def qualified(note: Note, name: str) -> str:
    """The name of a metric with the data set and the split that it is about: "cats/val/loss"."""
    return "/".join(part for part in (note.dataset, note.split, name) if part)


def _results(note: Note) -> dict[str, float]:
    return {qualified(note, name): value for name, value in note.metrics.items()}


def _read(parts: Parts, table: RefTable) -> Iterator[NoteRow]:
    for row in table.rows.values():
        if row.state != "deleted":
            yield NoteRow(ObjectId(row.version), parts.odb.note(row.version))


def standing(rows: Iterable[NoteRow]) -> list[NoteRow]:
    """Those of some notes that no other of them took back, oldest first."""
    found = list(rows)
    taken_back = {row.note.retracts for row in found}
    kept = (row for row in found if row.note.retracts is None and row.id not in taken_back)
    return sorted(kept, key=lambda row: (row.note.time, row.id))

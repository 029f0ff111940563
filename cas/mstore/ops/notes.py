"""Saying something of a version after it was stored: results, tags, comments (SPEC §6.8).

A note is never changed. To take one back is one more note, so both are still there when two
stores exchange theirs.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from mstore.errors import InvalidInputError, NotFoundError
from mstore.format.slots import Row
from mstore.ids import ObjectId
from mstore.notes import notes_of, shard_of
from mstore.objects import Note, Value
from mstore.parts import Parts, Transaction
from mstore.refs import NOTES, Change, RefTable
from mstore.revision import Resolved, resolve


class Said(Struct, frozen=True):
    """What is said of a version; results are on ``dataset`` and its ``split`` where named."""

    message: str = ""
    topic: str = ""
    author: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    dataset: str = ""
    dataset_id: ObjectId | None = None
    split: str = ""
    step: int | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return not (self.message or self.metrics or self.tags or self.metadata)


class Noted(Struct, frozen=True):
    """The note that was made, and the version that it is about."""

    id: ObjectId
    label: str
    version: ObjectId


def add_note(parts: Parts, text: str, said: Said) -> Noted:
    """Say something of a version, stripped ones too; durable when it returns.

    InvalidInputError when nothing is said.
    """
    if said.is_empty:
        raise InvalidInputError(
            "nothing is said", hint="give a message, a metric, a tag or a file of metadata"
        )
    target = _whole(parts, text)
    note = Note(
        version=bytes(target.version),
        time=parts.clock(),
        author=said.author,
        topic=said.topic,
        message=said.message,
        metrics=dict(said.metrics),
        dataset=said.dataset,
        dataset_id=None if said.dataset_id is None else bytes(said.dataset_id),
        split=said.split,
        step=said.step,
        tags=said.tags,
        metadata=dict(said.metadata),
    )
    return Noted(_commit(parts, note, "note"), target.label, target.version)


def retract_note(parts: Parts, text: str, digits: str, *, author: str = "") -> Noted:
    """Take back what was said of a version; ``digits`` are the first of the note's id.

    NotFoundError when nothing that is said of the version has that id.
    """
    target = _whole(parts, text)
    found = [row.id for row in notes_of(parts, target.version) if str(row.id).startswith(digits)]
    if len(found) != 1 or not digits:
        amount = "no note" if not found else f"{len(found)} notes"
        raise NotFoundError(
            f"'{target.label}' has {amount} '{digits}'", hint=f"see them: mstore show {text}"
        )
    note = Note(
        version=bytes(target.version),
        time=parts.clock(),
        author=author,
        retracts=bytes(found[0]),
    )
    _commit(parts, note, "retract")
    return Noted(found[0], target.label, target.version)


def _whole(parts: Parts, text: str) -> Resolved:
    target = resolve(parts, text)
    if target.path or target.tensor or target.rows is not None:
        raise InvalidInputError(f"'{text}' is a part of a version, a note is about a whole one")
    return target


def _commit(parts: Parts, note: Note, reason: str) -> ObjectId:
    with Transaction(parts) as transaction:
        oid = transaction.writer.add_object(note)
        transaction.publish()

        def change(table: RefTable | None) -> Change:
            number = 1 if table is None else table.next_number
            return Change((Row(number, bytes(oid), "kept"),), reason, note.author)

        transaction.commit(NOTES, shard_of(note.version), change)
    return oid

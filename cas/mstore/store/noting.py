"""Saying something of a version later on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mstore.ids import ObjectId
from mstore.notes import NoteRow, notes_of
from mstore.objects import Value
from mstore.store.opened import Opened

if TYPE_CHECKING:
    from mstore.ops.notes import Noted


class Noting(Opened):
    """Saying something of a version later on."""

    def note(
        self,
        revision: str,
        message: str = "",
        *,
        metrics: Mapping[str, float] | None = None,
        dataset: str = "",
        dataset_id: ObjectId | None = None,
        split: str = "",
        step: int | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Value] | None = None,
        topic: str = "",
        author: str = "",
    ) -> "Noted":
        """Add results, tags or a comment to a version, also to one that was stripped.

        The version and its hash stay as they are. ``topic`` says what kind of thing it is, such
        as "evaluation". Notes travel with their version. InvalidInputError names a metric that is
        not what the schema of the store says.
        """
        from mstore.ops.notes import Said, add_note  # noqa: PLC0415 (only when it is wanted)
        from mstore.ops.schemas import schema_of  # noqa: PLC0415 (as above)

        said = Said(
            message=message,
            topic=topic,
            author=author,
            metrics=schema_of(self.parts).metrics(metrics or {}),
            dataset=dataset,
            dataset_id=dataset_id,
            split=split,
            step=step,
            tags=tuple(tags),
            metadata=metadata or {},
        )
        return add_note(self.parts, revision, said)

    def notes(self, revision: str) -> list[NoteRow]:
        """What was said of a version, oldest first, without what was taken back."""
        return notes_of(self.parts, self.resolve(revision).version)

    def retract(self, revision: str, note: str, *, author: str = "") -> "Noted":
        """Take back a note, named by the first digits of its id."""
        from mstore.ops.notes import retract_note  # noqa: PLC0415 (only when it is wanted)

        return retract_note(self.parts, revision, note, author=author)

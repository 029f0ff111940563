"""What differs between models, and which came from which."""

from typing import TYPE_CHECKING

from mstore.store.opened import Opened, PathLike

if TYPE_CHECKING:
    from mstore.ops.diff import Diff
    from mstore.ops.intake import Progress
    from mstore.provenance.infer import Inferred
    from mstore.provenance.lineage import Lineage


class Comparing(Opened):
    """What differs between models, and which came from which."""

    def diff(
        self,
        *revisions: PathLike,
        bits: int | None = None,
        align: bool = False,
        progress: "Progress | None" = None,
    ) -> "Diff":
        """Compare two or more revisions, files or folders with the first of them.

        Tensors of one id are never read; of the others no more than a few chunks is held. With
        ``bits`` only so many leading bits of floats are read and figures have bounds. With
        ``align`` neurons are first put in the order of the first model's, which holds these layers
        in memory. NotFoundError for what is neither a revision nor a path.
        """
        from mstore.ops.diff import diff  # noqa: PLC0415 (to open a store takes none of it)

        texts = tuple(map(str, revisions))
        return diff(self.parts, *texts, bits=bits, align=align, progress=progress)

    def lineage(
        self, revision: str, *, up: bool = True, down: bool = True, depth: int | None = None
    ) -> "Lineage":
        """What a version came from and what was made of it, in this model and in others.

        At most ``depth`` steps away. Reads the descriptions of all versions.
        """
        from mstore.provenance.lineage import lineage  # noqa: PLC0415 (as above)

        return lineage(self.parts, revision, up=up, down=down, depth=depth)

    def made_from(self, dataset: str, *, depth: int | None = None) -> "Lineage":
        """Every version that names a data set, or its hash, and all that was made of those.

        NotFoundError when none does.
        """
        from mstore.provenance.lineage import lineage_of_dataset  # noqa: PLC0415 (as above)

        return lineage_of_dataset(self.parts, dataset, depth=depth)

    def history(self) -> "Lineage":
        """All versions of all models, newest first, and how they came from one another."""
        from mstore.provenance.lineage import whole_history  # noqa: PLC0415 (as above)

        return whole_history(self.parts)

    def infer_parents(self, *revisions: str, record: bool = False, author: str = "") -> "Inferred":
        """Guess from the weights what versions were made from, where nobody recorded it.

        All that have no parent, unless some are named. A guess has a confidence and a reason;
        with ``record`` it is added to its version as a note.
        """
        from mstore.provenance.infer import infer_parents  # noqa: PLC0415 (as above)

        return infer_parents(self.parts, *revisions, record=record, author=author)

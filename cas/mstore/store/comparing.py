"""What differs between models."""

from mstore.ops.diff import Diff, diff
from mstore.ops.intake import Progress
from mstore.store.opened import Opened, PathLike


class Comparing(Opened):
    """What differs between models."""

    def diff(
        self,
        *revisions: PathLike,
        bits: int | None = None,
        align: bool = False,
        progress: Progress | None = None,
    ) -> Diff:
        """Compare two or more revisions, files or folders with the first of them.

        Tensors of one id are never read; of the others no more than a few chunks is held. With
        ``bits`` only so many leading bits of floats are read and figures have bounds. With
        ``align`` neurons are first put in the order of the first model's, which holds these layers
        in memory. NotFoundError for what is neither a revision nor a path.
        """
        texts = tuple(map(str, revisions))
        return diff(self.parts, *texts, bits=bits, align=align, progress=progress)

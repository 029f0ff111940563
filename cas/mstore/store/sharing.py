"""Carrying versions from store to store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mstore.store.opened import Opened, PathLike

if TYPE_CHECKING:
    from mstore.ops.bundle import BundleReport
    from mstore.ops.intake import Progress
    from mstore.ops.transfer import TransferReport


class Sharing(Opened):
    """Carrying versions from store to store."""

    def push(
        self,
        place: PathLike,
        *revisions: str,
        as_name: str | None = None,
        force: bool = False,
        progress: "Progress | None" = None,
    ) -> "TransferReport":
        """Send models or versions, or everything, to another store."""
        from mstore.ops.transfer import push  # noqa: PLC0415 (to open a store takes none of it)

        return push(
            self.parts, str(place), revisions, as_name=as_name, force=force, progress=progress
        )

    def pull(
        self,
        place: PathLike,
        *revisions: str,
        as_name: str | None = None,
        force: bool = False,
        progress: "Progress | None" = None,
    ) -> "TransferReport":
        """Bring models or versions, or everything, from another store."""
        from mstore.ops.transfer import pull  # noqa: PLC0415 (as above)

        return pull(
            self.parts, str(place), revisions, as_name=as_name, force=force, progress=progress
        )

    def bundle(
        self,
        path: PathLike,
        revisions: Sequence[str] = (),
        *,
        since: Sequence[str] = (),
        force: bool = False,
        progress: "Progress | None" = None,
    ) -> "BundleReport":
        """Write one file that holds what a store with the versions ``since`` lacks."""
        from mstore.ops.bundle import create_bundle  # noqa: PLC0415 (as above)

        return create_bundle(
            self.parts, Path(path), revisions, since=since, force=force, progress=progress
        )

    def unbundle(
        self, path: PathLike, *, force: bool = False, progress: "Progress | None" = None
    ) -> "TransferReport":
        """Bring in what a bundle holds."""
        from mstore.ops.bundle import apply_bundle  # noqa: PLC0415 (as above)

        return apply_bundle(self.parts, Path(path), force=force, progress=progress)

"""Carrying versions from store to store."""

from collections.abc import Sequence
from pathlib import Path

from mstore.ops import transfer
from mstore.ops.bundle import BundleReport, apply_bundle, create_bundle
from mstore.ops.intake import Progress
from mstore.ops.transfer import TransferReport
from mstore.store.opened import Opened, PathLike


class Sharing(Opened):
    """Carrying versions from store to store."""

    def push(
        self,
        place: PathLike,
        *revisions: str,
        as_name: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> TransferReport:
        """Send models or versions, or everything, to another store."""
        return transfer.push(
            self.parts, str(place), revisions, as_name=as_name, force=force, progress=progress
        )

    def pull(
        self,
        place: PathLike,
        *revisions: str,
        as_name: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> TransferReport:
        """Bring models or versions, or everything, from another store."""
        return transfer.pull(
            self.parts, str(place), revisions, as_name=as_name, force=force, progress=progress
        )

    def bundle(
        self,
        path: PathLike,
        revisions: Sequence[str] = (),
        *,
        since: Sequence[str] = (),
        force: bool = False,
        progress: Progress | None = None,
    ) -> BundleReport:
        """Write one file that holds what a store with the versions ``since`` lacks."""
        return create_bundle(
            self.parts, Path(path), revisions, since=since, force=force, progress=progress
        )

    def unbundle(
        self, path: PathLike, *, force: bool = False, progress: Progress | None = None
    ) -> TransferReport:
        """Bring in what a bundle holds."""
        return apply_bundle(self.parts, Path(path), force=force, progress=progress)

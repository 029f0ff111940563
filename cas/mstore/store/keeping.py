"""What a store takes, whether it is sound, and in what form it keeps its bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mstore.errors import InvalidInputError
from mstore.store.opened import Opened, PathLike

if TYPE_CHECKING:
    from mstore.ops.archive import ArchiveReport, Terms
    from mstore.ops.findings import FsckReport
    from mstore.ops.gc import GcReport, Limits
    from mstore.ops.intake import Progress
    from mstore.ops.materialize import MaterializeReport
    from mstore.ops.planes import PlanesReport
    from mstore.ops.sending import Form
    from mstore.ops.strip import StripReport
    from mstore.ops.tier import TierReport
    from mstore.ops.usage import Reason, Usage


class Keeping(Opened):
    """What a store takes, whether it is sound, and in what form it keeps its bytes."""

    def du(self, revisions: Sequence[str] = ()) -> "list[Usage]":
        """Exclusive and shared bytes of some versions, or of all."""
        from mstore.ops.usage import du  # noqa: PLC0415 (to open a store takes none of this page)

        return du(self.parts, revisions)

    def why(self, digits: str) -> "list[Reason]":
        """What keeps an object alive."""
        from mstore.ops.usage import why  # noqa: PLC0415 (as above)

        return why(self.parts, digits)

    def gc(
        self,
        *,
        dry_run: bool = False,
        now: bool = False,
        limits: "Limits | None" = None,
        progress: "Progress | None" = None,
    ) -> "GcReport":
        """Collect what no name needs; ``now`` does not hold it for a day."""
        from mstore.ops.gc import run_gc  # noqa: PLC0415 (as above)

        return run_gc(self.parts, dry_run=dry_run, now=now, limits=limits, progress=progress)

    def fsck(self, *, full: bool = False, progress: "Progress | None" = None) -> "FsckReport":
        """Look for damage, with ``full`` in every stored byte; never raises for what it finds."""
        from mstore.ops.check import check  # noqa: PLC0415 (as above)

        return check(self.parts, full=full, progress=progress)

    def repair(
        self, places: Sequence[PathLike] = (), *, progress: "Progress | None" = None
    ) -> "FsckReport":
        """Heal damage from other stores or from files that were once put; deletes nothing."""
        from mstore.ops.repair import repair  # noqa: PLC0415 (as above)

        return repair(self.parts, [Path(place) for place in places], progress=progress)

    def strip(
        self,
        keep: Sequence[str],
        *,
        to: PathLike | None = None,
        codec: "Form" = "keep",
        dry_run: bool = False,
        announce: "Callable[[StripReport], None]" = lambda _: None,
        progress: "Progress | None" = None,
    ) -> "StripReport":
        """Keep the bytes of some versions and the description of all, at ``to`` or here.

        ``codec``, for ``to``: chunks as they are stored, "raw" to be mapped, or "auto": coded,
        none of them as a difference. ``announce`` hears what is foreseen before anything is done.
        """
        from mstore.ops.strip import strip  # noqa: PLC0415 (as above)

        return strip(
            self.parts,
            keep,
            to=None if to is None else str(to),
            form=codec,
            dry_run=dry_run,
            announce=announce,
            progress=progress,
        )

    def materialize(
        self,
        revisions: Sequence[str],
        *,
        dry_run: bool = False,
        progress: "Progress | None" = None,
    ) -> "MaterializeReport":
        """Make the tensors of versions raw and mappable: larger, and quickest to load."""
        from mstore.ops.materialize import materialize  # noqa: PLC0415 (as above)

        return materialize(self.parts, revisions, dry_run=dry_run, progress=progress)

    def archive(
        self,
        revisions: Sequence[str] = (),
        *,
        terms: "Terms | None" = None,
        dry_run: bool = False,
        progress: "Progress | None" = None,
    ) -> "ArchiveReport":
        """Store the tensors of versions, or of all, in the fewest bytes within bounds on reading.

        ``terms`` say what the bounds are. The old form goes with the next ``gc``.
        """
        from mstore.ops.archive import archive  # noqa: PLC0415 - nothing else needs a planner

        return archive(self.parts, revisions, terms, dry_run=dry_run, progress=progress)

    def archive_planes(
        self,
        revisions: Sequence[str] = (),
        levels: Sequence[int] = (8, 16),
        *,
        dry_run: bool = False,
        progress: "Progress | None" = None,
    ) -> "PlanesReport":
        """Store the floats of versions so that ``bits`` reads no more than it needs.

        After each number of bits there is a step. ``lenet:#fc*.weight`` chooses some tensors.
        Without a version: what is not stored as a difference. The old form goes with the next
        ``gc``.
        """
        from mstore.ops.planes import store_planes  # noqa: PLC0415 (loads NumPy)

        return store_planes(self.parts, revisions, levels, dry_run=dry_run, progress=progress)

    def tier(
        self,
        low: PathLike | None = None,
        revisions: Sequence[str] = (),
        *,
        bits: int = 1,
        back: bool = False,
        dry_run: bool = False,
        progress: "Progress | None" = None,
    ) -> "TierReport":
        """Let the store at ``low`` have the low planes of versions, or of all: they go from here.

        What ``load(bits=...)`` reads for ``bits`` stays. What is there is fetched when it is
        needed. With ``back`` all comes back; with neither, say only which places have some.
        """
        from mstore.ops.tier import give, show_tiers, take_back  # noqa: PLC0415 (loads NumPy)

        if back and low is not None:
            raise InvalidInputError("low planes are given to a place or taken back, not both")
        if back:
            return take_back(self.parts, dry_run=dry_run, progress=progress)
        if low is None:
            return show_tiers(self.parts)
        return give(self.parts, str(low), revisions, bits=bits, dry_run=dry_run, progress=progress)

    def plan(
        self,
        path: PathLike,
        revisions: Sequence[str] = (),
        *,
        terms: "Terms | None" = None,
        force: bool = False,
    ) -> "ArchiveReport":
        """Write the storage graph and the plan that ``archive`` would carry out to a JSON file."""
        from mstore.ops.archive import export_plan  # noqa: PLC0415 - as for archive

        return export_plan(self.parts, Path(path), revisions, terms, force=force)

"""Overviews: what there is at a glance, curves, comparisons, and how weights are spread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mstore.ids import ObjectId
from mstore.ops.describe import LogRow, tensors
from mstore.ops.listing import Listed, listing
from mstore.revision import resolve
from mstore.store.opened import Opened

if TYPE_CHECKING:
    from mstore.numerics.spread import Spread
    from mstore.ops.compare import Comparison
    from mstore.ops.curves import Curve
    from mstore.ops.overview import Overview


class Viewing(Opened):
    """Overviews: what there is at a glance, curves, comparisons, and how weights are spread."""

    def listing(
        self, name: str | None = None, logged: Sequence[LogRow] | None = None
    ) -> list[Listed]:
        """Every model with its newest version, or every version of one, with their numbers.

        ``logged`` is what ``log`` gave of that one, so that it is not read twice.
        """
        return listing(self.parts, name, logged)

    def overview(self, revision: str) -> "Overview":
        """Everything known of a version: as ``show``, and its layers, scores and curves."""
        from mstore.ops.overview import overview  # noqa: PLC0415 (only when it is wanted)

        return overview(self.parts, revision)

    def curves(self, *revisions: str, metrics: tuple[str, ...] = ()) -> "list[Curve]":
        """The training series of versions, and the metrics of models over their versions.

        NotFoundError when there are none, or none of ``metrics``.
        """
        from mstore.ops.curves import curves  # noqa: PLC0415 (as above)

        return curves(self.parts, revisions, metrics)

    def compare(self, *revisions: str, dataset: str | None = None) -> "Comparison":
        """Versions beside each other: parameters, metrics on data sets, sizes and curves."""
        from mstore.ops.compare import compare  # noqa: PLC0415 (as above)

        return compare(self.parts, revisions, dataset)

    def spreads(self, revision: str) -> "dict[ObjectId, Spread]":
        """How the numbers of each tensor of a version are spread, by tensor id.

        Reads every byte of them once, 4 MiB at a time. Tensors whose dtype has no plain numbers
        are left out. NotFoundError when the version was stripped.
        """
        from mstore.ops.spreads import spreads  # noqa: PLC0415 (as above)

        target = resolve(self.parts, revision)
        rows = tensors(self.parts, revision)
        found = spreads(self.parts, target, rows)
        return {row.id: spread for row, spread in found if spread is not None}

"""Finding versions by what is known of them."""

from typing import TYPE_CHECKING

from mstore.catalog.reports import ModelsReport, SearchReport
from mstore.ops.describe import models
from mstore.store.opened import Opened

if TYPE_CHECKING:
    from mstore.catalog.catalogue import Catalogue, ReindexReport


class Searching(Opened):
    """Finding versions by what is known of them."""

    @property
    def catalogue(self) -> "Catalogue":
        """The tables that answer questions; made from the store when first asked, then kept."""
        if self._catalogue is None:
            from mstore.catalog.catalogue import Catalogue  # noqa: PLC0415 (loads sqlite3)

            self._catalogue = Catalogue(self.parts)
        return self._catalogue

    def search(self, text: str, *, explain: bool = False) -> SearchReport:
        """The versions that fit a query or an English sentence, and those that lack a value.

        ``store.search("val/accuracy > 0.9 and memory < 100MB and derived from resnet18")``.
        QueryError (an InvalidInputError) says where a text is not understood. The first search of
        a store reads the descriptions of all its versions.
        """
        from mstore.catalog.search import search  # noqa: PLC0415 (loads sqlite3 and a parser)

        return search(self.catalogue, self.parts, text, explain=explain)

    def find_models(self, *, where: str = "", task: str = "", sort: str = "") -> ModelsReport:
        """The models whose newest version fits, in the order of ``sort`` ("val/accuracy desc").

        ``where`` is a query; errors as ``search``. All models by name when nothing is asked for,
        which needs no catalogue.
        """
        if not (where or task or sort):
            return ModelsReport(tuple(models(self.parts)))
        from mstore.catalog.listing import find_models  # noqa: PLC0415 (as above)

        return find_models(self.catalogue, self.parts, where=where, task=task, sort=sort)

    def reindex(self) -> "ReindexReport":
        """Make the catalogue anew from names and objects; nothing else is changed."""
        return self.catalogue.reindex()

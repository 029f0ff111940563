"""The models of a store by what is known of their newest versions."""

from typing import Final

from mstore.catalog import expression as ex
from mstore.catalog.catalogue import Catalogue
from mstore.catalog.reports import ModelsReport
from mstore.catalog.search import answer
from mstore.catalog.syntax import parse
from mstore.ops.describe import models
from mstore.parts import Parts


def find_models(
    catalogue: Catalogue, parts: Parts, *, where: str = "", task: str = "", sort: str = ""
) -> ModelsReport:
    """The models whose newest version fits ``where`` and has the ``task``, sorted; QueryError."""
    wanted = parse(where) if where else ex.Query()
    order = parse(f"order by {sort}").order if sort else wanted.order
    same = ex.Compare(ex.Field("task"), "=", ex.Value(task)) if task else None
    conditions = tuple(one for one in (same, wanted.condition) if one is not None)
    condition = ex.Both(conditions) if len(conditions) > 1 else next(iter(conditions), None)
    query = ex.Query(condition, order, wanted.limit)
    text = f"order by {sort}" if sort and not where else where
    notices: list[str] = []
    with catalogue.reading(notices.append) as connection:
        newest = frozenset(version for (version,) in connection.execute(_NEWEST))
        found = answer(catalogue, connection, parts, text, query, among=newest)
    place = {bytes(match.version): place for place, match in enumerate(found.matches)}
    rows = [row for row in models(parts) if bytes(row.version) in place]
    rows.sort(key=lambda row: place[bytes(row.version)])
    return ModelsReport(tuple(rows), found.lacking, found.remarks, (*notices, *found.notices))


_NEWEST: Final = """
SELECT version FROM numbered AS row WHERE model NOT LIKE 'mstore/%'
AND number = (SELECT max(number) FROM numbered WHERE model = row.model)
"""

"""What can be asked of a version, and where in the tables the answer stands.

A field is one of ``FIXED``, else a metric, else a parameter of that name; ``metric.``, ``param.``
and ``meta.`` before a name say which. A name that is only the end of metrics' names
(``accuracy`` of ``val/accuracy``) means those, and one with ``*`` all that fit.
"""

import difflib
import re
import sqlite3
from fnmatch import translate
from typing import Final, Literal, NamedTuple

from mstore.catalog.expression import Field
from mstore.catalog.syntax import QueryError
from mstore.schema import Schema
from mstore.units import UNIT_KINDS, UnitKind

FieldKind = Literal["number", "text", "time", "any"]


class Asked(NamedTuple):
    """A field as the tables have it: ``query`` gives a row (version, value) for each value.

    ``metrics`` are the names of metrics that it means, if any, and ``unit`` is what its numbers are
    in; empty when that is not known. ``is_optional`` says that a version without a row is not known
    to lack what was asked for, ``is_single`` that none has two.
    """

    label: str
    kind: FieldKind
    query: str
    values: tuple[str, ...] = ()
    unit: UnitKind = ""
    is_optional: bool = True
    is_single: bool = False
    remark: str = ""
    metrics: tuple[str, ...] = ()


def _fixed(kind: FieldKind, query: str, unit: UnitKind = "", *, is_optional: bool = False) -> Asked:
    return Asked("", kind, query, unit=unit, is_optional=is_optional)


def _trait(kind: str, *, is_optional: bool) -> Asked:
    return Asked(
        "",
        "text",
        "SELECT version, value FROM trait WHERE kind = ?",
        (kind,),
        is_optional=is_optional,
    )


FIXED: Final[dict[str, Asked]] = {
    "name": _fixed("text", "SELECT version, model FROM numbered"),
    "number": _fixed("number", "SELECT version, number FROM numbered"),
    "state": _fixed("text", "SELECT version, state FROM numbered"),
    "id": _fixed("text", "SELECT id, lower(hex(id)) FROM described"),
    "task": _fixed("text", "SELECT id, task FROM described WHERE task <> ''", is_optional=True),
    "author": _fixed(
        "text", "SELECT id, author FROM described WHERE author <> ''", is_optional=True
    ),
    "message": _fixed("text", "SELECT id, message FROM described"),
    "time": _fixed("time", "SELECT id, time FROM described"),
    "size": _fixed("number", "SELECT id, size FROM described", "bytes"),
    "weights": _fixed("number", "SELECT id, weights FROM described", "bytes"),
    "params": _fixed("number", "SELECT id, params FROM described"),
    "tensors": _fixed("number", "SELECT id, tensors FROM described"),
    "files": _fixed("number", "SELECT id, files FROM described"),
    "file": _fixed("text", "SELECT version, path FROM file"),
    "tag": _fixed(
        "text",
        "SELECT version, tag FROM alias "
        "UNION SELECT version, value FROM trait WHERE kind = 'label'",
    ),
    "dataset": _fixed(
        "text",
        "SELECT version, dataset FROM used "
        "UNION SELECT version, dataset FROM said WHERE dataset <> ''",
        is_optional=True,
    ),
    "framework": _trait("framework", is_optional=True),
    "format": _trait("format", is_optional=False),
    "dtype": _trait("dtype", is_optional=False),
    "relation": _fixed("text", "SELECT derived, relation FROM lineage"),
}
"""The fields that every store has."""

USUAL: Final = ("memory", "latency", "flops", "accuracy", "loss")
"""Metrics that may be asked for before any version has them."""

SEARCHED: Final = {
    "name": "names",
    "message": "message",
    "tag": "tags",
    "note": "notes",
    "card": "card",
}
"""Fields whose words are indexed, and their columns."""

_METRICS: Final = "SELECT version, value FROM metric WHERE is_current = 1 AND name"
_ON_DATASET: Final = """
UNION ALL
SELECT metric.version, value FROM metric JOIN used ON used.version = metric.version
WHERE is_current IN (0, 1) AND name IN ({marks}) AND source = 'version'
  AND used.dataset = ? COLLATE NOCASE
  AND (SELECT count(*) FROM used AS every WHERE every.version = metric.version) = 1
"""
_NAMES: Final = """
WITH RECURSIVE known (name) AS (
  SELECT min(name) FROM metric WHERE is_current = 1
  UNION ALL
  SELECT (SELECT min(name) FROM metric WHERE is_current = 1 AND name > known.name)
  FROM known WHERE name IS NOT NULL
) SELECT name FROM known WHERE name IS NOT NULL
"""
_ATTRIBUTES: Final = """
WITH RECURSIVE known (name) AS (
  SELECT min(name) FROM attribute WHERE kind = ?1
  UNION ALL
  SELECT (SELECT min(name) FROM attribute WHERE kind = ?1 AND name > known.name)
  FROM known WHERE name IS NOT NULL
) SELECT name FROM known WHERE name IS NOT NULL
"""


def find_field(connection: sqlite3.Connection, schema: Schema, field: Field, text: str) -> Asked:
    """What ``field`` of the search ``text`` means in this store; QueryError for no known name.

    What metrics are in is what the ``schema`` says.
    """
    found = _asked(connection, field)
    if found is None:
        raise _unknown(connection, field, text)
    units = {unit_of(schema, name) for name in found.metrics} or {found.unit}
    return found._replace(
        label=found.label or field.name, unit=units.pop() if len(units) == 1 else ""
    )


def _asked(connection: sqlite3.Connection, field: Field) -> Asked | None:
    if field.dataset:
        return _on_dataset(connection, field.name.removeprefix("metric."), field.dataset)
    return FIXED.get(field.name) or _prefixed(field.name) or _stored(connection, field.name)


def _on_dataset(connection: sqlite3.Connection, name: str, dataset: str) -> Asked:
    """A metric on one data set: of notes that name it, and of versions that used no other."""
    start, end = f"{dataset}/".casefold(), f"/{name}"
    ending = [one for one in metric_names(connection) if one.endswith(end)][:_MAX_NAMES]
    named = [one for one in ending if one.casefold().startswith(start)]
    own = [name, *(one for one in ending if one not in named)]
    query = _metric(*named).query + _ON_DATASET.format(marks=", ".join("?" * len(own)))
    values = (*named, *own, dataset)
    return Asked(f"{name} on {dataset}", "number", query, values, metrics=(name,))


def unit_of(schema: Schema, name: str) -> UnitKind:
    """What a metric of this name is in; empty when the schema does not say."""
    field = schema.find(name) or schema.find(name.rpartition("/")[2].partition("@")[0])
    kind = "" if field is None else field.type
    # Fractions compare with plain numbers, as people write both.
    return next((one for one in UNIT_KINDS if one == kind and one != "fraction"), "")


def metric_names(connection: sqlite3.Connection) -> list[str]:
    """The names of all metrics, sorted. Cost: a look-up for each name."""
    return [name for (name,) in connection.execute(_NAMES)]


def attribute_names(connection: sqlite3.Connection, kind: str) -> list[str]:
    """The names of all parameters or of all metadata, sorted; cost as ``metric_names``."""
    return [name for (name,) in connection.execute(_ATTRIBUTES, (kind,))]


def _prefixed(name: str) -> Asked | None:
    prefix, dot, rest = name.partition(".")
    if not dot or not rest:
        return None
    if prefix == "metric":
        return _metric(rest)
    return _attribute(_KINDS[prefix], rest) if prefix in _KINDS else None


_KINDS: Final = {"param": "parameter", "meta": "metadata"}


def _metric(*names: str, remark: str = "") -> Asked:
    query = f"{_METRICS} IN ({', '.join('?' * len(names))})"
    single = len(names) == 1
    return Asked("", "number", query, names, metrics=names, is_single=single, remark=remark)


def _attribute(kind: str, name: str) -> Asked:
    query = "SELECT version, coalesce(number, words) FROM attribute WHERE kind = ? AND name = ?"
    return Asked("", "any", query, (kind, name), is_single=True)


def _stored(connection: sqlite3.Connection, name: str) -> Asked | None:
    """The metric or the parameter of this name, or the metrics whose names end so."""
    if _exists(connection, "metric WHERE is_current = 1 AND name = ?", name):
        return _metric(name)
    if _exists(connection, "attribute WHERE kind = 'parameter' AND name = ?", name):
        return _attribute("parameter", name)
    ending = rf"(?:.*/){re.escape(name)}\Z"
    pattern = re.compile(translate(name) if "*" in name else ending, re.DOTALL)
    names = [known for known in metric_names(connection) if pattern.match(known)]
    if names:
        return _metric(*names[:_MAX_NAMES], remark=f"'{name}' means {_any_of(names)}")
    if name in USUAL or name.partition("@")[0] in USUAL:
        return _metric(name)
    return None


_MAX_NAMES: Final = 500


def _any_of(names: list[str]) -> str:
    listed = [f"'{name}'" for name in names[:5]] + (["..."] if names[5:] else [])
    return listed[0] if len(listed) == 1 else f"any of {', '.join(listed)}"


def _exists(connection: sqlite3.Connection, place: str, name: str) -> bool:
    query = f"SELECT 1 FROM {place} LIMIT 1"  # noqa: S608 - texts of our own
    return connection.execute(query, (name,)).fetchone() is not None


def _unknown(connection: sqlite3.Connection, field: Field, text: str) -> QueryError:
    parameters = attribute_names(connection, "parameter")
    known = [*FIXED, *USUAL, *metric_names(connection), *parameters]
    near = difflib.get_close_matches(field.name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"fields are {', '.join(FIXED)}, and metrics"
    message = f"'{field.name}' is no field, and no metric or parameter of any version"
    return QueryError(message, text, field.span, hint)

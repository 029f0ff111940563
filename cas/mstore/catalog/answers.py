"""What the tables answer to the questions of one search. All values are bound, never spliced in."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from mstore.catalog.expression import Field
from mstore.catalog.fields import Asked, find_field
from mstore.catalog.reports import Answer
from mstore.schema import Schema

Versions = frozenset[bytes]
Rows = list[tuple[bytes, Answer]]

_FEW: Final = 1000
"""Versions whose values are looked up one by one rather than read with those of all."""
_AT_ONCE: Final = 500
"""Values bound in one statement; SQLite takes 999 at least."""


class Answers:
    """The answers of the tables to one search; ``versions`` are those that are searched.

    What numbers are in is what the ``schema`` of the store says.
    """

    def __init__(
        self, connection: sqlite3.Connection, schema: Schema, text: str, versions: Versions
    ) -> None:
        self._schema = schema
        self.text = text
        self.all = versions
        self.remarks: list[str] = []
        self.connection = connection
        self._asked: dict[Field, Asked] = {}
        self._rows: dict[tuple[str, tuple[str, ...]], Rows] = {}
        self._known: dict[tuple[str, tuple[str, ...]], Versions] = {}

    def find(self, field: Field) -> Asked:
        """What a field means; QueryError when it means nothing."""
        asked = self._asked.get(field)
        if asked is None:
            asked = self._asked[field] = find_field(self.connection, self._schema, field, self.text)
            self.remarks += [asked.remark] if asked.remark else []
        return asked

    def rows(self, asked: Asked) -> Rows:
        """Every (version, value) of a field; fetched once."""
        found = self._rows.get(_key(asked))
        if found is None:
            found = self.connection.execute(asked.query, asked.values).fetchall()
            self._rows[_key(asked)] = found
        return found

    def rows_of(self, asked: Asked, versions: Collection[bytes]) -> Rows:
        """The (version, value) of a field for some versions."""
        if len(versions) > _FEW or _key(asked) in self._rows:
            wanted = frozenset(versions)
            return [row for row in self.rows(asked) if row[0] in wanted]
        found: Rows = []
        for some in _parts(versions):
            query = _from(asked, f"version, value FROM asked WHERE version IN ({_marks(some)})")
            found += self.connection.execute(query, (*asked.values, *some))
        return found

    def known(self, asked: Asked) -> Versions:
        """The searched versions that have a value of a field."""
        found = self._known.get(_key(asked))
        if found is None:
            found = self._known[_key(asked)] = self._find_known(asked)
        return found

    def _find_known(self, asked: Asked) -> Versions:
        if asked.is_single:
            # To count is quicker than to fetch, and that all or none have it is the usual case.
            (count,) = self.connection.execute(_from(asked, "count(*) FROM asked"), asked.values)
            (every,) = self.connection.execute("SELECT count(*) FROM described")
            if count == every:
                return self.all
        return self.having(asked, "1", ())

    def having(self, asked: Asked, condition: str, values: Iterable[float]) -> Versions:
        """The searched versions for which an SQL condition on ``value`` is true."""
        query = _from(asked, f"version FROM asked WHERE {condition}")
        rows = self.connection.execute(query, (*asked.values, *values))
        return self.all.intersection([version for (version,) in rows])

    def explain(self, asked: Asked) -> tuple[str, ...]:
        """How SQLite goes about a field."""
        plan = self.connection.execute(f"EXPLAIN QUERY PLAN {asked.query}", asked.values)
        return tuple(str(row[-1]) for row in plan)

    def one(self, query: str, version: bytes) -> tuple[Any, ...] | None:
        """The row that a query gives for a version."""
        found: tuple[Any, ...] | None = self.connection.execute(query, (version,)).fetchone()
        return found


def _key(asked: Asked) -> tuple[str, tuple[str, ...]]:
    return asked.query, asked.values


def _from(asked: Asked, selected: str) -> str:
    return f"WITH asked (version, value) AS ({asked.query}) SELECT {selected}"


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _parts(versions: Iterable[bytes]) -> Iterator[list[bytes]]:
    waiting = iter(versions)
    while some := list(islice(waiting, _AT_ONCE)):
        yield some

"""Rows for overviews: every model with its newest version, or every version of a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from mstore.errors import InvalidInputError
from mstore.ids import ObjectId
from mstore.notes import NoteRow, metrics_of, notes_by_version
from mstore.objects import Value, Version
from mstore.ops.counts import ParameterCounts
from mstore.ops.describe import Kin, LogRow, State, kin_of, labels_by_version, log, models
from mstore.ops.scores import headline
from mstore.parts import Parts


class Listed(Struct, frozen=True):
    """One line of an overview: a version, and of how many of its model it is the newest.

    What notes say later of it is in its ``metrics`` and ``tags``.

    ``parameter_count`` is the number of elements of all tensors; ``headline`` names the one of
    ``metrics`` that says most.
    """

    name: str
    number: int
    version: ObjectId
    versions: int
    size_bytes: int
    tensors: int
    parameter_count: int
    time: int
    state: State
    author: str
    parents: tuple[Kin, ...]
    parameters: Mapping[str, Value]
    metrics: Mapping[str, float]
    headline: str | None
    tags: tuple[str, ...]
    message: str

    @property
    def label(self) -> str:
        """``lenet@3``."""
        return f"{self.name}@{self.number}"


class _Row(NamedTuple):
    name: str
    number: int
    id: ObjectId
    state: State
    tags: tuple[str, ...]
    versions: int


def listing(
    parts: Parts, name: str | None = None, logged: Sequence[LogRow] | None = None
) -> list[Listed]:
    """Every model by name with its newest version; of one model every version, newest first.

    ``logged`` is what ``log`` gave of the model, where that is at hand. Reads the headers of files,
    to count their parameters, once for each version. NotFoundError.
    """
    labels = labels_by_version(parts)
    rows = _newest(parts) if name is None else _all(log(parts, name) if logged is None else logged)
    counts = ParameterCounts(parts)
    said = notes_by_version(parts)
    found = [
        _listed(row, version, labels, said.get(row.id, ()), counts.of(version.tree))
        for row, version in rows
    ]
    counts.save()
    return found


def sorted_rows(rows: Sequence[Listed], column: str, *, reverse: bool = False) -> list[Listed]:
    """Rows by a column: one of its own, or a metric or a parameter; unknown values come last.

    InvalidInputError when no row has such a column.
    """
    keyed = [(value_of(row, column), row) for row in rows]
    if rows and all(value is None for value, _ in keyed):
        known = ", ".join([*_COLUMNS, *sorted({key for row in rows for key in row.metrics})])
        raise InvalidInputError(f"no row has '{column}' to sort by", hint=f"there is: {known}")
    numbers = [(v, row) for v, row in keyed if isinstance(v, int | float) and v == v]  # noqa: PLR0124 - what is not equal to itself is NaN
    texts = [(v, row) for v, row in keyed if isinstance(v, str)]
    placed = {id(row) for _, row in [*numbers, *texts]}
    rest = [row for row in rows if id(row) not in placed]
    numbers.sort(key=lambda pair: pair[0], reverse=reverse)
    texts.sort(key=lambda pair: pair[0], reverse=reverse)
    return [*(row for _, row in numbers), *(row for _, row in texts), *rest]


def value_of(row: Listed, column: str) -> object:
    """What a row has in a column; None for nothing."""
    if column in _COLUMNS:
        return _COLUMNS[column](row)
    found = row.metrics.get(column, row.parameters.get(column))
    return found if isinstance(found, int | float | str | None) else str(found)


_COLUMNS: dict[str, Callable[[Listed], int | str]] = {
    "name": lambda row: row.name,
    "number": lambda row: row.number,
    "versions": lambda row: row.versions,
    "time": lambda row: row.time,
    "size": lambda row: row.size_bytes,
    "tensors": lambda row: row.tensors,
    "params": lambda row: row.parameter_count,
    "author": lambda row: row.author,
}


def _newest(parts: Parts) -> Iterator[tuple[_Row, Version]]:
    for model in models(parts):
        row = _Row(model.name, model.number, model.version, model.state, model.tags, model.versions)
        yield row, parts.odb.version(model.version)


def _all(logged: Sequence[LogRow]) -> Iterator[tuple[_Row, Version]]:
    rows = [row for row in logged if row.state != "deleted"]
    for row in rows:
        assert row.version is not None
        yield _Row(row.name, row.number, row.id, row.state, row.tags, len(rows)), row.version


def _listed(
    row: _Row,
    version: Version,
    labels: Mapping[bytes, Sequence[str]],
    notes: Sequence[NoteRow],
    parameter_count: int,
) -> Listed:
    metrics = metrics_of(version, notes)
    noted = (tag for _, note in notes for tag in note.tags)
    return Listed(
        name=row.name,
        number=row.number,
        version=row.id,
        versions=row.versions,
        size_bytes=version.size,
        tensors=version.tensor_count,
        parameter_count=parameter_count,
        time=version.time,
        state=row.state,
        author=version.author,
        parents=kin_of(version, labels),
        parameters=version.parameters,
        metrics=metrics,
        headline=headline(metrics),
        tags=tuple(dict.fromkeys([*row.tags, *noted])),
        message=version.message,
    )

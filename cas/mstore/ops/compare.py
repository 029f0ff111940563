"""Versions beside each other: parameters, metrics by data set, sizes; differences and bests marked.

Pure but for ``compare``, which reads the versions.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from mstore.best import Direction
from mstore.errors import NotFoundError
from mstore.ids import ObjectId
from mstore.objects import Value
from mstore.ops.curves import Curve
from mstore.ops.overview import Overview, Score, overview
from mstore.ops.schemas import schema_of
from mstore.ops.scores import BUILT_IN_SCHEMA, best_of, direction_of
from mstore.parts import Parts
from mstore.schema import Schema


class Compared(NamedTuple):
    """A version that is compared."""

    label: str
    id: ObjectId
    time: int
    size_bytes: int
    parameter_count: int
    tensors: int


class Setting(NamedTuple):
    """One parameter or other value of every version; None where a version does not say it."""

    name: str
    values: tuple[Value, ...]
    differs: bool


class Result(NamedTuple):
    """One metric on one data set for every version; ``best`` are the places of the best ones."""

    metric: str
    dataset: str
    direction: Direction
    values: tuple[float | None, ...]
    best: tuple[int, ...]


class Comparison(Struct, frozen=True):
    """Some versions beside each other, in the order in which they were asked for."""

    versions: tuple[Compared, ...]
    settings: tuple[Setting, ...]
    results: tuple[Result, ...]
    curves: tuple[Curve, ...]


def compare(parts: Parts, texts: Sequence[str], dataset: str | None = None) -> Comparison:
    """Compare versions; with ``dataset``, only by their metrics on it.

    NotFoundError when no version was measured on it.
    """
    found = [overview(parts, text) for text in texts]
    scores = [list(_on(each.scores, dataset)) for each in found]
    if dataset is not None and not any(scores):
        known = sorted({score.dataset for each in found for score in each.scores if score.dataset})
        raise NotFoundError(
            f"no version of {', '.join(texts)} was measured on '{dataset}'",
            hint=f"there is: {', '.join(known)}" if known else "tell it: mstore note",
        )
    return Comparison(
        versions=tuple(_compared(each) for each in found),
        settings=tuple(_settings(found)),
        results=tuple(results_of(scores, schema_of(parts))),
        curves=tuple(curve for each in found for curve in each.curves),
    )


def results_of(scores: Sequence[Sequence[Score]], schema: Schema = BUILT_IN_SCHEMA) -> list[Result]:
    """One row for each metric and data set; of a value that was told twice the later one counts."""
    latest: list[dict[tuple[str, str], Score]] = []
    for each in scores:
        ordered = sorted(each, key=lambda score: score.time)
        latest.append({(score.metric, _place(score)): score for score in ordered})
    rows = []
    for metric, dataset in sorted({key for each in latest for key in each}):
        told = [each.get((metric, dataset)) for each in latest]
        values = tuple(None if score is None else score.value for score in told)
        best = best_of(metric, values, schema) if len(values) > 1 else ()
        rows.append(Result(metric, dataset, direction_of(metric, schema), values, best))
    return rows


def _place(score: Score) -> str:
    return f"{score.dataset}:{score.split}" if score.split else score.dataset


def _on(scores: Iterable[Score], dataset: str | None) -> Iterable[Score]:
    return (s for s in scores if dataset in (None, s.dataset, _place(s)))


def _compared(found: Overview) -> Compared:
    version = found.shown.version
    return Compared(
        label=found.label,
        id=found.shown.id,
        time=version.time,
        size_bytes=version.size,
        parameter_count=found.parameter_count,
        tensors=version.tensor_count,
    )


def _settings(found: Sequence[Overview]) -> Iterable[Setting]:
    said = [each.shown.version.parameters for each in found]
    for name in sorted({name for each in said for name in each}):
        values = tuple(each.get(name) for each in said)
        same = all(name in each for each in said) and all(value == values[0] for value in values)
        yield Setting(name, values, not same)

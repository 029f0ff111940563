"""How metrics went: the series of a version's training logs, and a metric over a model's versions.

Reads only. A curve's best value is that of its direction (``ops.scores``).
"""

import math
import re
import struct
from collections.abc import Iterator, Sequence

from msgspec import Struct

from mstore.best import Direction
from mstore.errors import CorruptError, InvalidInputError, NotFoundError
from mstore.notes import metrics_of, notes_by_version
from mstore.objects import Log, Series, Version
from mstore.ops.schemas import schema_of
from mstore.ops.scores import BUILT_IN_SCHEMA, best_of, direction_of, measured
from mstore.ops.steplog.rows import StepRow, StepRows
from mstore.parts import Parts
from mstore.refs import HEADS
from mstore.revision import resolve
from mstore.schema import Schema

_NUMBER = 8
"""Bytes of a step and of a value."""
_BARE = re.compile(r"[^:#~@\[\]\s]+")


class Curve(Struct, frozen=True):
    """One metric along the steps of a training, or along the versions of a model.

    ``axis`` says which; ``best`` is the place of the best value; None where all are NaN, and
    for what is no result, such as a learning rate.
    ``source`` is the kind of log, or "versions".
    """

    label: str
    metric: str
    quantity: str
    split: str
    source: str
    axis: str
    direction: Direction
    steps: tuple[int, ...]
    values: tuple[float, ...]
    best: int | None


def curves(parts: Parts, texts: Sequence[str], metrics: Sequence[str] = ()) -> list[Curve]:
    """The curves of some models and versions, all of them or those of the ``metrics`` named.

    A version has the series of its logs; a model those of its newest version, and every other
    metric that two or more of its versions have. A metric is named whole ("val/loss") or without
    its split ("loss"). NotFoundError when there is nothing to draw.
    """
    found = [curve for text in texts for curve in _of(parts, text)]
    wanted = [c for c in found if not metrics or c.metric in metrics or c.quantity in metrics]
    for metric in metrics:
        if not any(metric in (curve.metric, curve.quantity) for curve in wanted):
            names = ", ".join(sorted({curve.metric for curve in found})) or "nothing"
            raise NotFoundError(
                f"no curve of '{metric}' in {', '.join(texts)}", hint=f"there is: {names}"
            )
    if not wanted:
        raise NotFoundError(
            f"no curves in {', '.join(texts)}",
            hint="store training logs with a version, or several versions with metrics",
        )
    return wanted


def curve(
    label: str,
    metric: str,
    source: str,
    axis: str,
    points: Sequence[tuple[int, float]],
    *,
    schema: Schema = BUILT_IN_SCHEMA,
) -> Curve:
    """A curve of some (step, value) pairs, in the order of their steps."""
    ordered = sorted(points, key=lambda point: point[0])
    values = tuple(value for _, value in ordered)
    quantity, split = measured(metric)
    finite = [value if math.isfinite(value) else None for value in values]
    best = best_of(metric, finite, schema)
    return Curve(
        label=label,
        metric=metric,
        quantity=quantity,
        split=split,
        source=source,
        axis=axis,
        direction=direction_of(metric, schema),
        steps=tuple(step for step, _ in ordered),
        values=values,
        best=best[0] if best else None,
    )


def series_curves(parts: Parts, label: str, version: Version) -> Iterator[Curve]:
    """The curves of a version's training logs, in the order of the logs."""
    for source, series in _logged(parts, version):
        count = len(series.steps) // _NUMBER
        steps = struct.unpack(f"<{count}q", series.steps)
        values = struct.unpack(f"<{count}d", series.values)
        points = list(zip(steps, values, strict=True))
        yield curve(label, series.name, source, "step", points, schema=schema_of(parts))


def _logged(parts: Parts, version: Version) -> Iterator[tuple[str, Series]]:
    for oid in version.logs:
        log = parts.odb.record(oid)
        if not isinstance(log, Log):
            raise CorruptError(f"record {oid.hex()} is not a log", hint="run: mstore fsck")
        yield from ((log.source, series) for series in log.series)


def _of(parts: Parts, text: str) -> Iterator[Curve]:
    target = resolve(parts, text)
    if target.path is not None:
        raise InvalidInputError(f"'{text}' is a file or a tensor", hint="name a model or a version")
    model = text if _BARE.fullmatch(text) and _is_model(parts, text) else None
    found = list(series_curves(parts, model or target.label, parts.odb.version(target.version)))
    yield from found
    if model is not None:
        known = {curve.metric for curve in found}
        yield from (c for c in _version_curves(parts, model) if c.metric not in known)


def _is_model(parts: Parts, text: str) -> bool:
    table = parts.refs.find(HEADS, text)
    return table is not None and table.head is not None


def _version_curves(parts: Parts, name: str) -> Iterator[Curve]:
    rows = StepRows(parts).of(name)
    by_step = bool(rows) and all(row.step is not None for row in rows)
    points: dict[str, list[tuple[int, float]]] = {}
    said = notes_by_version(parts)
    for row in rows:
        for metric, value in metrics_of(row.version, said.get(row.row.version, ())).items():
            points.setdefault(metric, []).append((_place(row, by_step=by_step), value))
    axis = "step" if by_step else "version"
    for metric, found in sorted(points.items()):
        if len(found) > 1:
            yield curve(name, metric, "versions", axis, found, schema=schema_of(parts))


def _place(row: StepRow, *, by_step: bool) -> int:
    return row.step if by_step and row.step is not None else row.row.number

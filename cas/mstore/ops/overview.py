"""Everything known of a version in one value, for people to look at: show, compare, the pages.

Reads descriptions only, never the bytes of tensors.
"""

from collections.abc import Iterable, Iterator
from math import prod
from typing import NamedTuple

from msgspec import Struct

from mstore.notes import ESTIMATE
from mstore.ops.curves import Curve, series_curves
from mstore.ops.describe import Shown, TensorRow, show, tensors
from mstore.ops.estimate import Estimate, estimate
from mstore.parts import Parts
from mstore.revision import resolve


class Layer(NamedTuple):
    """The tensors whose names differ in their last part only."""

    name: str
    tensors: int
    parameter_count: int
    size_bytes: int


class Score(NamedTuple):
    """One value of a metric; ``dataset`` is "" for what the version itself says.

    ``time`` is when it was said, ``author`` by whom.
    """

    metric: str
    dataset: str
    split: str
    value: float
    time: int
    author: str


class Overview(Struct, frozen=True):
    """Everything known of a version: as ``show`` gives it, and what was made of it.

    The parameters of ``layers`` add up to ``parameter_count``: the elements of all tensors.
    """

    label: str
    shown: Shown
    parameter_count: int
    layers: tuple[Layer, ...]
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    footprint: Estimate


def overview(parts: Parts, text: str) -> Overview:
    """Everything known of one version; NotFoundError, InvalidInputError."""
    target = resolve(parts, text)
    shown = show(parts, text)
    rows = tensors(parts, target.text.partition(":")[0])
    layers = tuple(layers_of(rows))
    return Overview(
        label=target.label,
        shown=shown,
        parameter_count=sum(layer.parameter_count for layer in layers),
        layers=layers,
        scores=tuple(_scores(shown)),
        curves=tuple(series_curves(parts, target.label, shown.version)),
        footprint=estimate(parts, text),
    )


def layers_of(rows: Iterable[TensorRow]) -> list[Layer]:
    """The layers of some tensors, in the order in which they first occur."""
    found: dict[str, Layer] = {}
    for row in rows:
        name = row.name.rpartition(".")[0] or row.name
        layer = found.get(name, Layer(name, 0, 0, 0))
        found[name] = Layer(
            name,
            layer.tensors + 1,
            layer.parameter_count + prod(row.shape),
            layer.size_bytes + row.size_bytes,
        )
    return list(found.values())


def _scores(shown: Shown) -> Iterator[Score]:
    version = shown.version
    for metric, value in sorted(version.metrics.items()):
        yield Score(metric, "", "", value, version.time, version.author)
    said = (note for _, note in shown.notes if note.topic != ESTIMATE)
    for note in said:
        for metric, value in sorted(note.metrics.items()):
            yield Score(metric, note.dataset, note.split, value, note.time, note.author)

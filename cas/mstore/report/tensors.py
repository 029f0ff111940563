"""Tensors, layers and how their numbers are spread."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, TypeVar

from mstore.report.markup import Markup, tag
from mstore.report.numbers import number, size
from mstore.report.tables import Cell, Column, Grid, table

if TYPE_CHECKING:
    from mstore.ids import ObjectId
    from mstore.numerics.spread import Spread
    from mstore.ops.describe import TensorRow
    from mstore.ops.overview import Layer

Spreads = Mapping["ObjectId", "Spread"]

SHOWN = 400
"""Rows of a table of tensors or layers; of more the largest, with what the others add up to."""
_TIMES = "\N{MULTIPLICATION SIGN}"
_WIDE, _HIGH = 150, 30

RowT = TypeVar("RowT")


def layers_table(layers: Sequence["Layer"]) -> Markup:
    """How many parameters each layer has; the last line is the sum."""
    total = sum(layer.parameter_count for layer in layers)
    chosen, rest = _largest(layers, [layer.parameter_count for layer in layers])
    rows = [
        [
            Cell(layer.name),
            Cell(f"{layer.tensors:,}", layer.tensors),
            Cell(f"{layer.parameter_count:,}", layer.parameter_count),
            Cell(size(layer.size_bytes), layer.size_bytes),
            Cell(_share(layer.parameter_count, total), layer.parameter_count),
        ]
        for layer in chosen
    ]
    columns = [
        Column("layer"),
        *(Column(name, is_number=True) for name in ("tensors", "parameters", "size")),
    ]
    foot = [
        Cell(f"all {len(layers):,} layers"),
        Cell(f"{sum(layer.tensors for layer in layers):,}"),
        Cell(f"{total:,}"),
        Cell(size(sum(layer.size_bytes for layer in layers))),
        Cell(_left_out(rest)),
    ]
    caption = "parameters of each layer"
    return table(Grid(caption, [*columns, Column("share")], rows, is_sortable=True, foot=foot))


def tensors_table(tensors: Sequence["TensorRow"], spreads: Spreads) -> Markup:
    """Every tensor with its form and, where they were read, its numbers."""
    chosen, rest = _largest(tensors, [row.size_bytes for row in tensors])
    files = {row.path for row in tensors}
    columns = [
        Column("tensor"),
        *([Column("file")] if len(files) > 1 else []),
        Column("type"),
        Column("shape", is_whole=True),
        Column("parameters", is_number=True),
        Column("size", is_number=True),
        *(_SPREAD_COLUMNS if spreads else []),
    ]
    rows = [
        [
            Cell(row.name),
            *([Cell(row.path)] if len(files) > 1 else []),
            Cell(row.dtype),
            Cell(f" {_TIMES} ".join(f"{length:,}" for length in row.shape) or "scalar"),
            Cell(f"{prod(row.shape):,}", prod(row.shape)),
            Cell(size(row.size_bytes), row.size_bytes),
            *(_spread_cells(spreads.get(row.id)) if spreads else []),
        ]
        for row in chosen
    ]
    foot = [Cell(f"all {len(tensors):,} tensors")] + [Cell("")] * (len(columns) - 1)
    at = next(place for place, column in enumerate(columns) if column.title == "parameters")
    foot[at] = Cell(f"{sum(prod(row.shape) for row in tensors):,}")
    foot[at + 1] = Cell(size(sum(row.size_bytes for row in tensors)))
    grid = Grid("tensors", columns, rows, is_sortable=True, foot=foot)
    return tag("div", table(grid), tag("p", _left_out(rest), class_="note") if rest else None)


_SPREAD_COLUMNS = [
    *(Column(name, is_number=True) for name in ("least", "mean", "deviation", "greatest", "zeros")),
    Column("spread"),
]


def histogram(spread: "Spread") -> Markup:
    """The bins of a tensor as a small picture, with a line where zero is."""
    words = f"histogram from {number(spread.low)} to {number(spread.high)}"
    zero = None
    if spread.low < 0 < spread.high:
        zero = -spread.low / (spread.high - spread.low)
    return bars(spread.bins, words, zero=zero)


def bars(counts: Sequence[int], words: str, *, zero: float | None = None) -> Markup:
    """Counts as bars beside each other, with a line at a share of their width."""
    top = max(counts, default=0) or 1
    step = _WIDE / max(len(counts), 1)
    wide = max(step - 0.6, 0.5)
    steps = "".join(
        f"M{at * step:.2f} {_HIGH}v{-(_HIGH - 1) * count / top:.2f}h{wide:.2f}V{_HIGH}z"
        for at, count in enumerate(counts)
        if count
    )
    place = None if zero is None else _WIDE * zero
    return tag(
        "svg",
        tag("title", words),
        tag("path", d=steps),
        None if place is None else tag("line", x1=place, x2=place, y1=0, y2=_HIGH),
        class_="spread",
        viewBox=f"0 0 {_WIDE} {_HIGH}",
        role="img",
        aria_label=words,
    )


def _spread_cells(spread: "Spread | None") -> list[Cell]:
    if spread is None or spread.mean is None or spread.deviation is None:
        return [Cell("")] * (len(_SPREAD_COLUMNS) - 1) + [Cell(_odd(spread))]
    least, greatest = spread.least or 0.0, spread.greatest or 0.0
    numbers = (least, spread.mean, spread.deviation, greatest)
    zeros = spread.zeros / spread.elements
    return [
        *(Cell(number(value), value) for value in numbers),
        Cell(f"{100 * zeros:.3g} %", zeros),
        Cell([histogram(spread), _odd(spread)]),
    ]


def _odd(spread: "Spread | None") -> str | None:
    if spread is None or not (spread.nans or spread.infinities):
        return None
    return f"{spread.nans:,} NaN, {spread.infinities:,} infinite"


def _largest(rows: Sequence[RowT], sizes: Sequence[int]) -> tuple[list[RowT], int]:
    """The largest rows in their order, and how many others there are."""
    if len(rows) <= SHOWN:
        return list(rows), 0
    largest = sorted(range(len(rows)), key=lambda at: -sizes[at])[:SHOWN]
    return [rows[at] for at in sorted(largest)], len(rows) - SHOWN


def _left_out(rest: int) -> str | None:
    return f"and {rest:,} smaller ones, not shown" if rest else None


def _share(part: int, total: int) -> Markup:
    share = part / total if total else 0.0
    return tag(
        "svg",
        tag("rect", width=f"{100 * share:.2f}%", height="100%", rx=2),
        class_="bar",
        role="img",
        aria_label=f"{100 * share:.1f} %",
    )

"""Curves of a quantity over each other, with the best step of each marked."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mstore.report.markup import Markup, tag
from mstore.report.numbers import Scale, number, scale_of
from mstore.report.plot import colour, dot, encoded, path, plot
from mstore.report.tables import Cell, Column, Grid, table

if TYPE_CHECKING:
    from mstore.ops.curves import Curve

DRAWN = 1000
"""Points of a curve that are drawn; of a longer one the least and greatest of each stretch."""
_DASHES = {"train": "dashed", "test": "dotted"}
_MARKED = 24
"""Points up to which each is marked with a dot of its own."""


def charts(curves: Sequence["Curve"]) -> Markup:
    """One chart for each quantity, train against val and version against version."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.quantity, curve.axis), []).append(curve)
    return tag("div", [_chart(*key, group) for key, group in groups.items()], class_="charts")


def _chart(quantity: str, axis: str, curves: Sequence["Curve"]) -> Markup:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    points = [thinned(list(zip(curve.steps, curve.values, strict=True))) for curve in curves]
    x = scale_of((step for line in points for step, _ in line), may_be_log=False, margin=0.02)
    y = scale_of(value for line in points for _, value in line)
    styles = [_style(curve, at, labels) for at, curve in enumerate(curves)]
    lines = [
        path(line, x, y, class_=f"line {style}") for line, style in zip(points, styles, strict=True)
    ]
    dots = [
        mark
        for curve, line, style in zip(curves, points, styles, strict=True)
        for mark in _dots(curve, line, x, y, style)
    ]
    names = [name_of(curve, labels) for curve in curves]
    told = [
        {"name": name, "xs": [p[0] for p in line], "ys": [p[1] for p in line]}
        for name, line in zip(names, points, strict=True)
    ]
    words = f"{quantity} by {axis}" + (", logarithmic scale" if y.is_log else "")
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("b", quantity),
            tag("span", f"by {axis}", ", log scale" if y.is_log else None),
        ),
        tag(
            "div",
            plot(x, y, lines, dots, f"{words}: {', '.join(names)}"),
            class_="canvas",
            tabindex=0,
            role="group",
            aria_label=f"{words}. Arrow keys read the values.",
            data_curves=encoded({"axis": axis, "low": x.low, "high": x.high, "curves": told}),
        ),
        _legend(curves, names, styles, axis),
        class_="chart",
    )


def name_of(curve: "Curve", labels: Sequence[str]) -> str:
    """What a curve is called among others: its version where there are several, then its split."""
    metric = curve.metric if not curve.split or len(labels) == 1 else curve.split
    return f"{curve.label} {metric}" if len(labels) > 1 else metric


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about ``DRAWN`` points: of each stretch the least and the greatest, in order."""
    if len(points) <= DRAWN:
        return list(points)
    kept: list[tuple[int, float]] = [points[0]]
    stretch = math.ceil(2 * len(points) / DRAWN)
    for start in range(0, len(points), stretch):
        part = [p for p in points[start : start + stretch] if math.isfinite(p[1])]
        if part:
            ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
            kept += sorted(ends)
    return [*kept, points[-1]]


def _style(curve: "Curve", at: int, labels: Sequence[str]) -> str:
    which = labels.index(curve.label) if len(labels) > 1 else at
    return f"{colour(which)} {_DASHES.get(curve.split, 'solid')}"


def _dots(
    curve: "Curve", line: Sequence[tuple[int, float]], x: Scale, y: Scale, style: str
) -> Iterable[Markup]:
    finite = [point for point in line if math.isfinite(point[1])]
    if len(finite) <= _MARKED:
        for step, value in finite:
            title = f"{curve.metric} {number(value)} at {curve.axis} {step:,}"
            yield dot(step, value, x, y, title, class_=f"point {style}")
    if curve.best is not None:
        step, value = curve.steps[curve.best], curve.values[curve.best]
        title = f"best {curve.metric} {number(value)} at {curve.axis} {step:,}"
        yield dot(step, value, x, y, title, class_=f"best-point {style}")


def _legend(
    curves: Sequence["Curve"], names: Sequence[str], styles: Sequence[str], axis: str
) -> Markup:
    columns = [
        Column("curve"),
        Column("best", is_number=True),
        Column(f"at {axis}", is_number=True),
        Column("last", is_number=True),
        Column("points", is_number=True),
    ]
    rows = [
        [
            Cell([_swatch(style), name]),
            Cell("" if curve.best is None else number(curve.values[curve.best])),
            Cell("" if curve.best is None else f"{curve.steps[curve.best]:,}"),
            Cell(number(curve.values[-1]) if curve.values else ""),
            Cell(f"{len(curve.values):,}"),
        ]
        for curve, name, style in zip(curves, names, styles, strict=True)
    ]
    return tag(
        "div",
        table(Grid("best and last values", columns, rows)),
        tag("p", class_="readout", aria_live="polite"),
        class_="legend",
    )


def _swatch(style: str) -> Markup:
    line = tag("line", x1=1, y1=6, x2=25, y2=6, class_=f"line {style}")
    return tag("svg", line, class_="swatch", width=26, height=12, aria_hidden="true")

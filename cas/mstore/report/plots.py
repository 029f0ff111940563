"""Versions as points: two of their numbers against each other, and many side by side."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mstore.report.markup import Markup, tag
from mstore.report.numbers import Scale, number, percent, scale_of
from mstore.report.plot import COLOURS, colour, dot, encoded, path, plot, stretched
from mstore.report.tables import frame

_BORDER = 0.25
"""How near to an end of the chart, as a share of its width, a name is written inwards."""

_NAMED = 16
"""Points up to which each has its name beside it."""
_AXES = 10
"""Axes of parallel coordinates; more would lie too close."""
_FAINT = 8
"""Lines up to which each has a colour of its own."""


class Points(NamedTuple):
    """Versions and their numbers: one row each, one value (or NaN) for each dimension."""

    names: Sequence[str]
    dimensions: Sequence[str]
    rows: Sequence[Sequence[float]]

    def varied(self) -> "Points":
        """The dimensions in which two versions differ."""
        kept = [at for at in range(len(self.dimensions)) if len(self.known(at)) > 1]
        rows = [[row[at] for at in kept] for row in self.rows]
        return Points(self.names, [self.dimensions[at] for at in kept], rows)

    def known(self, at: int) -> set[float]:
        """The different finite values of a dimension."""
        return {row[at] for row in self.rows if math.isfinite(row[at])}


def scatter(points: Points, across: int = 1, up: int = 0) -> Markup:
    """Any two dimensions against each other; the script changes which."""
    x = scale_of((row[across] for row in points.rows), margin=0.08)
    y = scale_of((row[up] for row in points.rows), margin=0.08)
    marks = [_point(points, at, (across, up), x, y) for at in range(len(points.rows))]
    names = points.dimensions
    return tag(
        "figure",
        tag("figcaption", tag("b", "Any two numbers against each other")),
        tag("div", _choice("Up", names, up), _choice("Across", names, across), class_="controls"),
        tag(
            "div",
            plot(
                x, y, None, tag("g", marks, class_="points"), f"{names[up]} against {names[across]}"
            ),
            class_="canvas scatter",
            tabindex=0,
            role="group",
            aria_label="Scatter plot. Arrow keys go from point to point.",
            data_points=encoded(
                {"names": points.names, "dimensions": names, "rows": points.rows, "named": _NAMED}
            ),
        ),
        tag("p", f"↑ {names[up]}   → {names[across]}", class_="axis-name"),
        tag("p", class_="readout", aria_live="polite"),
        class_="chart",
    )


def parallel(points: Points) -> Markup:
    """One axis for each dimension and one line through them for each version."""
    width = min(len(points.dimensions), _AXES)
    scales = [scale_of((row[at] for row in points.rows), margin=0.0) for at in range(width)]
    lines = [_thread(points, at, scales) for at in range(len(points.rows))]
    axes = [_axis(points.dimensions[at], scales[at], at, width) for at in range(width)]
    label = f"parallel coordinates of {', '.join(points.dimensions[:width])}"
    wide = tag(
        "svg",
        stretched(lines),
        axes,
        class_=f"plot parallel axes-{width}",
        role="img",
        aria_label=label,
    )
    keys = (
        [_key(name, at) for at, name in enumerate(points.names)]
        if len(points.rows) <= _FAINT
        else None
    )
    return tag(
        "figure",
        tag("figcaption", tag("b", "Many numbers side by side")),
        frame(wide, label),
        tag("ul", keys, class_="keys") if keys else None,
        class_="chart",
    )


def _point(points: Points, at: int, axes: tuple[int, int], x: Scale, y: Scale) -> Markup | None:
    across, up = (points.rows[at][axis] for axis in axes)
    if not (math.isfinite(across) and math.isfinite(up)):
        return None
    name = points.names[at]
    title = f"{name}: {number(across)}, {number(up)}"
    mark = dot(across, up, x, y, title, class_=f"point {colour(at % COLOURS)}")
    if len(points.rows) > _NAMED:
        return mark
    along = x.place(across)
    place = {"x": percent(along), "y": percent(1 - y.place(up)), "text_anchor": _anchor(along)}
    return tag("g", mark, tag("text", name, dy="-0.8em", **place))


def _anchor(along: float) -> str:
    """Which end of a name stands at its point, so that it does not leave the chart."""
    if along < _BORDER:
        return "start"
    return "end" if along > 1 - _BORDER else "middle"


def _choice(title: str, names: Sequence[str], chosen: int) -> Markup:
    options = [
        tag("option", name, value=at, selected=at == chosen) for at, name in enumerate(names)
    ]
    return tag("label", title, " ", tag("select", options, data_axis=title.casefold()))


def _thread(points: Points, row: int, scales: Sequence[Scale]) -> Markup:
    places = [(float(at), _share(points.rows[row][at], scale)) for at, scale in enumerate(scales)]
    across, up = Scale(0, max(len(scales) - 1, 1), is_log=False), Scale(0, 1, is_log=False)
    few = len(points.rows) <= _FAINT
    style = f"line {colour(row)}" if few else "line faint"
    line = path(places, across, up, class_=style)
    return tag("g", tag("title", points.names[row]), line)


def _share(value: float, scale: Scale) -> float:
    return scale.place(value) if math.isfinite(value) else math.nan


def _axis(name: str, scale: Scale, at: int, count: int) -> Markup:
    place = percent(at / max(count - 1, 1))
    return tag(
        "g",
        tag("line", x1=place, x2=place, y1="0", y2="100%"),
        tag("text", name, x=place, y=-26, text_anchor="middle", class_="axis-title"),
        tag("text", number(scale.high), x=place, y=-9, text_anchor="middle"),
        tag("text", number(scale.low), x=place, y="100%", dy="1.4em", text_anchor="middle"),
        class_="axis",
    )


def _key(name: str, at: int) -> Markup:
    line = tag("line", x1=1, y1=6, x2=25, y2=6, class_=f"line {colour(at)}")
    return tag(
        "li", tag("svg", line, class_="swatch", width=26, height=12, aria_hidden="true"), name
    )

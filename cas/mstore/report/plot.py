"""Axes that fit any width: marks are placed by shares of an area, so that text keeps its size.

The style gives a plot a padding, in which labels stand. What is drawn with ``path`` stands in a
square of side 1000 that is stretched over the rest; dots and texts are placed by percent and keep
their form.
"""

import json
import math
from collections.abc import Iterable, Sequence

from mstore.report.markup import Child, Markup, tag
from mstore.report.numbers import Scale, number, percent

COLOURS = 8
"""Colours that are told apart; then they begin again with another dash."""
_SIDE = 1000


def plot(x: Scale, y: Scale, drawn: Child, dots: Child, label: str) -> Markup:
    """A plot with a grid; ``drawn`` is stretched over it, ``dots`` are not."""
    return tag(
        "svg",
        tag("rect", class_="back", width="100%", height="100%"),
        tag("g", _across(y), _upright(x), class_="grid"),
        stretched(drawn),
        dots,
        tag("line", class_="cross", y1="0", y2="100%", visibility="hidden"),
        class_="plot",
        role="img",
        aria_label=label,
    )


def stretched(drawn: Child) -> Markup:
    """What was drawn with ``path``, over the whole area."""
    return tag(
        "svg",
        drawn,
        viewBox=f"0 0 {_SIDE} {_SIDE}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        overflow="visible",
    )


def path(points: Sequence[tuple[float, float]], x: Scale, y: Scale, **attributes: str) -> Markup:
    """A line through points; it is broken where one is not finite, and one alone is a dot."""
    steps: list[str] = []
    is_down = False
    for at, value in points:
        if not math.isfinite(value):
            is_down = False
            continue
        place = f"{_SIDE * x.place(at):.1f} {_SIDE * (1 - y.place(value)):.1f}"
        steps.append(f"L{place}" if is_down else f"M{place}h0")
        is_down = True
    return tag("path", d="".join(steps), vector_effect="non-scaling-stroke", **attributes)


def dot(at: float, value: float, x: Scale, y: Scale, title: str, **attributes: str) -> Markup:
    """A dot that says what it is to whoever points at it."""
    place = {"cx": percent(x.place(at)), "cy": percent(1 - y.place(value))}
    return tag("circle", tag("title", title), r="4.5", **place, **attributes)


def colour(at: int) -> str:
    """The class of the n-th colour."""
    return f"c{at % COLOURS}" + (" again" if at >= COLOURS else "")


def encoded(value: object) -> str:
    """A value for the script, to be put in an attribute; NaN and infinities become null."""
    return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _across(y: Scale) -> Iterable[Markup]:
    for value in y.ticks():
        place = percent(1 - y.place(value))
        yield tag("line", x1="0", x2="100%", y1=place, y2=place)
        yield tag("text", number(value), x=-8, y=place, dy="0.32em", text_anchor="end")


def _upright(x: Scale) -> Iterable[Markup]:
    for value in x.ticks():
        place = percent(x.place(value))
        yield tag("text", number(value), x=place, y="100%", dy="1.5em", text_anchor="middle")

"""``mstore curves``."""

import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.drawing import Line, draw, number
from mstore_cli.html import html_options, write_page
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.curves import Curve

_HEIGHT = 12
_WIDEST = 120


@verb(
    "curves", "mstore curves lenet", "mstore curves lenet@3 lenet@4 --metric loss --html out.html"
)
@click.argument("revisions", metavar="REV|NAME...", nargs=-1, required=True, type=Revision())
@click.option(
    "--metric", "metrics", metavar="NAME", multiple=True, help="Only this; 'loss' is train and val."
)
@html_options
def command(
    run: Run,
    *,
    revisions: tuple[str, ...],
    metrics: tuple[str, ...],
    html: Path | None,
    force: bool,
) -> None:
    """Draw how metrics went: over the steps of a training, or over the versions of a model.

    Of a version, the series of its training logs; of a model also each metric over its versions.
    Several are drawn over each other; each has its letter where it begins, and the
    capital at its best.
    """
    found = run.store().curves(*revisions, metrics=metrics)
    page = write_page(html, lambda: _page(" · ".join(revisions), found), force=force)
    run.answer(found, lambda found: _text(found, page), curves=found, html=page)


def _page(title: str, found: "Sequence[Curve]") -> str:
    from mstore.report.pages import curves_page  # noqa: PLC0415 (only when a page is wanted)

    return curves_page(title, found)


def _text(found: "Sequence[Curve]", page: str | None) -> Iterator[render.Part]:
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in found:
        groups.setdefault((curve.quantity, curve.axis), []).append(curve)
    width = min(render.width(), _WIDEST)
    for at, ((quantity, axis), curves) in enumerate(groups.items()):
        if at:
            yield ""
        yield f"{quantity} by {axis}"
        lines = [
            _line(curve, letter)
            for curve, letter in zip(curves, _letters(len(curves)), strict=True)
        ]
        braille = render.can_say("\u28ff")
        yield render.Drawing(list(draw(lines, width, _HEIGHT, braille=braille)))
        yield from _legend(curves)
    if page:
        yield f"written to {page}"


def _legend(curves: "Sequence[Curve]") -> Iterator[render.Part]:
    rows = [
        (
            letter,
            curve.label,
            curve.metric,
            *_best(curve),
            number(curve.values[-1]) if curve.values else "",
            str(len(curve.values)),
        )
        for curve, letter in zip(curves, _letters(len(curves)), strict=True)
    ]
    headers = ("", "CURVE", "METRIC", "BEST", "AT", "LAST", "POINTS")
    spare = ("POINTS", "LAST")
    yield render.Table(headers, rows, frozenset({"BEST", "AT", "LAST", "POINTS"}), spare)


def _best(curve: "Curve") -> tuple[str, str]:
    if curve.best is None:
        return "", ""
    return number(curve.values[curve.best]), str(curve.steps[curve.best])


def _line(curve: "Curve", letter: str) -> Line:
    points = list(zip(map(float, curve.steps), curve.values, strict=True))
    return Line(letter, points, None if curve.best is None else points[curve.best])


def _letters(count: int) -> str:
    return (string.ascii_lowercase * (count // 26 + 1))[:count]

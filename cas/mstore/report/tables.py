"""Tables with headers that a screen reader can follow, sorted by the script where it runs."""

from collections.abc import Sequence
from typing import NamedTuple

from mstore.report.markup import Child, Markup, tag


class Cell(NamedTuple):
    """What stands in a cell, the value to sort it by, and whether it is marked as best."""

    shown: Child
    value: float | str | None = None
    is_best: bool = False


class Column(NamedTuple):
    """A header, and whether numbers stand below it, or texts whose lines are not broken."""

    title: str
    is_number: bool = False
    is_whole: bool = False


class Grid(NamedTuple):
    """A table: the first cell of each row is the row's header; ``styles`` are of the rows."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    is_sortable: bool = False
    is_compact: bool = False
    foot: Sequence[Cell] = ()
    styles: Sequence[str | None] = ()


BEST = "★"
_WIDE = frozenset({"version", "model hash"})
"""Facts that take much room."""


def table(grid: Grid) -> Markup:
    """A table in a frame of its own, which scrolls where the page is narrow."""
    heads = [_head(column) for column in grid.columns]
    styles = grid.styles or [None] * len(grid.rows)
    rows = [_row(grid.columns, row, style) for row, style in zip(grid.rows, styles, strict=True)]
    foot = tag("tfoot", _row(grid.columns, grid.foot)) if grid.foot else None
    inner = tag(
        "table",
        tag("caption", grid.caption),
        tag("thead", tag("tr", heads)),
        tag("tbody", rows),
        foot,
        class_="sortable" if grid.is_sortable else None,
    )
    return frame(inner, grid.caption, is_compact=grid.is_compact)


def frame(content: Child, label: str, *, is_compact: bool = False) -> Markup:
    """What scrolls sideways by itself; the keyboard reaches it."""
    style = "scroll compact" if is_compact else "scroll"
    return tag("div", content, class_=style, role="region", aria_label=label, tabindex=0)


def pairs(caption: str, rows: Sequence[tuple[str, Child]]) -> Markup:
    """Names and values below each other."""
    lines = [
        tag("div", tag("dt", name), tag("dd", value), class_="wide" if name in _WIDE else None)
        for name, value in rows
    ]
    return tag("dl", lines, class_="facts", aria_label=caption)


def _head(column: Column) -> Markup:
    return tag("th", column.title, scope="col", class_="number" if column.is_number else None)


def _row(columns: Sequence[Column], row: Sequence[Cell], style: str | None = None) -> Markup:
    cells = [_cell(column, cell) for column, cell in zip(columns, row, strict=True)]
    whole = "whole" if columns[0].is_whole else None
    first = tag("th", row[0].shown, scope="row", class_=whole, data_value=row[0].value)
    return tag("tr", first, cells[1:], class_=style)


def _cell(column: Column, cell: Cell) -> Markup:
    words = {"number": column.is_number, "whole": column.is_whole, "best": cell.is_best}
    return tag(
        "td",
        _STAR if cell.is_best else None,
        cell.shown,
        class_=" ".join(word for word, wanted in words.items() if wanted) or None,
        data_value=cell.value,
    )


_STAR = tag("span", BEST, " ", class_="star", title="best", role="img", aria_label="best")

"""A history drawn with characters, newest first, one column for each line of descent."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """One version: its id, the ids of those parents that are drawn too, and its line of text."""

    id: bytes
    parents: tuple[bytes, ...]
    label: str


Columns = list[bytes | None]
"""The id that each column waits for; None where a column is free."""


def draw(nodes: Sequence[Node]) -> Iterator[str]:
    """Give the lines; ``nodes`` come newest first, no parent before its child."""
    columns: Columns = []
    for node in nodes:
        column = columns.index(node.id) if node.id in columns else _free(columns)
        columns[column] = node.id
        marks = ["*" if at == column else _mark(waits) for at, waits in enumerate(columns)]
        yield f"{' '.join(marks)} {node.label}"
        yield from _descend(columns, column, node.parents)
        while columns and columns[-1] is None:
            columns.pop()


def _descend(columns: Columns, column: int, parents: tuple[bytes, ...]) -> Iterator[str]:
    """Let the column wait for the first parent, and lead further ones to columns of their own."""
    first, *others = parents or (None,)
    known = columns.index(first) if first is not None and first in columns else None
    columns[column] = first if known is None or known > column else None
    for parent in others:
        target = columns.index(parent) if parent in columns else _free(columns)
        yield _link(columns, column, target)
        columns[target] = parent
    if known is not None:
        last, kept = max(known, column), min(known, column)
        columns[last] = None
        yield _link(columns, last, kept)


def _free(columns: Columns) -> int:
    if None not in columns:
        columns.append(None)
    return columns.index(None)


def _link(columns: Columns, start: int, stop: int) -> str:
    """Draw a line from one column to another; it passes behind those between."""
    cells = list(" ".join(_mark(waits) for waits in columns))
    step = 1 if stop > start else -1
    cells[2 * start + step] = "\\" if step > 0 else "/"
    for at in range(2 * start + 2 * step, 2 * stop, step):
        if cells[at] == " ":
            cells[at] = "_"
    return "".join(cells).rstrip()


def _mark(waits: bytes | None) -> str:
    return " " if waits is None else "|"

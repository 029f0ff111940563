"""Results as text for people or as JSON for programs, and nothing else.

Rich is imported only when stdout is a terminal; in a pipe the same table is plain text.
"""

import enum
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, NamedTuple

import click

from mstore_cli.failures import plain

SHORT = 12
"""Hex digits of a hash shown to people; a revision needs at least 8."""

TIME_FIELDS = frozenset({"time", "created", "modified"})
"""Fields that hold UTC microseconds since 1970; JSON shows them as ISO 8601 with six decimals."""


PLAIN_WIDTH = 80
"""Characters of a line where there is no terminal to ask."""

BEST = "*"
"""What stands before the best value of a row, also where there is no colour."""


class Strong(str):
    """The text of a cell that stands out where there is colour."""

    __slots__ = ()


class Table(NamedTuple):
    """Rows of cells under headers; columns named in ``right`` hold numbers.

    A terminal is shown no empty column. On one that is too narrow those in ``spare`` are left
    out, the first one first.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()
    spare: Sequence[str] = ()

    def lines(self) -> Iterator[str]:
        """Give the table as aligned plain text."""
        rows = [[*map(plain, row)] for row in (self.headers, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        sides = [">" if header in self.right else "<" for header in self.headers]
        line = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
        for row in rows:
            yield line.format(*row).rstrip()


class Drawing(NamedTuple):
    """Lines in pieces of text, each with the name of a colour or ""."""

    lines: Sequence[Sequence[tuple[str, str]]]


Part = str | Table | Drawing
Scalar = None | bool | int | float | str


def write(parts: Iterable[Part]) -> None:
    """Write lines and tables to stdout."""
    on_terminal = sys.stdout.isatty()
    for part in parts:
        if isinstance(part, str):
            click.echo("\n".join(plain(line) for line in part.split("\n")))
        elif isinstance(part, Drawing):
            _write_drawing(part, on_terminal=on_terminal)
        elif on_terminal:
            _write_rich(part)
        else:
            click.echo("\n".join(part.lines()))


def width() -> int:
    """Characters of a line: ``$COLUMNS``, else the terminal's, else 80."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or PLAIN_WIDTH
    except (OSError, ValueError):
        return PLAIN_WIDTH


def can_say(text: str) -> bool:
    """Whether stdout can encode a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write_json(value: Mapping[str, Any]) -> None:
    """Write one object, on one line."""
    click.echo(json.dumps(value, allow_nan=False))


def compact(value: object) -> str:
    """Write a value as JSON for people."""
    return json.dumps(jsonable(value), ensure_ascii=False)


def jsonable(value: object) -> Any:  # noqa: ANN401 (JSON is any of six types)
    """Turn a result into what JSON can say (docs/json.md).

    Ids and other bytes become hex, times ISO 8601 in UTC, numbers that JSON lacks their names.
    """
    if value is None or isinstance(value, bool | int | float | str | enum.Enum):
        return _scalar(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    names = field_names(value)
    if names is not None:
        return {name: _field(name, getattr(value, name)) for name in names}
    if not isinstance(value, Iterable):
        message = f"'{type(value).__name__}' has no form in JSON"
        raise TypeError(message)
    return [jsonable(item) for item in value]


def field_names(value: object) -> Sequence[str] | None:
    """Give the fields of a struct or a NamedTuple; None for any other value."""
    named: Sequence[str] | None = getattr(value, "_fields", None)
    return named if named is not None else getattr(value, "__struct_fields__", None)


def iso_time(microseconds: int) -> str:
    """Write a time as ISO 8601 in UTC with six decimals: nothing is lost, text sorts by time."""
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{microseconds % 1_000_000:06d}Z"


def local_time(microseconds: int) -> str:
    """Write a time for people: in their zone, to the minute."""
    moment = datetime.fromtimestamp(microseconds / 1_000_000, UTC).astimezone()
    return moment.replace(tzinfo=None).isoformat(" ", "minutes")


def short(oid: bytes) -> str:
    """Give the first digits of a hash."""
    return oid.hex()[:SHORT]


def first_line(text: str) -> str:
    """Give the first line of a message."""
    return text.partition("\n")[0]


def size(count: int) -> str:
    """Write bytes as pages do: ``0 B``, ``12.3 MiB``."""
    from mstore.report.numbers import size as written  # noqa: PLC0415 (help needs no library)

    return written(count)


def brief(count: int) -> str:
    """Write a count as pages do, in three digits: ``812``, ``61.7 k``, ``1.24 M``."""
    from mstore.report.numbers import brief as written  # noqa: PLC0415 (as above)

    return written(count)


def count(number: int, noun: str) -> str:
    """Write ``1 tensor``, ``2 tensors``."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def _field(name: str, value: object) -> Any:  # noqa: ANN401 (JSON is any of six types)
    if name in TIME_FIELDS and isinstance(value, int):
        return iso_time(value)
    return jsonable(value)


def _scalar(value: Scalar | enum.Enum) -> Scalar:
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _write_drawing(drawing: Drawing, *, on_terminal: bool) -> None:
    if not on_terminal:
        for line in drawing.lines:
            click.echo("".join(plain(text) for text, _ in line).rstrip())
        return
    from rich.console import Console  # noqa: PLC0415 (only on a terminal)
    from rich.text import Text  # noqa: PLC0415 (as above)

    console = Console(file=sys.stdout)
    for line in drawing.lines:
        console.print(Text.assemble(*((plain(text), style) for text, style in line)), no_wrap=True)


def _write_rich(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415 (only on a terminal)
    from rich.table import Table as RichTable  # noqa: PLC0415 (as above)
    from rich.text import Text  # noqa: PLC0415 (as above)

    console = Console(file=sys.stdout)
    widths = _widths(table)
    left_out = _left_out(table, widths, console.width)
    shown = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    kept = [at for at, name in enumerate(table.headers) if name in widths and name not in left_out]
    for header in (table.headers[at] for at in kept):
        right = header in table.right
        shown.add_column(Text(plain(header)), justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        cells = (row[at] for at in kept)
        shown.add_row(*(Text(plain(cell), _style(cell)) for cell in cells))
    console.print(shown)
    if left_out:
        names = ", ".join(header for header in table.headers if header in left_out)
        console.print(Text(f"(too narrow for {names})", "dim"))


def _widths(table: Table) -> dict[str, int]:
    """What each column that says something takes, with the space after it."""
    columns = zip(table.headers, *table.rows, strict=True)
    return {
        column[0]: max(len(plain(cell)) for cell in column) + 2
        for column in columns
        if any(column[1:]) or not table.rows
    }


def _left_out(table: Table, widths: dict[str, int], width: int) -> set[str]:
    """The columns that do not fit."""
    needed = dict(widths)
    left_out: set[str] = set()
    for header in filter(widths.__contains__, table.spare):
        if sum(needed.values()) - 2 <= width:
            break
        needed.pop(header)
        left_out.add(header)
    return left_out


def _style(cell: str) -> str:
    return "bold green" if isinstance(cell, Strong) else ""

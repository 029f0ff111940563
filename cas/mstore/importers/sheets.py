"""Sheets of results that people keep beside their checkpoints, as CSV: a row for each of them."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from mstore.errors import InvalidInputError
from mstore.importers.survey import Found
from mstore.objects import Value
from mstore.units import parse_quantity

MAX_SHEET: Final = 16 << 20
"""Bytes of a sheet that is read."""
MAX_ROWS: Final = 100_000
_SETTINGS: Final = frozenset(
    {"batch", "batch_size", "batchsize", "epoch", "epochs", "learning_rate", "lr", "momentum",
     "seed", "step", "steps", "weight_decay", "wd"}
)  # fmt: skip
"""Columns of numbers that are no results."""
_REMARKS: Final = frozenset({"comment", "comments", "note", "notes", "remark", "remarks"})


class Said(NamedTuple):
    """What a row says of a checkpoint; metrics as they were written, with their units."""

    metrics: dict[str, float | str]
    params: dict[str, Value]
    message: str


class Sheet(NamedTuple):
    """Rows matched to checkpoints by path, and what was not clear, with the reason."""

    rows: dict[PurePosixPath, Said]
    unsure: list[str]


def read_sheet(path: Path, checkpoints: Iterable[Found]) -> Sheet | None:
    """Match the rows of a sheet; None where no column names checkpoints.

    InvalidInputError for a file that is too large or no CSV.
    """
    rows = _read(path)
    known = _names(checkpoints)
    column = _naming_column(rows, known)
    if column is None:
        return None
    sheet = Sheet({}, [])
    for number, row in enumerate(rows, 2):
        _match(sheet, number, row, column, known)
    return sheet


def _read(path: Path) -> list[dict[str, str]]:
    with path.open("rb") as file:
        content = file.read(MAX_SHEET + 1)
    if len(content) > MAX_SHEET:
        raise InvalidInputError(f"sheet '{path}' has more than {MAX_SHEET} bytes")
    text = content.decode("utf-8-sig", errors="replace")
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    try:
        found = list(csv.DictReader(io.StringIO(text), delimiter=separator, restkey=""))
    except csv.Error as error:
        raise InvalidInputError(f"'{path}' is not CSV: {error}") from error
    if len(found) > MAX_ROWS:
        raise InvalidInputError(f"sheet '{path}' has more than {MAX_ROWS} rows")
    return [
        {name.strip(): value.strip() for name, value in row.items() if name and value}
        for row in found
    ]


def _names(checkpoints: Iterable[Found]) -> dict[str, list[PurePosixPath]]:
    """Everything that a cell may call a checkpoint."""
    known: dict[str, list[PurePosixPath]] = {}
    for found in checkpoints:
        for name in {str(found.path), found.path.name, found.path.stem}:
            known.setdefault(name.casefold(), []).append(found.path)
    return known


def _called(cell: str) -> str:
    return cell.replace("\\", "/").removeprefix("./").rstrip("/").casefold()


def _naming_column(
    rows: list[dict[str, str]], known: Mapping[str, list[PurePosixPath]]
) -> str | None:
    counts: dict[str, int] = {}
    for row in rows:
        for name, cell in row.items():
            counts[name] = counts.get(name, 0) + (_called(cell) in known)
    best = max(counts, key=counts.__getitem__, default=None)
    return best if best is not None and counts[best] else None


def _match(
    sheet: Sheet,
    number: int,
    row: dict[str, str],
    column: str,
    known: Mapping[str, list[PurePosixPath]],
) -> None:
    cell = row.get(column, "")
    found = known.get(_called(cell), [])
    if len(found) != 1:
        which = "is no checkpoint here" if not found else f"may be any of {len(found)} checkpoints"
        sheet.unsure.append(f"row {number}: '{cell}' {which}")
    elif found[0] in sheet.rows:
        sheet.unsure.append(f"row {number}: '{cell}' has a row already, which was taken")
    else:
        sheet.rows[found[0]] = _said({n: value for n, value in row.items() if n != column})


def _said(row: dict[str, str]) -> Said:
    metrics: dict[str, float | str] = {}
    params: dict[str, Value] = {}
    remarks: list[str] = []
    for name, cell in row.items():
        value = _number(cell)
        if name.lower() in _REMARKS:
            remarks.append(cell)
        elif value is None:
            params[name] = cell
        elif name.lower() in _SETTINGS and not isinstance(value, str):
            params[name] = value
        else:
            metrics[name] = value
    return Said(metrics, params, "\n".join(remarks))


def _number(cell: str) -> float | str | None:
    """A number, or the cell where it is a number with a unit."""
    try:
        return int(cell) if cell.isdecimal() else float(cell)
    except ValueError:
        pass
    try:
        parse_quantity(cell)
    except InvalidInputError:
        return None
    return cell

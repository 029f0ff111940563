"""Logs of one row a line: CSV with a header (Lightning, Keras), and JSON lines.

The step is the first of the columns ``step``, ``global_step``, ``iteration``, ``iter`` and
``epoch`` that there is, else the number of the row. Seconds since 1970 give the times.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from mstore.capture.logs.gathered import Gathered, whole_lines

STEPS = ("step", "_step", "global_step", "iteration", "iter", "epoch")
TIMES = ("wall_time", "_timestamp", "timestamp", "time")
_NAMES = ("name", "metric", "tag", "key")
_MAX_DEPTH = 4
_MAX_STEP = 1 << 63
_HEADER_AND_ROW = 2


def looks_like_csv(head: bytes) -> bool:
    """Whether the first line names columns, and the second has as many cells, one a number."""
    lines = head.decode("utf-8", "replace").splitlines()[:_HEADER_AND_ROW]
    if len(lines) < _HEADER_AND_ROW or "\0" in lines[0]:
        return False
    try:
        names, cells = csv.reader(lines, strict=True)
    except (csv.Error, ValueError):
        return False
    has_names = all(name.strip() and _number(name) is None for name in names)
    return (
        has_names and len(names) == len(cells) and any(_number(cell) is not None for cell in cells)
    )


def read_csv(file: BinaryIO, gathered: Gathered) -> None:
    """Gather every cell that is a number; empty ones are no values."""
    names: list[str] = []
    row = 0
    for number, line, is_whole in whole_lines(file, gathered):
        if not is_whole:
            # The last number may lack digits, and would be another one.
            gathered.note(f"it is cut off in line {number}")
            return
        try:
            cells = next(csv.reader([line], strict=True), [])
        except csv.Error:
            gathered.note(f"line {number} is no row and left out")
            continue
        if not names:
            names = [name.strip() for name in cells]
        elif cells and len(cells) != len(names):
            gathered.note(
                f"line {number} has {len(cells)} cells, not {len(names)}, and is left out"
            )
        elif cells:
            numbers = zip(names, map(_number, cells), strict=True)
            add_row(gathered, {name: n for name, n in numbers if n is not None}, row)
            row += 1


def read_json_lines(file: BinaryIO, gathered: Gathered) -> None:
    """Gather every number of every object; those inside another are called ``outer/inner``."""
    row = 0
    for number, line, is_whole in whole_lines(file, gathered):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            cut = f"it is cut off in line {number}"
            gathered.note(f"line {number} is no JSON and left out" if is_whole else cut)
            continue
        if isinstance(value, dict):
            add_row(gathered, json_numbers(value), row)
            row += 1


def json_numbers(value: Mapping[str, object]) -> dict[str, float]:
    """Every number of a JSON object; one with a name and a value is that value of that name."""
    named = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    if named is not None and isinstance(value.get("value"), int | float):
        kept = {key: value[key] for key in (*STEPS, *TIMES) if key in value}
        return dict(_flat({**kept, str(named): value["value"]}, "", 1))
    return dict(_flat(value, "", 1))


def _flat(value: Mapping[str, object], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
    for key, item in value.items():
        if isinstance(item, dict) and depth < _MAX_DEPTH:
            yield from _flat(item, f"{prefix}{key}/", depth + 1)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            try:
                yield f"{prefix}{key}", float(item)
            except OverflowError:
                continue


def add_row(gathered: Gathered, numbers: Mapping[str, float], row: int) -> None:
    """Gather what was written down at once; ``row`` is its number if no column says the step."""
    by = next((name for name in STEPS if _is_step(numbers.get(name))), None)
    step = row if by is None else int(numbers[by])
    time = next((numbers[name] for name in TIMES if name in numbers), None)
    # An epoch is worth keeping over the steps, and may be a fraction.
    beside = {*STEPS, *TIMES} - ({"epoch"} if by != "epoch" else set())
    for name, value in numbers.items():
        if name not in beside:
            gathered.add(name, step, value, time)


def _is_step(number: float | None) -> bool:
    return number is not None and -_MAX_STEP <= number < _MAX_STEP and number == int(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

"""From a comparison in a search to a test of one value; pure.

Texts compare without regard to case; a task's words may be joined by dashes or spaces. A date is
the time from its first to its last moment in UTC: ``>`` is after it, ``>=`` from its beginning.
NaN is a number that compares as IEEE 754 has it: it equals nothing and is in no range.
"""

import operator
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from mstore.catalog.expression import Among, Between, Comparator, Compare, Like, Value, Words
from mstore.catalog.fields import Asked
from mstore.catalog.reports import Answer
from mstore.catalog.syntax import QueryError
from mstore.errors import InvalidInputError
from mstore.units import format_quantity, parse_quantity

Test = Callable[[Answer], bool]
Comparison = Compare | Between | Among | Like | Words

_DATE: Final = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?Z?)?)?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECEMBER: Final = 12
_ORDERS: Final[dict[Comparator, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Moment(NamedTuple):
    """UTC microseconds since 1970, half open."""

    start: int
    stop: int


def make_test(atom: Comparison, asked: Asked, text: str) -> Test:
    """The test that one value has to pass. ``!=`` is left to the caller, as the opposite of ``=``.

    QueryError for a value that is not of the field's kind or unit.
    """
    match atom:
        case Compare(_, comparator, value):
            return _comparing(comparator, value, asked, text)
        case Between(_, low, high):
            above = _comparing(">=", low, asked, text)
            below = _comparing("<=", high, asked, text)
            return lambda found: above(found) and below(found)
        case Among(_, values):
            tests = [_comparing("=", value, asked, text) for value in values]
            return lambda found: any(test(found) for test in tests)
        case Like(_, pattern):
            return _liking(pattern.text)
        case Words(_, words):
            wanted = words.text.casefold().split()
            return lambda found: isinstance(found, str) and _has_all(found, wanted)


def numeric_condition(
    atom: Comparison, asked: Asked, text: str
) -> tuple[str, tuple[float, ...]] | None:
    """The SQL condition on ``value`` that a comparison of numbers is, and the values to bind.

    None for other comparisons. A NaN is NULL on either side, for which no condition is true.
    """
    if asked.kind != "number" or not isinstance(atom, Compare | Between | Among):
        return None
    match atom:
        case Compare(_, comparator, value):
            return f"value {comparator} ?", (read_number(value, asked, text),)
        case Between(_, low, high):
            ends = (read_number(low, asked, text), read_number(high, asked, text))
            return "value BETWEEN ? AND ?", ends
        case Among(_, values):
            marks = ", ".join("?" * len(values))
            return f"value IN ({marks})", tuple(read_number(one, asked, text) for one in values)


def bounds(atom: Compare | Between | Among, asked: Asked, text: str) -> tuple[float, float]:
    """Between which two numbers a value has to lie, ends included, so that the test can pass."""
    infinite = float("inf")
    match atom:
        case Compare(_, "=", value):
            number = read_number(value, asked, text)
            return number, number
        case Compare(_, "<" | "<=", value):
            return -infinite, read_number(value, asked, text)
        case Compare(_, _, value):
            return read_number(value, asked, text), infinite
        case Between(_, low, high):
            return read_number(low, asked, text), read_number(high, asked, text)
        case Among(_, values):
            numbers = [read_number(value, asked, text) for value in values]
            return min(numbers), max(numbers)


def read_number(value: Value, asked: Asked, text: str) -> float:
    """A number in the field's unit; QueryError when it is none, or is in another unit."""
    quantity = value.quantity
    if quantity is None:
        try:
            quantity = parse_quantity(value.text)
        except InvalidInputError as error:
            message = f"'{asked.label}' is a number: {error}"
            raise QueryError(message, text, value.span, error.hint) from None
    number, kind = quantity
    if kind and asked.unit and kind != asked.unit:
        message = f"'{asked.label}' is in {asked.unit}, and '{value.text}' in {kind}"
        hint = f"as in: {asked.label} < {format_quantity(1, asked.unit)}"
        raise QueryError(message, text, value.span, hint)
    return number


def read_moment(value: Value, text: str) -> Moment:
    """The time that a date stands for: a year, month, day, minute or second; QueryError."""
    match = _DATE.fullmatch(value.text)
    if match is not None:
        # No such day, or none that a clock of microseconds reaches.
        with suppress(ValueError, OverflowError):
            return _moment({name: int(found) for name, found in match.groupdict().items() if found})
    hint = "write 2026, 2026-11, 2026-11-01 or 2026-11-01T12:30 (UTC)"
    raise QueryError(f"'{value.text}' is not a date", text, value.span, hint)


def _moment(parts: dict[str, int]) -> Moment:
    start = datetime(**{"month": 1, "day": 1, **parts}, tzinfo=UTC)
    if "second" in parts:
        stop = start + timedelta(seconds=1)
    elif "minute" in parts:
        stop = start + timedelta(minutes=1)
    elif "day" in parts:
        stop = start + timedelta(days=1)
    elif "month" in parts:
        year, month = start.year + start.month // _DECEMBER, start.month % _DECEMBER + 1
        stop = start.replace(year=year, month=month)
    else:
        stop = start.replace(year=start.year + 1)
    return Moment(*((when - _EPOCH) // timedelta(microseconds=1) for when in (start, stop)))


def _comparing(comparator: Comparator, value: Value, asked: Asked, text: str) -> Test:
    if asked.kind == "time":
        return _comparing_times(comparator, read_moment(value, text))
    if asked.kind == "number":
        return _comparing_numbers(comparator, read_number(value, asked, text))
    if asked.kind == "any" and value.quantity is not None:
        return _comparing_numbers(comparator, value.quantity.value)
    return _comparing_texts(comparator, value.text, asked.label)


def _comparing_times(comparator: Comparator, moment: Moment) -> Test:
    start, stop = moment
    tests: dict[Comparator, Callable[[float], bool]] = {
        "=": lambda when: start <= when < stop,
        "<": lambda when: when < start,
        "<=": lambda when: when < stop,
        ">": lambda when: when >= stop,
        ">=": lambda when: when >= start,
    }
    test = tests[comparator]
    return lambda found: isinstance(found, int | float) and test(found)


def _comparing_numbers(comparator: Comparator, number: float) -> Test:
    test = _ORDERS[comparator]
    return lambda found: isinstance(found, int | float) and test(found, number)


def _comparing_texts(comparator: Comparator, wanted: str, label: str) -> Test:
    if label == "id":
        return lambda found: isinstance(found, str) and found.startswith(wanted.casefold())
    fold = _fold_task if label == "task" else str.casefold
    folded = fold(wanted)
    test = _ORDERS[comparator]
    return lambda found: isinstance(found, str) and test(fold(found), folded)


def _fold_task(text: str) -> str:
    return re.sub(r"[\s_-]+", "-", text.casefold())


def _liking(pattern: str) -> Test:
    parts = (_WILD.get(char) or re.escape(char) for char in pattern)
    # A run of "%" matches what one does, and is tried only once.
    compiled = re.compile(re.sub(r"(?:\.\*)+", ".*", "".join(parts)), re.DOTALL | re.IGNORECASE)
    return lambda found: isinstance(found, str) and compiled.fullmatch(found) is not None


_WILD: Final = {"%": ".*", "_": "."}


def _has_all(found: str, wanted: list[str]) -> bool:
    folded = found.casefold()
    return all(word in folded for word in wanted)

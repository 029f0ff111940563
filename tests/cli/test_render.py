"""Values as JSON and as text."""

import enum
import json
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore_cli import render
from mstore_cli.failures import plain
from mstore_cli.parameters import parse_scalar


class Colour(enum.IntEnum):
    """An enumeration."""

    RED = 1


class Pair(NamedTuple):
    """A named tuple."""

    id: bytes
    time: int


class Outer(msgspec.Struct, frozen=True):
    """A struct with others in it."""

    pairs: tuple[Pair, ...]
    path: Path


class Struct(msgspec.Struct, frozen=True):
    """A struct."""

    colour: Colour
    created: int


def test_results_become_objects() -> None:
    """Dataclasses, named tuples and structs become objects; ids become hex, times ISO 8601."""
    value = Outer((Pair(b"\x01\xff", 1_000_001),), Path("a/b"))
    assert render.jsonable(value) == {
        "pairs": [{"id": "01ff", "time": "1970-01-01T00:00:01.000001Z"}],
        "path": "a/b",
    }
    assert render.jsonable(Struct(Colour.RED, 0)) == {
        "colour": "red",
        "created": "1970-01-01T00:00:00.000000Z",
    }


def test_a_parameter_named_time_stays_a_number() -> None:
    """Only fields of results are times; a key that a user chose is not."""
    assert render.jsonable({"time": 3}) == {"time": 3}


@pytest.mark.parametrize(
    ("number", "text"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")],
)
def test_numbers_that_json_lacks_are_named(number: float, text: str) -> None:
    """NaN and the infinities become their names."""
    assert render.jsonable([number]) == [text]


def test_a_value_without_a_form_is_refused() -> None:
    """What JSON cannot say is an error, not a guess."""
    with pytest.raises(TypeError, match="'object' has no form in JSON"):
        render.jsonable(object())


@given(st.integers(min_value=0, max_value=253_402_300_799_999_999))
def test_times_sort_as_text(microseconds: int) -> None:
    """A time in ISO 8601 is 27 characters and sorts by time."""
    text = render.iso_time(microseconds)
    assert len(text) == 27
    assert render.iso_time(max(0, microseconds - 1)) <= text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_897_485, "12.3 MiB"),
        (1 << 50, "1.0 PiB"),
    ],
)
def test_sizes_have_binary_units(count: int, text: str) -> None:
    """Bytes are written with one decimal and a binary unit."""
    assert render.size(count) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 files"), (1, "1 file"), (12_345, "12,345 files")]
)
def test_counts_have_their_noun(number: int, text: str) -> None:
    """One thing is singular."""
    assert render.count(number, "file") == text


def test_columns_are_aligned() -> None:
    """Columns begin, and numbers end, in one place; no line has a space at its end."""
    table = render.Table(
        ("NAME", "SIZE", "NOTE"), [("a", "10 B", ""), ("long", "1 B", "x")], frozenset({"SIZE"})
    )
    assert list(table.lines()) == ["NAME  SIZE  NOTE", "a     10 B", "long   1 B  x"]


@given(st.text())
def test_plain_text_is_printable(text: str) -> None:
    """Whatever a name or a message holds, what is printed has no control characters."""
    assert plain(text).isprintable()


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.text()))
def test_scalars_come_back(value: object) -> None:
    """What JSON writes for a scalar is read as that scalar."""
    assert parse_scalar(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["adam", "[1, 2]", '{"a": 1}', "NaN", "1e", ""])
def test_everything_else_is_text(text: str) -> None:
    """A value that is no JSON scalar is kept as it was typed."""
    assert parse_scalar(text) == text

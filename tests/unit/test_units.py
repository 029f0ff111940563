"""Quantities: what people write, the value in base units, and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import InvalidInputError
from mstore.units import UNIT_KINDS, Quantity, format_quantity, parse_quantity

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("3", 3.0, ""),
        ("-.5e-3", -0.0005, ""),
        ("11.7M", 11_700_000.0, ""),
        ("100MB", 1e8, "bytes"),
        ("100 mb", 1e8, "bytes"),
        ("2 GiB", float(2 << 30), "bytes"),
        ("20 ms", 0.02, "seconds"),
        ("1GHz", 1e9, "hertz"),
        ("90%", 0.9, "fraction"),
        ("1.8 GFLOPs", 1.8e9, "operations"),
        ("312 TFLOP/s", 3.12e14, "operations/s"),
        ("7 mW", 0.007, "watts"),
        ("1 Wh", 3600.0, "joules"),
        ("-inf", -math.inf, ""),
    ],
)
def test_a_quantity_is_read_in_base_units(text: str, value: float, kind: str) -> None:
    """A number with a unit is the number of base units, correctly rounded, and their kind."""
    assert parse_quantity(text) == (value, kind)


def test_nan_is_a_number() -> None:
    """``nan`` is read as a plain number."""
    assert math.isnan(parse_quantity("NaN").value)


@pytest.mark.parametrize(
    "text", ["", "MB", "1 2", "0x10", "1e999", "1 parsec", "5 m", "3 mw", "2 GFLOPS", "9" * 100]
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """A text that is no number, has no known unit or could mean two units is refused."""
    with pytest.raises(InvalidInputError):
        parse_quantity(text)


def test_an_ambiguous_speed_says_what_to_write() -> None:
    """``GFLOPS``, which people use for a count and for a speed, names the two ways to write it."""
    with pytest.raises(InvalidInputError) as refused:
        parse_quantity("2 GFLOPS")
    assert refused.value.hint == "write GFLOP for a count of operations or GFLOP/s for a speed"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1e8, "bytes", "100 MB"),
        (46_830_571.0, "bytes", "46.830571 MB"),
        (0.02, "seconds", "20 ms"),
        (1e9, "hertz", "1 GHz"),
        (0.9, "fraction", "90 %"),
        (0.9, "", "0.9"),
        (math.nan, "bytes", "nan"),
    ],
)
def test_a_quantity_is_written_for_people(value: float, kind: str, text: str) -> None:
    """A quantity is written in the largest unit of which it is at least one."""
    assert format_quantity(value, kind) == text  # type: ignore[arg-type]  # kinds above are


def test_digits_round() -> None:
    """With digits, a quantity is rounded to as many."""
    assert format_quantity(46_830_571.0, "bytes", 3) == "46.8 MB"


@given(value=FINITE, kind=st.sampled_from(UNIT_KINDS))
def test_what_was_written_is_read_back(value: float, kind: str) -> None:
    """Any number in any kind of unit survives being written and read."""
    quantity = Quantity(value, kind)  # type: ignore[arg-type]  # sampled from the kinds
    written = format_quantity(*quantity)
    assert parse_quantity(written) == quantity


@given(st.text())
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    """No text does anything but give a quantity or an InvalidInputError."""
    try:
        quantity = parse_quantity(text)
    except InvalidInputError:
        return
    assert quantity.kind in UNIT_KINDS

"""Numbers, scales and curves of the pages."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mstore.report.curves import DRAWN, thinned
from mstore.report.numbers import brief, number, scale_of, size
from mstore.report.plot import encoded, path
from mstore.report.plots import Points


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.0, "12,345"),
        (473_633.6, "473,634"),
        (-3.0, "\u22123"),
        (0.97222, "0.9722"),
        (-0.00012345, "\u22120.0001234"),
        (math.nan, "NaN"),
        (-math.inf, "\u2212∞"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    """Numbers have four digits, or are whole."""
    assert number(value) == text


def test_counts_and_sizes() -> None:
    """Counts have decimal units, bytes binary ones."""
    assert [brief(n) for n in (812, 61_706, 1_240_000)] == ["812", "61.7 k", "1.24 M"]
    assert [size(n) for n in (10, 1536, 1 << 30)] == ["10 B", "1.5 KiB", "1.0 GiB"]


finite = st.floats(-1e12, 1e12)


@given(st.lists(finite, min_size=1))
@example([1.0, 2.225073858507203e-309])
@example([5e-324, 1e12])
def test_everything_lies_on_its_scale(values: list[float]) -> None:
    """Every value has a place from 0 to 1, in order, and so has every tick."""
    scale = scale_of(values)
    places = [scale.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert all(-1e-6 <= scale.place(tick) <= 1 + 1e-6 for tick in scale.ticks())


def test_decades_are_drawn_on_a_logarithmic_scale() -> None:
    """Positive values over two decades have a logarithmic scale with powers of ten on it."""
    scale = scale_of([1e-4, 1.0])
    assert scale.is_log
    assert scale.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert not scale_of([0.0, 1.0]).is_log


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=4 * DRAWN))
def test_a_long_curve_keeps_its_ends_and_peaks(values: list[float]) -> None:
    """Of many points about a thousand are drawn: the first, the last and the extremes are kept."""
    points = list(enumerate(values))
    kept = thinned(points)
    assert len(kept) <= DRAWN + 4
    inner = [value for value in values if math.isfinite(value)]
    drawn = [value for _, value in kept if math.isfinite(value)]
    if inner:
        assert (min(inner), max(inner)) == (min(drawn), max(drawn))
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)


def test_a_line_is_broken_at_nan() -> None:
    """A value that is no number leaves a gap, and one alone is still seen."""
    scale = scale_of([0, 1, 2], margin=0)
    drawn = path([(0, 1), (1, math.nan), (2, 2)], scale, scale, class_="line")
    assert drawn.count("M") == 2
    assert "L" not in drawn


def test_what_a_script_is_told_is_json() -> None:
    """NaN and infinities become null, wherever they stand."""
    assert (
        encoded({"a": [math.nan, 1.5], "b": {"c": math.inf}}) == '{"a":[null,1.5],"b":{"c":null}}'
    )


def test_only_dimensions_that_vary_are_drawn() -> None:
    """What all versions have alike, or only one has, is no axis."""
    points = Points(["a", "b"], ["same", "other", "one"], [[1, 2, 3], [1, 3, math.nan]])
    assert points.varied() == Points(["a", "b"], ["other"], [[2], [3]])


@pytest.mark.parametrize("last", [1, 2, 3, 7, 13, 14, 100, 12_345])
def test_what_is_counted_has_whole_ticks(last: int) -> None:
    """There is no version 1.2 and no half of a byte, however few there are."""
    ticks = scale_of([1, last], may_be_log=False).ticks()
    assert ticks
    assert all(tick.is_integer() for tick in ticks)
    assert scale_of([1.5, 2]).ticks() == [1.5, 1.6, 1.7, 1.8, 1.9, 2]

"""How the numbers of tensors are spread."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mstore.numerics.spread import BINS, READABLE, Spread, Tally

TORCH = {"F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn, "BF16": torch.bfloat16}


def spread_of(dtype: str, *pieces: bytes) -> Spread:
    """The spread of some pieces of one tensor."""
    tally = Tally(dtype)
    for piece in pieces:
        tally.add(piece)
    return tally.spread()


@given(
    hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32)), st.integers(0, 300)
)
def test_how_bytes_are_cut_changes_nothing(array: np.ndarray, cut: int) -> None:
    """Pieces give the counts that the whole gives, and figures that differ by rounding only."""
    whole = spread_of("F32", array.tobytes())
    parts = spread_of("F32", array[:cut].tobytes(), array[cut:].tobytes())
    assert whole._replace(mean=None, deviation=None) == parts._replace(mean=None, deviation=None)
    if whole.mean is not None and whole.deviation is not None:
        room = 1e-9 * max(abs(whole.least or 0), abs(whole.greatest or 0))
        assert parts.mean == pytest.approx(whole.mean, rel=1e-6, abs=room)
        assert parts.deviation == pytest.approx(whole.deviation, rel=1e-6, abs=room)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u8"])
def test_figures_are_those_of_numpy(dtype: str) -> None:
    """Least, greatest, mean and deviation are exact, zeros counted, every number in some bin."""
    array = (np.random.default_rng(1).standard_normal(5000) * 40).astype(dtype)
    kind = np.dtype(dtype)
    names = {"f": "F", "i": "I", "u": "U"}
    found = spread_of(f"{names[kind.kind]}{8 * kind.itemsize}", array.tobytes())
    assert (found.least, found.greatest) == (array.min(), array.max())
    assert found.mean == pytest.approx(array.mean(dtype=np.float64), rel=1e-9)
    assert found.deviation == pytest.approx(array.std(dtype=np.float64), rel=1e-9)
    assert found.zeros == np.count_nonzero(array == 0)
    assert sum(found.bins) == array.size == found.elements


def test_bins_are_a_histogram() -> None:
    """Of a bell, bins lie within a hundredth of what all numbers counted one by one give."""
    array = np.random.default_rng(2).standard_normal(200_000).astype(np.float32)
    found = spread_of("F32", array.tobytes())
    wanted, _ = np.histogram(np.clip(array, found.low, found.high), BINS, (found.low, found.high))
    assert len(found.bins) == BINS
    assert np.abs(np.array(found.bins) - wanted).max() < 0.01 * array.size
    assert np.mean((array < found.low) | (array > found.high)) < 0.002


@pytest.mark.parametrize("dtype", sorted(TORCH))
def test_narrow_floats_are_those_of_torch(dtype: str) -> None:
    """Every bit pattern of a narrow float counts as the number that torch reads in it."""
    wide = dtype == "BF16"
    codes = np.arange(1 << 16, dtype="<u2") if wide else np.arange(256, dtype="u1")
    numbers = torch.frombuffer(bytearray(codes.tobytes()), dtype=TORCH[dtype]).to(torch.float64)
    finite = numbers[torch.isfinite(numbers)]
    found = spread_of(dtype, codes.tobytes())
    assert (found.least, found.greatest) == (float(finite.min()), float(finite.max()))
    assert found.nans == int(torch.isnan(numbers).sum())
    assert found.infinities == int(torch.isinf(numbers).sum())
    assert found.zeros == 2


def test_numbers_that_are_none_are_counted_apart() -> None:
    """NaN and infinities have counts of their own and are in no figure."""
    array = np.array([1, 3, np.nan, np.inf, -np.inf, np.inf], np.float32)
    found = spread_of("F32", array.tobytes())
    assert (found.nans, found.infinities, found.elements) == (1, 3, 6)
    assert (found.least, found.mean, found.greatest) == (1, 2, 3)


def test_a_float64_beyond_float32_is_finite() -> None:
    """A number that only float64 can hold counts as finite."""
    found = spread_of("F64", np.array([1e300, -1e300, 0]).tobytes())
    assert (found.infinities, found.greatest, found.zeros) == (0, 1e300, 1)


@pytest.mark.parametrize("dtype", sorted(READABLE))
def test_an_empty_tensor_has_no_figures(dtype: str) -> None:
    """Nothing has neither figures nor bins."""
    found = spread_of(dtype, b"")
    assert (found.elements, found.mean, found.least, found.bins) == (0, None, None, ())


def test_equal_numbers_are_one_bin() -> None:
    """A tensor of ones has one bin, which all lie in."""
    found = spread_of("F32", np.ones(7, np.float32).tobytes())
    assert (found.bins, found.deviation) == ((7,), 0)

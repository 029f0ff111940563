"""What leading bits say of numbers, held against the numbers themselves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.codecs import intervals
from mstore.testing.codecs import special

FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
INTEGERS = {"I16": "<i2", "U32": "<u4", "I64": "<i8"}


def values(content: bytes | memoryview, dtype: str) -> np.ndarray[Any, Any]:
    """The numbers of a dtype; those of bf16 as the fp32 ones that they are."""
    if dtype == "BF16":
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(content, (FLOATS | INTEGERS)[dtype])


def read(raw: bytes, dtype: str, bits: int) -> tuple[np.ndarray[Any, Any], ...]:
    """The least, the middle and the greatest numbers by their leading bits."""
    width = int((FLOATS | INTEGERS)[dtype][-1])
    content = memoryview(bytearray(raw))
    intervals.trim(content, width, bits)
    low, high = intervals.bounds(content, width, bits, dtype)
    intervals.to_middle(content, width, bits, dtype)
    return values(low, dtype), values(content, dtype), values(high, dtype)


def check(raw: bytes, dtype: str, bits: int) -> None:
    """Every number lies where it may lie, and so does the middle, which is finite if it can be."""
    exact = values(raw, dtype)
    low, middle, high = read(raw, dtype, bits)
    none = np.isnan(exact) if dtype in FLOATS else np.zeros(len(exact), bool)
    assert ((low <= exact) & (exact <= high))[~none].all()
    is_number = ~np.isnan(low) if dtype in FLOATS else ~none
    assert none[~is_number].all()
    assert ((low <= middle) & (middle <= high))[is_number].all()
    if dtype in FLOATS:
        assert np.isfinite(middle[np.isfinite(low) | np.isfinite(high)]).all()


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_every_kind_of_number_lies_within_its_bounds(dtype: str) -> None:
    """NaNs, infinities, zeros, subnormals and ordinary numbers, for every number of bits."""
    width = int((FLOATS | INTEGERS)[dtype][-1])
    for bits in range(1, 8 * width + 1):
        check(special(width), dtype, bits)


@given(
    dtype=st.sampled_from([*FLOATS, *INTEGERS]),
    bits=st.integers(1, 64),
    source=st.randoms(use_true_random=False),
)
def test_any_number_lies_within_its_bounds(dtype: str, bits: int, source: Any) -> None:
    """Any bit patterns lie within the bounds that their leading bits give."""
    width = int((FLOATS | INTEGERS)[dtype][-1])
    check(source.randbytes(width * 50), dtype, 1 + bits % (8 * width))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_all_bits_are_the_number(dtype: str) -> None:
    """With all bits least, middle and greatest are the exact bytes, NaN payloads included."""
    width = int((FLOATS | INTEGERS)[dtype][-1])
    raw = special(width)
    content = memoryview(bytearray(raw))
    intervals.trim(content, width, 8 * width)
    low, high = intervals.bounds(content, width, 8 * width, dtype)
    assert bytes(low) == bytes(high) == raw
    intervals.to_middle(content, width, 8 * width, dtype)
    assert bytes(content) == raw


def test_infinity_and_what_is_no_number_stay_so() -> None:
    """With the whole exponent known, infinity is infinity, and NaN both bounds."""
    raw = np.array([np.inf, -np.inf, np.nan, 1.5], "<f4").tobytes()
    low, middle, high = read(raw, "F32", 12)
    assert low[:2].tolist() == middle[:2].tolist() == high[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan([low[2], middle[2], high[2]]).all()
    assert (low[3], middle[3], high[3]) == (1.5, 1.5625, np.float32(1.625 - 2**-23))


def test_a_middle_halves_the_error() -> None:
    """Of weights with 16 of 32 bits known, no middle is off by more than 2^-8 of the number."""
    exact = np.random.default_rng(1).normal(0, 0.02, 10_000).astype("<f4")
    _, middle, _ = read(exact.tobytes(), "F32", 16)
    assert (abs(middle - exact) <= abs(exact) * 2**-8).all()

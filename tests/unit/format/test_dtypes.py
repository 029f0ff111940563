"""Sizes of tensors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, UnsupportedError
from mstore.format.dtypes import DTYPE_BITS, MAX_DIMENSION, MAX_RANK, tensor_size


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F32", (), 4),
        ("BF16", (3, 5), 30),
        ("C64", (2,), 16),
        ("F4", (3, 2), 3),
        ("F6_E2M3", (4,), 3),
        ("BOOL", (7,), 7),
        ("F64", (0,), 0),
        ("U8", (0, MAX_DIMENSION), 0),
        ("F6_E3M2", (0, 3), 0),
    ],
)
def test_size(dtype: str, shape: tuple[int, ...], size: int) -> None:
    """The size is the product of the dimensions times the element, in bytes."""
    assert tensor_size(dtype, shape) == size


@given(st.sampled_from(sorted(DTYPE_BITS)), st.lists(st.integers(0, 9), max_size=4))
def test_order_of_dimensions_does_not_matter(dtype: str, shape: list[int]) -> None:
    """A shape and its reverse have one size, or are both refused."""
    try:
        size = tensor_size(dtype, shape)
    except CorruptError:
        with pytest.raises(CorruptError):
            tensor_size(dtype, shape[::-1])
    else:
        assert tensor_size(dtype, shape[::-1]) == size


@pytest.mark.parametrize("shape", [(1 << 40, 1 << 40), (0, 1 << 40, 1 << 40), (1 << 40, 1 << 24)])
def test_overflow_is_refused(shape: tuple[int, ...]) -> None:
    """A product over 2^63 bits is refused, even where another dimension is zero."""
    with pytest.raises(CorruptError, match="overflows"):
        tensor_size("U8", shape)


@pytest.mark.parametrize("length", [-1, MAX_DIMENSION + 1, 1 << 70])
def test_dimension_is_bounded(length: int) -> None:
    """A negative or huge dimension is refused."""
    with pytest.raises(CorruptError, match="has a dimension"):
        tensor_size("U8", (length,))


def test_rank_is_bounded() -> None:
    """At most 16 dimensions are allowed."""
    assert tensor_size("U8", (1,) * MAX_RANK) == 1
    with pytest.raises(CorruptError, match="17 dimensions"):
        tensor_size("U8", (1,) * (MAX_RANK + 1))


def test_narrow_elements_fill_bytes() -> None:
    """Three 4-bit numbers are one and a half bytes, which no file can hold."""
    with pytest.raises(CorruptError, match="whole bytes"):
        tensor_size("F4", (3,))


def test_unknown_dtype() -> None:
    """A dtype that this build does not know is unsupported, not corrupt."""
    with pytest.raises(UnsupportedError, match="unknown dtype 'F2'"):
        tensor_size("F2", (4,))

"""The effective rank of a change."""

import numpy as np
import pytest

from mstore.numerics.rank import COLUMNS, MAX_RANK, ChangeSample, effective_rank, has_rank


def by_definition(matrix: np.ndarray) -> float:
    """The exponential of the entropy of the squared singular values over their sum."""
    squares = np.square(np.linalg.svd(matrix, compute_uv=False))
    shares = squares[squares > 0] / squares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (16, 16), (1, 9)])
def test_it_is_the_entropy_of_singular_values(shape: tuple[int, int]) -> None:
    """It agrees with the definition, computed by a singular value decomposition."""
    matrix = np.random.default_rng(0).standard_normal(shape)
    assert effective_rank(matrix) == pytest.approx(by_definition(matrix), rel=1e-9)


def test_equal_directions_count_fully() -> None:
    """A change that is as far in each of n directions has rank n; no change has none."""
    assert effective_rank(np.eye(7)) == pytest.approx(7)
    assert effective_rank(np.zeros((4, 4))) == 0


def test_a_large_change_of_rank_one_is_one() -> None:
    """A sample of a long and wide matrix sees a change of rank one as it is."""
    rng = np.random.default_rng(1)
    change = np.outer(rng.standard_normal(500), rng.standard_normal(3000)).astype(np.float32)
    base = rng.standard_normal(change.shape).astype(np.float32) * 0
    sample = ChangeSample(change.shape)
    rows = change.reshape(-1)
    for start in range(0, rows.size, 70_001):
        part = slice(start, start + 70_001)
        sample.fill(start, "F32", base.reshape(-1)[part].tobytes(), "F32", rows[part].tobytes())
    assert (sample.sampled, sample.limit) == (True, min(MAX_RANK, COLUMNS))
    assert sample.effective_rank() == pytest.approx(1, abs=1e-6)


def test_a_small_matrix_is_looked_at_whole() -> None:
    """Every number of a small matrix is taken, in whatever pieces it comes, NaN as no change."""
    rng = np.random.default_rng(2)
    base, other = rng.standard_normal((2, 20, 6, 5))
    other[3, 2, 1] = np.nan
    sample = ChangeSample(base.shape)
    for start in range(0, base.size, 7):
        part = slice(start, start + 7)
        sides = (base.reshape(-1)[part].tobytes(), other.reshape(-1)[part].tobytes())
        sample.fill(start, "F64", sides[0], "F64", sides[1])
    change = np.nan_to_num(other - base).reshape(20, 30)
    assert not sample.sampled
    assert sample.effective_rank() == pytest.approx(by_definition(change), rel=1e-9)


def test_what_has_a_rank() -> None:
    """Matrices of numbers have one; vectors, complex numbers and empty ones have none."""
    assert has_rank(("F32", "BF16"), (2, 3, 4))
    assert not has_rank(("F32", "F32"), (6,))
    assert not has_rank(("C64", "C64"), (2, 3))
    assert not has_rank(("F4", "F4"), (2, 3))
    assert not has_rank(("F32", "F32"), (0, 3))

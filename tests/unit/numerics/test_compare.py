"""Figures of changes, held against what torch computes of whole tensors at once."""

import math

import numpy as np
import pytest
import torch

from mstore.codecs import intervals
from mstore.numerics.compare import TILE, Tally, add_errors, compare
from mstore.numerics.figures import Figures, unchanged

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "I32": torch.int32,
    "I8": torch.int8,
    "BOOL": torch.bool,
}


def content(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def figures(dtype: str, a: torch.Tensor, b: torch.Tensor, other: str | None = None) -> Figures:
    """The figures of two tensors, the second of another dtype if one is named."""
    return compare(dtype, content(a), other or dtype, content(b)).figures()


def pair(dtype: str, count: int = 3 * TILE + 77) -> tuple[torch.Tensor, torch.Tensor]:
    """A tensor longer than a few tiles, and one of which half has moved."""
    torch.manual_seed(1)
    a = torch.randn(count, dtype=torch.float64) * 20
    b = a + torch.randn(count) * 5 * (torch.rand(count) < 0.5)
    return a.to(DTYPES[dtype]), b.to(DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_figures_are_those_of_torch(dtype: str) -> None:
    """Counts, lengths, angle and greatest change are what torch finds in float64."""
    a, b = pair(dtype)
    found = figures(dtype, a, b)
    # torch turns no float of a byte into a double at once.
    x, y = (side.to(torch.float32 if "F8" in dtype else side.dtype).double() for side in (a, b))
    raw = [np.frombuffer(content(t), f"<u{t.element_size()}") for t in (a, b)]
    assert found.elements == len(a)
    assert found.changed == int((raw[0] != raw[1]).sum())
    assert found.changed_bits == int(np.unpackbits((raw[0] ^ raw[1]).view(np.uint8)).sum())
    assert found.changed_bits_share == found.changed_bits / (8 * a.element_size() * len(a))
    assert found.relative_l2 == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-12)
    cosine = float(torch.nn.functional.cosine_similarity(x, y, dim=0))
    assert found.cosine == pytest.approx(cosine, abs=1e-12)
    assert found.max_change == float((y - x).abs().max())
    assert sum(bucket.count for bucket in found.histogram) == len(a)


def test_the_histogram_counts_by_powers_of_two() -> None:
    """Each bucket has as many changes as lie in it, by NumPy."""
    a, b = pair("F32")
    change = (b.double() - a.double()).numpy()
    for bucket in figures("F32", a, b).histogram:
        if bucket.low == bucket.high == 0:
            expected = change == 0
        elif bucket.low >= 0:
            expected = (change >= bucket.low) & (change < bucket.high)
        else:
            expected = (change > bucket.low) & (change <= bucket.high)
        # The smallest bucket told holds what is smaller too.
        if bucket.count != expected.sum():
            assert min(abs(bucket.low), abs(bucket.high)) < np.abs(change).max() / 2**20


def test_what_is_not_finite_is_left_out() -> None:
    """NaN and infinity on either side leave the sums alone and are counted."""
    a, b = pair("F32", 1000)
    a[3], a[4], b[5], b[6] = math.nan, math.inf, -math.inf, math.nan
    b[3] = a[3]
    found = figures("F32", a, b)
    kept = torch.isfinite(a) & torch.isfinite(b)
    x, y = a[kept].double(), b[kept].double()
    assert found.not_finite == 4
    assert found.relative_l2 == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-12)
    assert found.max_change == float((y - x).abs().max())


def test_nothing_but_nan() -> None:
    """Where no number is finite nothing is said of lengths, but what changed is."""
    a = torch.full((4,), math.nan)
    b = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    found = figures("F32", a, b)
    assert (found.changed, found.not_finite) == (3, 4)
    assert (found.relative_l2, found.cosine, found.max_change) == (None, None, None)


def test_equal_tiles_with_nan() -> None:
    """An equal tile counts its NaN and adds its finite numbers to the length of the base."""
    a = torch.tensor([3.0, math.nan, 4.0])
    b = torch.tensor([3.0, math.nan, 4.0])
    found = compare("F32", content(a), "F32", content(b))
    assert (found.not_finite, found.base, found.figures().relative_l2) == (1, 25.0, 0.0)


def test_negative_zero_is_a_change_of_bits() -> None:
    """0.0 and -0.0 are changed, by nothing."""
    found = figures("F32", torch.tensor([0.0, 1.0]), torch.tensor([-0.0, 1.0]))
    assert (found.changed, found.changed_bits, found.max_change) == (1, 1, 0.0)
    assert found.relative_l2 == 0.0


def test_a_base_of_zeros_has_no_relative_change() -> None:
    """What changed from nothing has a greatest change, but no length relative to it."""
    found = figures("F32", torch.zeros(3), torch.ones(3))
    assert (found.relative_l2, found.cosine, found.max_change) == (None, None, 1.0)


def test_numbers_whose_squares_overflow() -> None:
    """Where a square is too large for float64 no length is told, but the greatest change is."""
    a, b = (torch.tensor([large, 1.0], dtype=torch.float64) for large in (1e200, 2e200))
    found = figures("F64", a, b)
    assert (found.relative_l2, found.not_finite, found.max_change) == (None, 0, 1e200)


def test_nothing_at_all() -> None:
    """Empty tensors have changed in nothing."""
    found = figures("F32", torch.zeros(0), torch.zeros(0))
    assert (found.elements, found.changed, found.changed_share, found.histogram) == (0, 0, 0.0, ())


def test_complex_numbers_are_whole() -> None:
    """A complex number counts once, and its greatest change is a modulus."""
    a = np.array([1 + 1j, 2, 3j, complex(math.nan, 1)], np.complex64)
    b = np.array([1 + 1j, 2 + 3j, 4 + 3j, 5], np.complex64)
    found = compare("C64", a.tobytes(), "C64", b.tobytes()).figures()
    assert (found.elements, found.changed, found.not_finite, found.max_change) == (4, 3, 1, 4.0)
    assert found.relative_l2 == pytest.approx(math.sqrt((9 + 16) / (2 + 4 + 9)))


@pytest.mark.parametrize(
    ("dtype", "size", "bits"), [("F4", 6, 4), ("F6_E2M3", 6, 6), ("F6_E3M2", 6, 6)]
)
def test_narrow_elements_are_compared_by_bits(dtype: str, size: int, bits: int) -> None:
    """Of elements narrower than a byte, changed ones and changed bits are counted, no more."""
    a = bytes(size)
    b = bytes([1, 0, 0, 0, 0, 128])
    found = compare(dtype, a, dtype, b).figures()
    assert (found.elements, found.changed, found.changed_bits) == (8 * size // bits, 2, 2)
    assert (found.relative_l2, found.max_change) == (None, None)


@pytest.mark.parametrize(("first", "second"), [("F32", "BF16"), ("BF16", "F32"), ("F64", "I32")])
def test_two_dtypes_are_compared_by_number(first: str, second: str) -> None:
    """After a conversion those elements changed that are another number, and no bits are told."""
    torch.manual_seed(2)
    a = (torch.randn(TILE + 5) * 9).to(DTYPES[first])
    b = a.to(DTYPES[second])
    x, y = a.double(), b.double()
    found = figures(first, a, b, second)
    assert (found.changed, found.changed_bits) == (int((x != y).sum()), None)
    assert found.relative_l2 == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-12)


def test_a_real_number_is_a_complex_one() -> None:
    """Real against complex numbers: what is missing is an imaginary part of zero."""
    a, b = np.array([1, 2], np.float32), np.array([1, 2 + 1j], np.complex64)
    found = compare("F32", a.tobytes(), "C64", b.tobytes()).figures()
    assert (found.elements, found.changed, found.max_change) == (2, 1, 1.0)


def test_parts_add_up() -> None:
    """Pieces added together give the figures of the whole."""
    a, b = pair("BF16", 1000)
    whole = figures("BF16", a, b)
    joined = Tally()
    for start in range(0, 1000, 300):
        part = slice(start, start + 300)
        joined.add(compare("BF16", content(a[part]), "BF16", content(b[part])))
    found = joined.figures()
    assert (found.changed, found.changed_bits, found.histogram) == (
        whole.changed,
        whole.changed_bits,
        whole.histogram,
    )
    assert found.relative_l2 == pytest.approx(whole.relative_l2, rel=1e-12)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        *((dtype, bits) for dtype in ("F32", "F64", "C64") for bits in (8, 10, 16, 24)),
        *(("BF16", bits) for bits in (8, 10, 14)),
    ],
)
def test_bounds_hold_for_all_bits(dtype: str, bits: int) -> None:
    """What all bits give lies within what leading bits say of it."""
    width = {"F32": 4, "BF16": 2, "F64": 8, "C64": 4}[dtype]
    rng = np.random.default_rng(3)
    a = rng.standard_normal(5000)
    b = a + rng.standard_normal(5000) * 0.01 * (rng.random(5000) < 0.4)
    kind = DTYPES.get(dtype, torch.float32)
    exact = [content(torch.tensor(side).to(kind)) for side in (a, b)]
    whole = compare(dtype, exact[0], dtype, exact[1]).figures()
    middles = [memoryview(bytearray(side)) for side in exact]
    for side in middles:
        intervals.trim(side, width, bits)
        intervals.to_middle(side, width, bits, dtype)
    tally = compare(dtype, middles[0], dtype, middles[1])
    add_errors(tally, dtype, middles[0], middles[1], bits)
    bounds = tally.figures(leading=True).bounds
    assert bounds is not None
    assert bounds.changed_bits is not None
    assert bounds.changed.low <= whole.changed <= bounds.changed.high
    assert bounds.changed_bits.low <= (whole.changed_bits or 0) <= bounds.changed_bits.high
    assert bounds.max_change.low <= (whole.max_change or 0) <= bounds.max_change.high
    for interval, figure in (
        (bounds.relative_l2, whole.relative_l2),
        (bounds.cosine, whole.cosine),
    ):
        assert figure is not None
        if interval is not None:
            assert interval.low <= figure <= interval.high
    assert bounds.relative_l2 is not None or bits <= 10


def test_unchanged_numbers_need_no_reading() -> None:
    """The figures of a tensor that is known to be the same say so."""
    found = unchanged(5)
    assert (found.changed, found.relative_l2, found.cosine, found.max_change) == (0, 0.0, 1.0, 0.0)
    assert found.histogram[0].count == 5

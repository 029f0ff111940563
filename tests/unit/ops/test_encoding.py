"""Which codec a tensor gets, and that a chunk never grows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.codecs import (
    DELTA_PCO,
    PCO,
    SPARSE,
    SPLIT_FLOAT,
    ZSTD,
    Coded,
    Layout,
    decode,
)
from mstore.errors import InvalidInputError
from mstore.format.dtypes import DTYPE_BITS
from mstore.ids import Buffer
from mstore.ops.encoding import MIN_CODED, POLICIES, Base, Encoder, Policy, width_of

ID = bytes(range(32))
CODED = POLICIES[1:]


def bf16(values: np.ndarray) -> bytes:
    """The leading halves of 32-bit floats."""
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def weights(count: int, seed: int = 0) -> np.ndarray:
    """Numbers as they stand in a trained layer."""
    return np.random.default_rng(seed).normal(0, 0.02, count).astype(np.float32)


def nudged(raw: bytes, share: float, dtype: str = "<u2") -> bytes:
    """``raw`` with a share of its elements one unit in the last place away."""
    rng = np.random.default_rng(9)
    numbers = np.frombuffer(raw, dtype).copy()
    numbers[rng.random(len(numbers)) < share] += 1
    return numbers.tobytes()


def back(coded: Coded | None, raw: Buffer, base: Buffer | None = None) -> bytes:
    """The bytes that an entry stands for."""
    if coded is None:
        return bytes(raw)
    return bytes(decode(coded.code, coded.stored, len(raw), base))


@pytest.mark.parametrize(
    ("dtype", "raw", "code"),
    [
        ("BF16", bf16(weights(50_000)), SPLIT_FLOAT),
        ("F32", weights(50_000).tobytes(), SPLIT_FLOAT),
        ("F16", weights(50_000).astype("<f2").tobytes(), SPLIT_FLOAT),
        ("F64", weights(50_000).astype("<f8").tobytes(), SPLIT_FLOAT),
        ("C64", weights(50_000).tobytes(), SPLIT_FLOAT),
        ("F32", np.ones(50_000, "<f4").tobytes(), SPLIT_FLOAT),
        ("F32", weights(50_000).astype("<f2").astype("<f4").tobytes(), SPLIT_FLOAT),
        ("F32", np.round(weights(50_000) * 100).tobytes(), PCO),
        ("I64", np.random.default_rng(0).integers(0, 999, 50_000).tobytes(), PCO),
        ("I32", np.tile(np.arange(100, dtype="<i4"), 500).tobytes(), ZSTD),
        ("BOOL", bytes(1000) + bytes([1]) * 9000, ZSTD),
        ("U8", bytes(range(8)) * 1000, ZSTD),
        (None, b"text, and more of it; " * 100, ZSTD),
    ],
)
def test_codec_follows_the_dtype_and_the_values(dtype: str | None, raw: bytes, code: int) -> None:
    """By default every kind of tensor gets the codec that suits it, and comes back."""
    coded = Encoder("auto").plan(dtype, raw).encode(raw)
    assert coded is not None
    assert (coded.code, coded.base) == (code, None)
    assert len(coded.stored) < len(raw)
    assert back(coded, raw) == raw


@pytest.mark.parametrize("policy", CODED)
@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_noise_stays_raw(dtype: str, policy: Policy) -> None:
    """Where nothing gains, a chunk of any dtype stays as it is."""
    raw = np.random.default_rng(1).bytes(80_000)
    assert Encoder(policy).plan(dtype, raw).encode(raw) is None


@pytest.mark.parametrize("dtype", [*sorted(DTYPE_BITS), None])
def test_raw_leaves_tensors_alone(dtype: str | None) -> None:
    """The policy "raw" encodes no tensor; text is text under every policy."""
    raw = b"aaaa" * 1000
    coded = Encoder("raw").plan(dtype, raw, Base(ID, raw)).encode(raw, Base(ID, raw))
    assert (coded is None) == (dtype is not None)


def test_small_is_never_larger_than_auto() -> None:
    """What "small" tries includes what "auto" does."""
    kinds = ("BF16", "F32", "F16", "I32", "U8")
    for seed, dtype in enumerate(kinds):
        raw = weights(60_000, seed).tobytes()
        sizes = []
        for policy in CODED:
            coded = Encoder(policy).plan(dtype, raw).encode(raw)
            sizes.append(len(raw) if coded is None else len(coded.stored))
        assert sizes[1] <= sizes[0]


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3])
def test_small_differences_are_never_larger_than_those_of_auto(share: float) -> None:
    """Of the codecs that take a base, too, "small" keeps the smallest result."""
    base = bf16(weights(200_000))
    raw = nudged(base, share)
    sizes = []
    for policy in CODED:
        coded = Encoder(policy).plan("BF16", raw, Base(ID, base)).encode(raw, Base(ID, base))
        assert coded is not None
        assert back(coded, raw, base) == raw
        sizes.append(len(coded.stored))
    assert sizes[1] <= sizes[0]


@pytest.mark.parametrize(("share", "code"), [(0.001, SPARSE), (0.2, DELTA_PCO)])
def test_difference_from_a_base_is_taken(share: float, code: int) -> None:
    """A few changes are listed, many are differences; both are far smaller than alone."""
    base = bf16(weights(300_000))
    raw = nudged(base, share)
    method = Encoder("auto").plan("BF16", raw, Base(ID, base))
    assert method.takes_base
    coded = method.encode(raw, Base(ID, base))
    assert coded is not None
    assert (coded.code, coded.base) == (code, ID)
    assert len(coded.stored) < len(raw) / 10
    assert back(coded, raw, base) == raw


def test_unrelated_base_is_not_taken() -> None:
    """Weights from another seed are no base, and the chunk is as small as alone."""
    base, raw = bf16(weights(100_000, 1)), bf16(weights(100_000, 2))
    method = Encoder("auto").plan("BF16", raw, Base(ID, base))
    assert not method.takes_base
    assert method.encode(raw, Base(ID, base)) == Encoder("auto").plan("BF16", raw).encode(raw)


def test_chunk_that_its_base_does_not_fit_is_stored_alone() -> None:
    """A method that takes bases still stores a chunk alone where that is smaller."""
    base, other = bf16(weights(100_000, 1)), bf16(weights(100_000, 2))
    method = Encoder("auto").plan("BF16", nudged(base, 0.2), Base(ID, base))
    coded = method.encode(other, Base(ID, base))
    assert coded is not None
    assert (coded.code, coded.base) == (SPLIT_FLOAT, None)


def test_grown_and_resized_tensors_use_their_common_part() -> None:
    """New rows at the end, and rows that became longer, cost about what is new."""
    head = weights(1000 * 64).reshape(1000, 64)
    longer = np.concatenate([head, weights(50 * 64, 5).reshape(50, 64)])
    wider = np.concatenate([head, weights(1000 * 4, 6).reshape(1000, 4)], axis=1)
    base = Base(ID, bf16(head))
    for now, rows in ((longer, (0, 0)), (wider, (136, 128))):
        raw = bf16(now)
        coded = Encoder("auto").plan("BF16", raw, base, rows).encode(raw, base)
        assert coded is not None
        assert coded.base == ID
        assert len(coded.stored) < (len(raw) - len(base.content)) * 1.5
        assert back(coded, raw, base.content) == raw


def test_settle_gives_what_was_tried_whole() -> None:
    """A small chunk is not encoded a second time: what the sample gave is its encoding."""
    base = bf16(weights(5000))
    raw = nudged(base, 0.2)
    for given_base in (None, Base(ID, base)):
        method, coded = Encoder("auto").settle("BF16", raw, given_base)
        assert coded is not None
        assert coded == method.encode(raw, given_base)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_sample_of_a_large_chunk_is_of_whole_elements(width: int) -> None:
    """The choice for a chunk of 4 MiB is the one that its elements call for."""
    dtype = {2: "I16", 4: "I32", 8: "I64"}[width]
    numbers = np.random.default_rng(0).geometric(0.1, (4 << 20) // width)
    raw = numbers.astype(f"<i{width}").tobytes()[:-width]
    coded = Encoder("auto").plan(dtype, raw).encode(raw)
    assert coded is not None
    assert coded.code == PCO
    assert len(coded.stored) < 0.7 * len(numbers)


@given(
    raw=st.binary(max_size=2000),
    base=st.binary(max_size=2000) | st.none(),
    dtype=st.sampled_from(sorted(DTYPE_BITS)),
    policy=st.sampled_from(POLICIES),
)
def test_any_chunk_comes_back_and_never_grows(
    raw: bytes, base: bytes | None, dtype: str, policy: Policy
) -> None:
    """Any bytes with any base: fewer bytes or none, and the same bytes again."""
    given_base = None if base is None else Base(ID, base)
    method, first = Encoder(policy).settle(dtype, raw, given_base)
    for coded in (first, method.encode(raw, given_base)):
        if coded is not None:
            assert len(raw) >= MIN_CODED
            assert len(coded.stored) < len(raw)
            assert back(coded, raw, base) == raw


def test_unknown_policy_is_refused() -> None:
    """A policy that there is not is named with those that there are."""
    with pytest.raises(InvalidInputError, match=r"'zip' is none of raw, auto, small"):
        Encoder("zip")  # type: ignore[arg-type] # what is refused


def test_width_is_that_of_one_number() -> None:
    """Complex numbers are two floats; what is narrower than a byte counts as bytes."""
    widths = {dtype: width_of(dtype) for dtype in DTYPE_BITS}
    assert (widths["C64"], widths["F4"], widths["BF16"], widths["F64"]) == (4, 1, 2, 8)
    assert all(width == 1 for dtype, width in widths.items() if DTYPE_BITS[dtype] <= 8)
    assert Layout(widths["U64"]) == Layout(8)

"""Leading bits and low chunks: that they are exact, how they lie, and which are refused."""

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.codecs import PLANES, Layout, decode, planes
from mstore.errors import CorruptError
from mstore.testing.codecs import special

CHUNK = 4 << 20
SPLITS = [(width, bits) for width in (2, 4, 8) for bits in range(1, 8 * width)]


def noise(count: int, width: int) -> np.ndarray[Any, Any]:
    """Numbers of which every bit is random, the same ones every time."""
    source = np.random.default_rng(count)
    return source.integers(0, 1 << 63, count, np.uint64, endpoint=True).astype(f"<u{width}")


def weights(count: int = 100_000) -> bytes:
    """fp32 numbers as a layer has them."""
    return np.random.default_rng(7).normal(0, 0.02, count).astype("<f4").tobytes()


def leading(stored: bytes, raw: bytes, width: int) -> np.ndarray[Any, Any]:
    """The numbers that come out without the low chunk."""
    numbers = np.empty(len(raw) // width, f"<u{width}")
    planes.merge(planes.leading_of(stored, len(raw))[2], numbers.view(np.uint8).data, width)
    return numbers


@pytest.mark.parametrize(("width", "bits"), SPLITS)
def test_every_split_comes_back(width: int, bits: int) -> None:
    """Of any width and number of bits both parts together give the bytes, and one the bits."""
    for numbers in (noise(997, width), np.frombuffer(special(width), f"<u{width}")):
        raw = numbers.tobytes()
        stored, low = planes.split(raw, width, bits)
        assert decode(PLANES, stored, len(raw), low) == raw
        below = np.array(8 * width - bits, numbers.dtype)
        assert np.array_equal(leading(stored, raw, width), numbers >> below << below)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, (1 << 17) - 1, (1 << 17) + 9, 300_001])
def test_odd_counts_come_back(count: int) -> None:
    """Numbers that do not fill a byte of bits, or go over the tiles that are worked on."""
    raw = noise(count, 4).tobytes()
    for bits in (8, 13, 27):
        stored, low = planes.split(raw, 4, bits)
        assert decode(PLANES, stored, len(raw), low) == raw


@given(
    width=st.sampled_from([2, 4, 8]),
    count=st.integers(1, 40),
    bits=st.integers(1, 63),
    more=st.integers(0, 64),
    source=st.randoms(use_true_random=False),
)
def test_the_beginning_of_a_low_chunk_gives_more_bits(
    width: int, count: int, bits: int, more: int, source: Any
) -> None:
    """As many bytes as ``low_size`` says give at least that many bits more, and no wrong one."""
    bits, raw = 1 + bits % (8 * width - 1), source.randbytes(count * width)
    stored, low = planes.split(raw, width, bits)
    low_bits = 8 * width - bits
    more = min(more, low_bits)
    beginning = low[: planes.low_size(count, low_bits, more)]
    found = planes.planes_of(beginning, count, low_bits)
    known = bits + sum(plane.bits for plane in found)
    assert bits + more <= known < bits + more + 8
    numbers = np.empty(count, f"<u{width}")
    target = numbers.view(np.uint8).data
    planes.merge([*planes.leading_of(stored, len(raw))[2], *found], target, width)
    exact = np.frombuffer(raw, f"<u{width}")
    mask = np.array(((1 << known) - 1) << (8 * width - known), numbers.dtype)
    assert np.array_equal(numbers, exact & mask)


@pytest.mark.parametrize("size", [1, 999, 2990])
def test_a_low_chunk_is_cut_and_put_together(size: int) -> None:
    """The first bytes of a low chunk and the lower chunk give the whole."""
    low = planes.split(weights(1000), 4, 8)[1]
    stored, lower = planes.cut(low, size)
    assert planes.is_cut(stored)
    assert bytes(planes.first_of(stored, len(low))) == low[:size]
    assert lower == low[size:]
    assert decode(PLANES, stored, len(low), lower) == low


def test_leading_bits_lie_as_specified() -> None:
    """Planes of eight bits, then the low chunk's single bits, then its bytes."""
    raw = struct.pack("<3I", 0xABCDEF12, 0x00FF00FF, 0x80000001)
    stored, low = planes.split(raw, 4, 12)
    assert stored[:16] == struct.pack("<HHIII", 4, 12, 3, 3, 3)
    assert stored[16:].hex(" ", 3) == "ab0080 c0f000"
    # Of the 20 low bits four are single: d, f, 0 one bit a plane, eight elements to a byte.
    assert low.hex(" ", 1) == "c0 c0 40 c0 ef 00 00 12 ff 01"


def test_weights_shrink_in_their_leading_bits_alone() -> None:
    """The sign and exponent take half of their bits; the mantissa stays as it is."""
    raw = weights()
    stored, low = planes.split(raw, 4, 8)
    assert len(stored) < 0.5 * len(raw) / 4
    assert len(low) == len(raw) * 3 // 4
    stored, _ = planes.cut(low, len(raw) // 4)
    assert len(stored) == 12 + len(raw) // 4


@pytest.mark.parametrize("change", [-1, 1, 8])
def test_a_base_of_another_size_is_corrupt(change: int) -> None:
    """A low chunk that is too short or too long is refused, in both forms."""
    raw = weights(1000)
    stored, low = planes.split(raw, 4, 8)
    with pytest.raises(CorruptError, match="needs a base of 3000 bytes"):
        decode(PLANES, stored, len(raw), low[:change] if change < 0 else low + bytes(change))
    first, lower = planes.cut(low, 1000)
    with pytest.raises(CorruptError, match="has 1000 bytes before"):
        decode(PLANES, first, len(low), lower[:change] if change < 0 else lower + bytes(change))


@pytest.mark.parametrize(
    ("header", "raw_size", "match"),
    [
        (struct.pack("<HHI", 1, 4, 8), 8, "has 4 bits of 8 numbers of 1"),
        (struct.pack("<HHI", 3, 4, 8), 24, "not of 1, 2, 4 or 8"),
        (struct.pack("<HHI", 4, 0, 8), 32, "has 0 bits"),
        (struct.pack("<HHI", 4, 32, 8), 32, "has 32 bits"),
        (struct.pack("<HHI", 4, 65535, 8), 32, "has 65535 bits"),
        (struct.pack("<HHI", 4, 8, 9), 32, "of 9 numbers"),
        (struct.pack("<HHI", 4, 8, 1 << 31), 32, "of 2147483648 numbers"),
        (struct.pack("<HHI", 0, 1, 8), 32, "has 8 first bytes of 32"),
        (struct.pack("<HHI", 0, 0, 0), 32, "has 0 first bytes"),
        (struct.pack("<HHI", 0, 0, 32), 32, "has 32 first bytes"),
        (struct.pack("<HHI", 4, 8, 8), 32, "ends before its planes"),
        (struct.pack("<HHII", 4, 8, 8, 9) + bytes(8), 32, "has planes of"),
        (struct.pack("<HHII", 4, 8, 8, 7) + bytes(7), 32, "zstd"),
        (struct.pack("<HHII", 4, 3, 8, 8) + b"\xe1" * 8, 32, "more than its 3 bits"),
        (b"\4\0\10", 32, "has no header"),
        (struct.pack("<HHII", 4, 8, CHUNK // 4 + 1, 8), CHUNK + 4, "at most 4194304"),
    ],
)
def test_hostile_headers_are_corrupt(header: bytes, raw_size: int, match: str) -> None:
    """Numbers that fit nothing are refused before anything is decoded, in little memory."""
    base = bytes(24)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError, match=match):
            decode(PLANES, header, raw_size, base)
        # The target itself, which the caller makes, is counted too.
        assert tracemalloc.get_traced_memory()[1] < 2 * CHUNK
    finally:
        tracemalloc.stop()


def test_one_form_is_not_read_as_the_other() -> None:
    """First bytes are no leading bits, and leading bits no first bytes."""
    raw = weights(1000)
    stored, low = planes.split(raw, 4, 8)
    first, _ = planes.cut(low, 10)
    with pytest.raises(CorruptError, match="elements of 0 bytes"):
        planes.leading_of(first, len(low))
    with pytest.raises(CorruptError, match="first bytes of 4000"):
        planes.first_of(stored, len(raw))


def test_encode_finds_out_how_many_bits_by_the_base() -> None:
    """The low chunk of any split makes the entry of that split; what is none makes nothing."""
    raw = weights(1000)
    for bits in (5, 8, 21):
        stored, low = planes.split(raw, 4, bits)
        assert planes.encode(raw, Layout(4), low) == stored
        assert planes.encode(raw, Layout(4), bytes(len(low))) is None
    assert planes.encode(raw, Layout(4), raw) is None
    assert planes.encode(raw[:-1], Layout(4), planes.split(raw, 4, 8)[1]) is None
    assert planes.encode(raw, Layout(1), b"") is None

"""Codecs on numbers: how small, how the bytes lie, and which hostile ones are refused."""

import random
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest

from mstore.codecs import (
    DELTA_PCO,
    PCO,
    SPARSE,
    SPLIT_FLOAT,
    Layout,
    _groups,
    _pcodec,
    codec,
    decode,
    delta_pco,
    pco,
    sparse,
    split_float,
)
from mstore.errors import CorruptError, UnsupportedError

COUNT = 200_000


def floats(dtype: str, count: int = COUNT) -> np.ndarray[Any, Any]:
    """Weights as a layer has them, as the unsigned integers of their bits; "bf16" as well."""
    values = np.random.default_rng(7).normal(0, 0.02, count)
    if dtype == "bf16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    return values.astype(dtype).view(f"<u{dtype[-1]}")


def moved(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """bf16 numbers after a step of training: each moved by about as much, small ones visibly."""
    values = (numbers.astype("<u4") << 16).view("<f4")
    step = np.random.default_rng(8).normal(0, 2e-5, len(values)).astype("<f4")
    return ((values + step).view("<u4") >> 16).astype("<u2")


def size(
    code: int, raw: bytes, width: int, base: bytes | None = None, *, small: bool = False
) -> float:
    """Stored over raw."""
    stored = codec(code).encode(raw, Layout(width, small=small), base)
    assert stored is not None
    return len(stored) / len(raw)


@pytest.mark.parametrize(("dtype", "most"), [("bf16", 0.68), ("<f2", 0.86), ("<f4", 0.84)])
def test_split_float_takes_the_exponents_alone(dtype: str, most: float) -> None:
    """Gaussian weights shrink to what their exponents and the sign leave of them."""
    raw = floats(dtype).tobytes()
    assert size(SPLIT_FLOAT, raw, int(dtype[-1]) if dtype != "bf16" else 2) < most


def test_floats_that_came_from_bf16_lose_their_dead_planes() -> None:
    """fp32 numbers with 16 zero bits below take half of what the bf16 ones take."""
    wide = (floats("bf16").astype("<u4") << 16).tobytes()
    assert size(SPLIT_FLOAT, wide, 4) < 0.34


def test_split_float_lays_planes_out_as_specified() -> None:
    """A plane has one byte of each element; the sign is beside the mantissa's highest bits."""
    raw = struct.pack("<100I", *[0b1_10000001_0000011_0000_0000_0000_0001] * 100) + b"xyz"
    stored = split_float.encode(raw, Layout(4))
    assert stored is not None
    width, *sizes = struct.unpack_from("<I4I", stored)
    assert width == 4
    assert len(stored) == 20 + sum(sizes) + 3
    assert stored[-3:] == b"xyz"
    plain = struct.pack("<I4I", 4, 100, 100, 100, 100)
    plain += b"\1" * 100 + b"\0" * 100 + bytes([0b10000011]) * 100 + bytes([0b10000001]) * 100
    assert decode(SPLIT_FLOAT, plain + b"xyz", 403) == raw


def test_noise_stays_raw() -> None:
    """Bytes without any pattern are not encoded by a codec that has no base."""
    noise = random.Random(3).randbytes(100_000)
    for width in (1, 2, 4, 8):
        assert split_float.encode(noise, Layout(width)) is None
        assert pco.encode(noise, Layout(width)) is None


@pytest.mark.parametrize("code", [SPLIT_FLOAT, PCO, DELTA_PCO, SPARSE])
def test_what_is_no_chunk_is_not_encoded(code: int) -> None:
    """Less than one element, more than 4 MiB, and an unheard-of width stay raw."""
    for raw, width in ((b"", 4), (b"abc", 4), (bytes((4 << 20) + 1), 1), (bytes(300), 3)):
        assert codec(code).encode(raw, Layout(width), raw) is None
    with pytest.raises(CorruptError, match="at most 4194304"):
        decode(code, bytes(100), (4 << 20) + 1, b"")


def test_groups_make_a_delta_smaller() -> None:
    """Where small weights move and large ones stay, coding them apart saves an eighth."""
    base = floats("bf16")
    raw = moved(base).tobytes()
    plain = size(DELTA_PCO, raw, 2, base.tobytes())
    grouped = size(DELTA_PCO, raw, 2, base.tobytes(), small=True)
    assert grouped < plain * 7 / 8


def test_groups_are_left_out_where_they_do_not_pay() -> None:
    """Changes that have nothing to do with the base's size are one group."""
    base = floats("bf16")
    raw = (base ^ np.random.default_rng(5).integers(0, 2, COUNT).astype("<u2")).tobytes()
    for small in (False, True):
        stored = delta_pco.encode(raw, Layout(2, small=small), base.tobytes())
        assert stored is not None
        assert struct.unpack_from("<HH", stored) == (2, 1)


def test_groups_come_from_the_base_alone() -> None:
    """With another base the groups have other sizes, and the entry is called corrupt."""
    base = floats("bf16")
    stored = delta_pco.encode(moved(base).tobytes(), Layout(2, small=True), base.tobytes())
    assert stored is not None
    assert 1 < struct.unpack_from("<HH", stored)[1] <= _groups.MAX_GROUPS
    with pytest.raises(CorruptError, match="too few differences"):
        decode(DELTA_PCO, stored, 2 * COUNT, bytes(2 * COUNT))


def test_a_grown_tensor_deltas_its_common_part() -> None:
    """Rows added at the end cost what they hold, and the others cost next to nothing."""
    base = floats("<f4", 30_000).tobytes()
    raw = base + floats("<f4", 1_000).tobytes()
    for code in (DELTA_PCO,):
        stored = codec(code).encode(raw, Layout(4), base)
        assert stored is not None
        assert len(stored) < 8_000
        assert decode(code, stored, len(raw), base) == raw


@pytest.mark.parametrize("code", [DELTA_PCO, SPARSE])
def test_rows_of_another_length_are_matched(code: int) -> None:
    """A head that got a column more is predicted row by row."""
    base = floats("<f4", 300 * 99).reshape(300, 99)
    wider = np.zeros((300, 100), "<u4")
    wider[:, :99] = base
    raw = wider.tobytes()
    stored = codec(code).encode(raw, Layout(4, 400, 396), base.tobytes())
    assert stored is not None
    assert len(stored) < 100
    assert decode(code, stored, len(raw), base.tobytes()) == raw


@pytest.mark.parametrize(("every", "most"), [(5000, 0.0003), (1000, 0.0012), (100, 0.0085)])
def test_sparse_takes_few_changes_for_little(every: int, most: float) -> None:
    """A changed bf16 weight takes about as many bits as it takes to say where it is and how."""
    base = floats("bf16", 1 << 20)
    source = np.random.default_rng(4)
    changes = (source.random(1 << 20) < 1 / every) * source.choice([-1, 1], 1 << 20)
    raw = (base + changes).astype("<u2").tobytes()
    sparse_size = size(SPARSE, raw, 2, base.tobytes())
    assert sparse_size < most
    assert every < 5000 or sparse_size < size(DELTA_PCO, raw, 2, base.tobytes())


def test_sparse_leaves_many_changes_to_others() -> None:
    """More than one changed element in fifty is another codec's."""
    base = floats("bf16")
    for every, taken in ((60, True), (45, False)):
        raw = base.copy()
        raw[::every] += 1
        assert bool(sparse.encode(raw.tobytes(), Layout(2), base.tobytes())) == taken


def stream(meta: bytes, page: bytes = b"", major: int = 4) -> bytes:
    """A pco stream of our own making."""
    return struct.pack("<BBI", major, 1, len(meta)) + meta + page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (stream(b""), "0 bytes"),
        (stream(b"\x04" + bytes(40)), "the mode 4"),
        (stream(b"\x20\xff" + bytes(40)), "the delta 2"),
        (stream(bytes(3)), "cannot be decoded"),
        (stream(bytes(3), major=3), "format 3"),
        (struct.pack("<BBI", 4, 1, 1 << 31) + bytes(9), "2147483648 bytes, and 9 follow"),
    ],
    ids=["empty", "no metadata", "dictionary", "window", "zeros", "older", "cut"],
)
def test_a_hostile_stream_is_refused(content: bytes, message: str) -> None:
    """What pcodec would read, but could ask for memory or lacks its end, never reaches it."""
    with pytest.raises(CorruptError, match=message):
        _pcodec.decompress_into(content, np.empty(1000, "<u4"))


def test_a_later_format_of_pco_is_unsupported() -> None:
    """A stream of pco's next format is not called corrupt."""
    with pytest.raises(UnsupportedError, match="format 5"):
        _pcodec.decompress_into(stream(bytes(9), major=5), np.empty(10, "<u4"))


def test_a_panic_is_corruption() -> None:
    """What Rust throws is no Exception, and is translated all the same; Ctrl-C is not."""
    panic = type("PanicException", (BaseException,), {})

    def fail(error: type[BaseException]) -> None:
        raise error

    with pytest.raises(CorruptError, match="cannot be decoded"):
        _pcodec._call(lambda: fail(panic))
    with pytest.raises(KeyboardInterrupt):
        _pcodec._call(lambda: fail(KeyboardInterrupt))


def delta(width: int = 4, groups: int = 1, rows: tuple[int, int] = (0, 0), *table: int) -> bytes:
    """The head of a delta-pco entry."""
    return struct.pack(f"<HHII{len(table)}I", width, groups, *rows, *table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (delta(3), "elements of 3 bytes"),
        (delta(4, 1, (4, 0)), "rows of 4 bytes and its base rows of 0"),
        (delta(4, 0), "the groups"),
        (delta(4, 5, (0, 0), *[0, 25, 1] * 5), "the groups"),
        (delta(4, 65535), "ends before its streams"),
        (delta(4, 1, (0, 0), 1, 25, 0), "the groups"),
        (delta(4, 1, (0, 0), 0, 24, 0), "the groups"),
        (delta(4, 1, (0, 0), 0, 25, 9), "the groups"),
        (delta(4, 2, (0, 0), 0, 25, 0, 256, 0, 0), "the groups"),
        (delta(1, 2, (0, 0), 0, 100, 0, 5, 0, 0), "the groups"),
        (delta(4, 2, (0, 0), 0, 25, 0, 0, 0, 0), "the groups"),
    ],
)
def test_a_hostile_delta_is_refused(content: bytes, message: str) -> None:
    """Widths, rows and tables of groups are held against the payload before anything is read."""
    with pytest.raises(CorruptError, match=message):
        decode(DELTA_PCO, content, 100, bytes(100))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((4, 24, 0, 0, 0, 0), "24 elements"),
        ((4, 25, 0, 0, 4, 0), "changes 4 of 25"),
        ((4, 25, 0, 0, 3, 1), "changes 3 of 25"),
        ((5, 25, 0, 0, 0, 0), "elements of 5"),
        ((4, 25, 1, 0, 0, 0), "rows of 1"),
    ],
)
def test_a_hostile_sparse_entry_is_refused(numbers: tuple[int, ...], message: str) -> None:
    """Counts beyond the payload, widths and rows are refused before anything is read."""
    with pytest.raises(CorruptError, match=message):
        decode(SPARSE, struct.pack("<6I", *numbers), 100, bytes(100))


def test_a_sparse_change_beyond_the_end_is_refused() -> None:
    """Gaps that lead behind the last element are refused."""
    gaps = _pcodec.compress(np.array([90, 9], "<u4"))
    values = _pcodec.compress(np.array([1, 1], "<u4"))
    head = struct.pack("<6I", 4, 100, 0, 0, 2, len(gaps))
    with pytest.raises(CorruptError, match="element 100 of 100"):
        decode(SPARSE, head + gaps + values, 400, bytes(400))


@pytest.mark.parametrize("code", [SPLIT_FLOAT, PCO, DELTA_PCO, SPARSE])
def test_hostile_entries_take_no_memory(code: int) -> None:
    """Entries of random bytes behind a right head are refused, for less than 64 MB."""
    base = floats("<f4").tobytes()
    raw = bytearray(base)
    raw[:400:4] = bytes(100)
    stored = codec(code).encode(bytes(raw), Layout(4, small=True), base)
    assert stored is not None
    source = random.Random(code)
    tracemalloc.start()
    for _ in range(50):
        keep = source.randrange(60)
        hostile = stored[:keep] + source.randbytes(len(stored) - keep)
        try:
            decode(code, hostile, len(raw), base)
        except (CorruptError, UnsupportedError):
            continue
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20

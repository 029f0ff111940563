"""The walk over msgpack that is not decoded yet."""

import contextlib
import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError
from mstore.format.bounds import (
    MAX_DEPTH,
    MAX_VALUES,
    check_map,
    check_value,
    is_canonical_float,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def walk(content: bytes) -> None:
    """Walk ``content`` as a field named "field"."""
    check_value(memoryview(content), "field")


def nested(depth: int) -> bytes:
    """One nil in ``depth`` arrays."""
    return b"\x91" * depth + b"\xc0"


@given(JSON)
def test_json_passes(value: object) -> None:
    """Every JSON value passes, whatever form its lengths take."""
    walk(msgspec.msgpack.encode(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_cleanly(content: bytes) -> None:
    """Bytes that are not JSON in msgpack raise CorruptError and nothing else."""
    with contextlib.suppress(CorruptError):
        walk(content)


def test_depth_is_bounded() -> None:
    """The deepest allowed nesting passes, one level more does not."""
    walk(nested(MAX_DEPTH))
    with pytest.raises(CorruptError, match="more than 16 levels"):
        walk(nested(MAX_DEPTH + 1))


def test_a_million_levels_cost_nothing() -> None:
    """A bomb of nested arrays is refused at its seventeenth byte."""
    with pytest.raises(CorruptError, match="levels"):
        walk(nested(1_000_000))


def test_count_is_bounded() -> None:
    """As many values as allowed pass, one more does not."""
    walk(msgspec.msgpack.encode([0] * (MAX_VALUES - 1)))
    with pytest.raises(CorruptError, match="100000 values"):
        walk(msgspec.msgpack.encode([0] * MAX_VALUES))


def test_maps_are_counted_alike() -> None:
    """A map may have as many values by its head alone as it may have when it is walked."""
    most = (MAX_VALUES - 1) // 2
    for count in (0, 15, 16, most, most + 1):
        content = memoryview(msgspec.msgpack.encode(dict.fromkeys(map(str, range(count)), 0.5)))
        for check in (check_map, check_value):
            refused = pytest.raises(CorruptError, match="100000") if count > most else None
            with refused or contextlib.nullcontext():
                check(content, "field")


@given(st.binary(max_size=20))
def test_any_head_is_refused_cleanly(content: bytes) -> None:
    """Bytes that begin no map of one type raise CorruptError and nothing else."""
    with contextlib.suppress(CorruptError):
        check_map(memoryview(content), "field")


@pytest.mark.parametrize("length", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdc\xff"])
def test_a_promised_length_is_not_believed(length: bytes) -> None:
    """A container that promises more than follows ends in an error, not in memory."""
    with pytest.raises(CorruptError, match="in the middle"):
        walk(length)


@pytest.mark.parametrize(
    "content",
    [b"\xc4\x01a", b"\xd4\x01a", b"\xc7\x01\x05a", b"\xca\0\0\0\0", b"\xc1", b"\xd6\xff\0\0\0\0"],
    ids=["binary", "extension", "long extension", "float32", "unused", "timestamp"],
)
def test_what_is_not_json_is_refused(content: bytes) -> None:
    """Binary, extensions, times and 32-bit floats are not JSON, alone and in a map."""
    for before in (b"", b"\x81\xa1a", b"\x82\xa1a\x01\xa1b"):
        with pytest.raises(CorruptError, match="is not JSON"):
            walk(before + content)


def test_keys_are_strings() -> None:
    """A map with a number for a key is refused."""
    with pytest.raises(CorruptError, match="not a string"):
        walk(b"\x81\x01\x02")


def test_one_nan_only() -> None:
    """The quiet NaN without sign or payload passes, every other one does not."""
    walk(b"\xcb\x7f\xf8" + bytes(6))
    walk(b"\xcb\x7f\xf0" + bytes(6))
    walk(b"\xcb\xff\xf0" + bytes(6))
    for bits in (b"\xff\xf8", b"\x7f\xf9", b"\x7f\xf1"):
        with pytest.raises(CorruptError, match="NaN"):
            walk(b"\xcb" + bits + bytes(6))


def test_canonical_floats() -> None:
    """Numbers, infinities and the usual NaN are canonical; a negative NaN is not."""
    assert all(is_canonical_float(number) for number in (0.0, -0.0, math.inf, math.nan))
    assert not is_canonical_float(struct.unpack(">d", b"\xff\xf8" + bytes(6))[0])

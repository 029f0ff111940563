"""The parser of bundles: headers, manifests and where packs lie."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.bundle import (
    HEADER_SIZE,
    MAX_MANIFEST,
    PACK_ALIGNMENT,
    TRAILER_SIZE,
    Header,
    Manifest,
    OfferedRef,
    PackSpan,
    Prerequisite,
    check_layout,
    decode_header,
    decode_manifest,
    encode_header,
    encode_manifest,
    pack_offsets,
)
from mstore.format.slots import Row

ids = st.binary(min_size=32, max_size=32)
rows = st.builds(Row, st.integers(1, 99), ids, st.sampled_from(["kept", "stripped", "deleted"]))
tables = st.lists(rows, max_size=5, unique_by=lambda row: row.number).map(
    lambda found: tuple(sorted(found, key=lambda row: row.number))
)
names = st.sampled_from(["lenet", "team/other", "a", "b.c"])
heads = st.builds(OfferedRef, st.just("heads"), names, tables)
tags = st.builds(
    OfferedRef,
    st.just("tags"),
    names,
    st.tuples(st.builds(Row, st.just(1), ids, st.just("kept"))),
)
refs = st.lists(heads | tags, max_size=5, unique_by=lambda ref: (ref.namespace, ref.name)).map(
    lambda found: tuple(sorted(found, key=lambda ref: (ref.namespace, ref.name)))
)
spans = st.builds(PackSpan, ids.map(bytes.hex), st.integers(1, 1 << 40))
manifests = st.builds(
    Manifest,
    source=st.binary(min_size=16, max_size=16).map(bytes.hex),
    time=st.integers(0, 1 << 60),
    refs=refs,
    prerequisites=st.lists(st.builds(Prerequisite, st.text(max_size=9), ids), max_size=3).map(
        tuple
    ),
    packs=st.lists(spans, max_size=4, unique_by=lambda span: span.name).map(tuple),
)

PLAIN = Manifest(source="0" * 32, time=0)


@given(manifests)
def test_manifest_round_trip(manifest: Manifest) -> None:
    """What was encoded is decoded to the same."""
    assert decode_manifest(encode_manifest(manifest)) == manifest


@given(st.binary(max_size=300))
def test_any_bytes_are_no_manifest(content: bytes) -> None:
    """Arbitrary bytes raise CorruptError or UnsupportedError."""
    with pytest.raises((CorruptError, UnsupportedError)):
        decode_manifest(content)


@given(manifests, st.data())
def test_a_changed_manifest_is_refused_or_canonical(manifest: Manifest, draw: Any) -> None:
    """A flipped bit gives an error or another manifest with exactly these bytes."""
    content = bytearray(encode_manifest(manifest))
    at = draw.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found = decode_manifest(bytes(content))
    except (CorruptError, UnsupportedError):
        return
    assert encode_manifest(found) == content


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "x" * 32},
        {"time": -1},
        {"refs": (OfferedRef("heads", "a", (Row(1 << 33, bytes(32), "kept"),)),)},
        {"refs": (OfferedRef("heads", "../up", ()),)},
        {"refs": (OfferedRef("tags", "a", ()),)},
        {"refs": (OfferedRef("heads", "b", ()), OfferedRef("heads", "a", ()))},
        {"refs": (OfferedRef("heads", "a", ()), OfferedRef("heads", "a", ()))},
        {"refs": (OfferedRef("heads", "a", (Row(0, bytes(32), "kept"),)),)},
        {"refs": (OfferedRef("heads", "a", (Row(1, bytes(31), "kept"),)),)},
        {"prerequisites": (Prerequisite("a", b"short"),)},
        {"packs": (PackSpan("0" * 63, 9),)},
        {"packs": (PackSpan("0" * 64, 0),)},
        {"packs": (PackSpan("0" * 64, 9), PackSpan("0" * 64, 9))},
    ],
    ids=str,
)
def test_rules_of_a_manifest(changed: dict[str, Any]) -> None:
    """What breaks a rule is neither written nor read."""
    broken = msgspec.structs.replace(PLAIN, **changed)
    with pytest.raises(InvalidInputError):
        encode_manifest(broken)
    with pytest.raises(CorruptError):
        decode_manifest(msgspec.msgpack.encode(broken))


def test_unknown_fields_are_unsupported() -> None:
    """A manifest with a field of a later version is told from a damaged one."""
    content = msgspec.msgpack.encode({**msgspec.to_builtins(PLAIN), "zeal": 1})
    with pytest.raises(UnsupportedError, match="zeal"):
        decode_manifest(content)


def test_manifest_has_one_form() -> None:
    """The same fields in another order are refused."""
    fields = msgspec.structs.asdict(PLAIN)
    content = msgspec.msgpack.encode(dict(reversed(fields.items())))
    with pytest.raises(CorruptError, match="canonical"):
        decode_manifest(content)


def test_deep_nesting_is_refused() -> None:
    """Arrays in arrays end in an error, not in a stack overflow."""
    with pytest.raises(CorruptError):
        decode_manifest(b"\x91" * 100_000)


@given(st.integers(0, 1000), st.integers(0, 1 << 40))
def test_header_round_trip(manifest_size: int, rest: int) -> None:
    """The lengths come back as they were written."""
    header = Header(manifest_size, HEADER_SIZE + manifest_size + TRAILER_SIZE + rest)
    assert decode_header(encode_header(header), header.file_size) == header


@given(st.binary(max_size=64), st.integers(0, 1 << 64))
def test_any_bytes_are_no_header(head: bytes, size: int) -> None:
    """Arbitrary bytes raise CorruptError."""
    with pytest.raises(CorruptError):
        decode_header(head, size)


@pytest.mark.parametrize(
    ("header", "size", "told"),
    [
        (Header(0, 100), 99, "has 99 bytes, its header says 100"),
        (Header(37, 100), 100, "manifest of 37 bytes"),
        (Header(MAX_MANIFEST + 1, 1 << 40), 1 << 40, "larger than allowed"),
    ],
)
def test_lengths_are_checked_before_use(header: Header, size: int, told: str) -> None:
    """A length beyond the file or the limit is refused."""
    with pytest.raises(CorruptError, match=told):
        decode_header(encode_header(header), size)


def test_unused_bytes_are_zero() -> None:
    """Anything in the last eight bytes of the header is refused."""
    head = bytearray(encode_header(Header(0, 64)))
    head[-1] = 1
    with pytest.raises(CorruptError, match="not in zero"):
        decode_header(bytes(head), 64)


@given(manifests)
def test_packs_are_aligned_and_in_order(manifest: Manifest) -> None:
    """Packs start on pages, one after another, and the trailer follows the last."""
    size = len(encode_manifest(manifest))
    offsets, end = pack_offsets(size, manifest.packs)
    assert all(offset % PACK_ALIGNMENT == 0 for offset in offsets)
    at = HEADER_SIZE + size
    for offset, pack in zip(offsets, manifest.packs, strict=True):
        assert 0 <= offset - at < PACK_ALIGNMENT
        at = offset + pack.size
    assert end == at
    assert check_layout(Header(size, end + TRAILER_SIZE), manifest) == offsets
    with pytest.raises(CorruptError, match="its manifest says"):
        check_layout(Header(size, end + TRAILER_SIZE + 1), manifest)

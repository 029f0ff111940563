"""Packs: header, index rows, trailer."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.errors import CorruptError, InvalidInputError, UnsupportedError
from mstore.format.objects import MAX_TREE
from mstore.format.pack import (
    ALIGNMENT,
    HEADER,
    HEADER_SIZE,
    MAX_ROWS,
    PAGE,
    PAGE_FROM,
    ROW_SIZE,
    TRAILER_SIZE,
    Entry,
    align,
    check_header,
    decode_index,
    decode_trailer,
    encode_index,
    find_row,
    pack_name,
    row_id,
    stored_check,
    unpack_row,
)
from mstore.ids import Kind, ObjectId, hash_chunk
from mstore.objects import CHUNK_SIZE

CHECK = b"checksum"
BASE = hash_chunk(b"base")


def entry(number: int, offset: int, size: int = 10, **fields: object) -> Entry:
    """A raw chunk, changed by ``fields``."""
    made = Entry(hash_chunk(b"%d" % number), Kind.CHUNK, 0, offset, size, size)
    return made._replace(**fields)


def coded(number: int, offset: int, base: ObjectId | None = None) -> Entry:
    """A chunk of 100 bytes, stored as 10 under codec 1."""
    return entry(number, offset, codec=1, raw_size=100, check=CHECK, base=base)


@st.composite
def packs(draw: st.DrawFn) -> list[Entry]:
    """Entries as a writer would lay them out, in the order of their offsets."""
    entries, position = [], HEADER_SIZE
    for number in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(list(Kind)))
        stored = draw(st.sampled_from([1, 63, 64, 100, PAGE_FROM, PAGE_FROM + 1, (1 << 20) - 1]))
        codec = draw(st.integers(0, 3))
        offset = align(position, stored, codec == 0 and kind is Kind.CHUNK)
        oid = hash_chunk(b"%d" % number)
        if codec:
            base = draw(st.none() | st.just(BASE))
            entries.append(Entry(oid, kind, codec, offset, stored, stored + 1, CHECK, base))
        else:
            entries.append(Entry(oid, kind, codec, offset, stored, stored))
        position = offset + stored
    return entries


def end_of(entries: list[Entry]) -> int:
    """Where the index section of these entries starts."""
    return max((item.offset + item.stored_size for item in entries), default=HEADER_SIZE)


TWO = [entry(1, 64), coded(2, 128, BASE)]
INDEX = encode_index(TWO)
START = end_of(TWO)


@given(packs())
def test_round_trip(entries: list[Entry]) -> None:
    """What is written is read back in the order of the ids, whole or row by row."""
    index = encode_index(reversed(entries))
    expected = sorted(entries)
    assert expected == decode_index(index, end_of(entries))
    assert expected == decode_index(memoryview(index), end_of(entries))
    assert expected == [unpack_row(memoryview(index), place) for place in range(len(entries))]


@given(packs())
def test_equal_entries_have_equal_bytes(entries: list[Entry]) -> None:
    """The index does not depend on the order in which entries are given."""
    assert encode_index(entries) == encode_index(entries[::-1])


@given(packs(), st.integers(), st.integers(1, 255))
def test_a_changed_index_has_another_name(entries: list[Entry], place: int, mask: int) -> None:
    """A changed index is refused or at least no longer fits the name of its pack."""
    index = encode_index(entries)
    changed = bytearray(index)
    changed[place % len(index)] ^= mask
    assert pack_name(index) != pack_name(bytes(changed))
    with contextlib.suppress(CorruptError, UnsupportedError):
        decode_index(bytes(changed), end_of(entries))


@given(st.binary(max_size=300), st.integers(0, 1 << 64))
def test_any_bytes_are_refused_cleanly(content: bytes, offset: int) -> None:
    """Arbitrary bytes raise CorruptError or UnsupportedError and nothing else."""
    with contextlib.suppress(CorruptError, UnsupportedError):
        decode_index(content, offset)
    with contextlib.suppress(CorruptError):
        decode_trailer(content[-TRAILER_SIZE:], offset)
    with contextlib.suppress(CorruptError, UnsupportedError):
        check_header(content)


@given(packs().filter(bool), st.integers(0, 7))
def test_rows_are_found_by_id(entries: list[Entry], number: int) -> None:
    """Binary search finds the row of an id and of its prefix, and the place where one would be."""
    index = encode_index(entries)
    count = len(entries)
    chosen = entries[number % count].id
    place = find_row(index, count, chosen)
    assert row_id(index, place) == chosen
    assert find_row(index, count, chosen[:8]) == place
    assert find_row(index, count, bytes(32)) == 0
    assert find_row(index, count, b"\xff" * 32) == count


def test_header() -> None:
    """A pack starts with its magic and version; the rest of the file is not looked at."""
    assert len(HEADER) == HEADER_SIZE
    check_header(HEADER + b"anything")


@pytest.mark.parametrize("head", [b"", HEADER[:15], b"PK\3\4" + HEADER[4:], HEADER[:15] + b"x"])
def test_foreign_header_is_refused(head: bytes) -> None:
    """What starts otherwise is not a pack."""
    with pytest.raises(CorruptError, match="pack header"):
        check_header(head)


def test_newer_version_is_unsupported() -> None:
    """A pack of a later version is refused, and said to be newer."""
    with pytest.raises(UnsupportedError, match="version 2 is newer"):
        check_header(HEADER[:8] + b"\2" + HEADER[9:])


@pytest.mark.parametrize(
    ("offset", "size", "raw", "expected"),
    [
        (16, 10, True, 64),
        (64, 10, True, 64),
        (65, PAGE_FROM - 1, True, 128),
        (65, PAGE_FROM, True, PAGE),
        (65, PAGE_FROM, False, 128),
        (PAGE, CHUNK_SIZE, True, PAGE),
    ],
)
def test_alignment(offset: int, size: int, raw: bool, expected: int) -> None:  # noqa: FBT001 - a case's value
    """Large raw chunks start on a page, everything else on 64 bytes."""
    assert align(offset, size, raw) == expected


def test_check_is_the_start_of_the_hash() -> None:
    """The check of coded bytes is the start of what b3sum prints for them."""
    assert stored_check(b"stored") == hash_chunk(b"stored")[:8]


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (INDEX[-31:], "31 bytes"),
        (INDEX[-TRAILER_SIZE:-1] + b"?", "not the end of a pack"),
        (bytes(TRAILER_SIZE), "not the end of a pack"),
        (struct.pack("<QIIQ8s", START, 2, 1, 1, b"MSTOREPK"), "not the end of a pack"),
        (struct.pack("<QIIQ8s", START, 3, 1, 0, b"MSTOREPK"), "describes"),
        (struct.pack("<QIIQ8s", START, 2, 3, 0, b"MSTOREPK"), "over the limit"),
        (struct.pack("<QIIQ8s", START, MAX_ROWS + 1, 0, 0, b"MSTOREPK"), "over the limit"),
        (struct.pack("<QIIQ8s", 0, 2, 1, 0, b"MSTOREPK"), "describes"),
        (struct.pack("<QIIQ8s", (1 << 64) - 1, 2, 1, 0, b"MSTOREPK"), "describes"),
    ],
)
def test_bad_trailers_are_refused(last: bytes, reason: str) -> None:
    """A trailer that is short, foreign, or does not add up is refused."""
    with pytest.raises(CorruptError, match=reason):
        decode_trailer(last, START + len(INDEX))


def test_a_truncated_pack_is_refused() -> None:
    """A file of another size than the trailer says is no pack."""
    decode_trailer(INDEX[-TRAILER_SIZE:], START + len(INDEX))
    with pytest.raises(CorruptError, match="the file has"):
        decode_trailer(INDEX[-TRAILER_SIZE:], START + len(INDEX) - 1)


def test_index_stands_where_the_trailer_says() -> None:
    """An index section found elsewhere than its trailer says is refused."""
    moved = INDEX[:-TRAILER_SIZE] + struct.pack("<QIIQ8s", START + 32, 2, 0, 0, b"MSTOREPK")
    with pytest.raises(CorruptError, match=f"index at {START + 32}, not at {START}"):
        decode_index(moved, START)


def patched(place: int, offset: int, content: bytes) -> bytes:
    """The index of two entries with some bytes of one row replaced."""
    start = place * ROW_SIZE + offset
    return INDEX[:start] + content + INDEX[start + len(content) :]


RAW_ROW = 0 if unpack_row(INDEX, 0).codec == 0 else 1
CODED_ROW = 1 - RAW_ROW


@pytest.mark.parametrize(
    ("row", "offset", "content", "reason"),
    [
        (RAW_ROW, 40, b"\0\0\0\0", "sizes 0"),
        (RAW_ROW, 44, b"\x0b", "a raw entry"),
        (RAW_ROW, 50, b"\1", "unused bytes"),
        (RAW_ROW, 52, b"\1", "a raw entry"),
        (RAW_ROW, 56, b"\1", "a raw entry"),
        (RAW_ROW, 40, struct.pack("<II", CHUNK_SIZE + 1, CHUNK_SIZE + 1), "within 1 to"),
        (CODED_ROW, 44, struct.pack("<I", CHUNK_SIZE + 1), "within 1 to"),
        (CODED_ROW, 44, b"\x0a", "10 bytes stored for 10"),
        (CODED_ROW, 52, b"\2", "base 2 of 1"),
    ],
)
def test_bad_rows_are_refused(row: int, offset: int, content: bytes, reason: str) -> None:
    """Each rule of a row refuses what breaks it."""
    with pytest.raises(CorruptError, match=reason):
        decode_index(patched(row, offset, content), START)


def test_unknown_kind_is_unsupported() -> None:
    """A kind of a later format is refused, and said to be newer."""
    with pytest.raises(UnsupportedError, match="unknown kind 9"):
        decode_index(patched(0, 48, b"\x09"), START)


def test_unknown_codec_is_read() -> None:
    """A row may have a codec that this build lacks: what it holds is still known."""
    assert unpack_row(patched(CODED_ROW, 49, b"\xc8"), CODED_ROW).codec == 200


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry(1, 64), entry(1, 128)], "out of order or twice"),
        ([entry(1, 64), entry(2, 64)], "overlaps"),
        ([entry(1, 64, 65), entry(2, 128)], "overlaps"),
        ([entry(1, 0)], "cannot write a pack index"),
        ([entry(1, 65)], "not aligned"),
        ([entry(1, 64, PAGE_FROM)], "not aligned"),
        ([entry(1, 2 * PAGE)], "unused bytes before it"),
        ([entry(1, 64, raw_size=11)], "a raw entry"),
        ([entry(1, 64, check=CHECK)], "a raw entry"),
        ([entry(1, 64, codec=1)], "10 bytes stored for 10"),
        ([entry(1, 64, 0)], "sizes 0 and 0"),
        ([entry(1, 64, CHUNK_SIZE + 1)], "within 1 to"),
        ([coded(1, 64, hash_chunk(b"1"))], "its own base"),
        ([entry(1, -64)], "cannot write a pack index"),
        ([entry(1, 64, 1 << 33)], "cannot write a pack index"),
        ([coded(1, 64)._replace(check=b"longer than 8")], "a check is not 8 bytes"),
    ],
)
def test_wrong_entries_are_not_written(entries: list[Entry], reason: str) -> None:
    """What would not decode again is refused as the caller's mistake."""
    with pytest.raises(InvalidInputError, match=reason):
        encode_index(entries)


def test_objects_may_be_larger_than_chunks() -> None:
    """The size limit of a row is that of its kind."""
    large = Entry(BASE, Kind.TREE, 0, 64, MAX_TREE, MAX_TREE)
    assert decode_index(encode_index([large]), 64 + MAX_TREE) == [large]
    with pytest.raises(InvalidInputError, match="within 1 to"):
        encode_index([large._replace(stored_size=MAX_TREE + 1, raw_size=MAX_TREE + 1)])


def test_base_table_is_exact() -> None:
    """A base that no row uses is refused."""
    table = 2 * ROW_SIZE
    spare = INDEX[:table] + bytes(32) + INDEX[table : table + 32]
    spare += struct.pack("<QIIQ8s", START, 2, 2, 0, b"MSTOREPK")
    with pytest.raises(CorruptError, match="base table"):
        decode_index(spare, START)


def test_a_writer_never_needs_more_padding_than_a_page() -> None:
    """Entries laid out by ``align`` leave less than a page between them."""
    for size in (1, PAGE_FROM - 1, PAGE_FROM):
        for position in range(HEADER_SIZE, 2 * PAGE, 61):
            gap = align(position, size, raw=True) - position
            assert 0 <= gap < (PAGE if size >= PAGE_FROM else ALIGNMENT)

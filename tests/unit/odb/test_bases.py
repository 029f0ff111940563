"""The base of an entry is known without reading its pack again, wherever the row came from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mstore.backends.base import Backend
from mstore.backends.local import LocalBackend
from mstore.backends.memory import MemoryBackend
from mstore.errors import CorruptError, MstoreError
from mstore.format.pack import Entry, row_entry, stored_check
from mstore.ids import Kind, ObjectId, hash_chunk
from mstore.odb import ObjectDatabase
from mstore.odb.cache import CACHE_PREFIX
from mstore.odb.index import OBJECTS, ROLL_PACKS, Index
from mstore.odb.packing import OpenPack
from mstore.odb.segments import Copy, decode_segment, merge_rows

UNKNOWN_CODEC = 255
PACKS = ROLL_PACKS + 3
BASES = [hash_chunk(b"base %d" % at) for at in range(4)]
Answers = dict[ObjectId, ObjectId | None]


def based_pack(backend: Backend, name: str, bases: Sequence[ObjectId | None]) -> Answers:
    """A pack whose entries have these bases, and what the answer is for each entry."""
    pack, expected = OpenPack(backend), Answers()
    for at, base in enumerate(bases):
        oid, stored = hash_chunk(f"{name} {at}".encode()), b"stored"
        pack.add(
            Entry(oid, Kind.CHUNK, UNKNOWN_CODEC, 0, 6, 100, stored_check(stored), base), stored
        )
        expected[oid] = base
    pack.seal()
    return expected


def fill(backend: Backend) -> Answers:
    """Packs of three based entries and one without, each pack with bases of its own choice."""
    expected = Answers()
    for at in range(PACKS):
        chosen = [BASES[at % 4], None, BASES[(at + 1) % 4], BASES[at % 4]]
        expected |= based_pack(backend, str(at), chosen)
    return expected


def found(index: Index, expected: Answers) -> Answers:
    """What an index says of the bases of these objects."""
    answers = {oid: index.copies(oid) for oid in expected}
    return {oid: row_entry(copy.row, copy.base).base for oid, (copy,) in answers.items()}


def bases_found(odb: ObjectDatabase, expected: Answers) -> Answers:
    """What a database says of the bases of these objects."""
    places = {oid: odb.find(oid) for oid in expected}
    return {oid: place.entry.base for oid, place in places.items() if place is not None}


def cached(backend: Backend) -> list[str]:
    """The keys of what is cached."""
    return [item.key for item in backend.list(CACHE_PREFIX)]


def test_bases_are_read_with_the_index(backend: Backend) -> None:
    """The rows of packs read one by one come with the bases that their own tables name."""
    expected = based_pack(backend, "a", [*BASES, None]) | based_pack(backend, "b", BASES[2:])
    assert found(Index(backend), expected) == expected
    assert cached(backend) == []


def test_bases_are_kept_by_segments(backend: Backend) -> None:
    """The same answers come from packs, from the segment made of them, and from its file."""
    expected = fill(backend)
    index = Index(backend)
    assert found(index, expected) == expected
    assert len(cached(backend)) == 1
    again = Index(backend)
    assert found(again, expected) == expected
    assert again._loose_packs == {}


def test_bases_of_a_new_pack_are_known(backend: Backend) -> None:
    """A pack taken in by its writer has its bases at once."""
    index = Index(backend)
    index.open()
    expected = based_pack(backend, "new", [BASES[1], None, BASES[0]])
    (name,) = backend.names(OBJECTS)
    index.add(name, [copy.row for copy in Index(backend).span(bytes(32), b"\xff" * 32)])
    assert found(index, expected) == expected


def test_the_base_is_known_without_the_pack(tmp_path: Path) -> None:
    """Asking where an object lies and what it starts from reads no pack once there is a cache."""
    backend = LocalBackend(tmp_path / "store")
    backend.prepare()
    expected = fill(backend)
    ObjectDatabase(backend).refresh()
    for item in backend.list(OBJECTS):
        (tmp_path / "store" / item.key).write_bytes(b"")
    odb = ObjectDatabase(backend)
    assert bases_found(odb, expected) == expected


LIES: list[Callable[[bytes | None], bytes | None]] = [
    lambda base: None if base is None else bytes(32),
    lambda base: base and BASES[0],
    lambda _: None,
    lambda _: bytes(BASES[3]),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_cache_that_lies_about_bases_is_found_out(
    lie: Callable[[bytes | None], bytes | None],
) -> None:
    """When an object cannot be read, a base that is not the pack's own makes the cache go."""
    backend = MemoryBackend()
    expected = fill(backend)
    ObjectDatabase(backend).refresh()
    (key,) = cached(backend)
    honest = decode_segment(backend.read(key))
    liar = merge_rows(
        (name, [copy._replace(base=lie(copy.base)) for copy in copies])
        for name, copies in honest.by_pack().items()
    )
    backend.remove(key)
    backend.replace_cache(f"{CACHE_PREFIX}/{liar.name}", liar.encode())
    odb = ObjectDatabase(backend)
    for oid in expected:
        with pytest.raises(MstoreError):
            odb.read(oid)
    assert bases_found(odb, expected) == expected
    assert cached(backend) == [key]


def test_a_row_needs_the_base_it_names(backend: Backend) -> None:
    """A row that names a base is no entry without its id, nor one that names none with one."""
    based_pack(backend, "a", [BASES[0], None])
    rows = {copy.row: copy.base for copy in Index(backend).span(bytes(32), b"\xff" * 32)}
    for row, base in rows.items():
        assert row_entry(row, base).base == base
        with pytest.raises(CorruptError, match="base table"):
            row_entry(row, None if base else bytes(BASES[1]))


def test_a_segment_with_numbers_out_of_range_is_corrupt() -> None:
    """A row whose pack or base is not in its segment is refused, not taken for another."""
    copy = Copy("a.pack", bytes(64), bytes(BASES[0]))
    segment = merge_rows([("a.pack", [copy])])
    assert segment.find(bytes(32)) == [copy]
    (block,) = segment._blocks.values()
    for at in (64, 68):
        segment._blocks[0] = block[:at] + b"\2" + block[at + 1 :]
        with pytest.raises(CorruptError, match="names pack"):
            segment.find(bytes(32))

"""The merged indexes under ``cache/``: the same answers with them, without them and when torn."""

import random
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.backends.base import Backend
from mstore.backends.memory import MemoryBackend
from mstore.errors import CorruptError, NotFoundError
from mstore.ids import hash_chunk
from mstore.odb import ObjectDatabase
from mstore.odb.cache import CACHE_PREFIX
from mstore.odb.index import ROLL_PACKS, ROLL_ROWS, Index
from mstore.odb.segments import Copy, Segment, decode_segment, merge_rows

PACKS = ROLL_PACKS + 8
CHUNKS = [b"chunk %d" % at for at in range(3 * PACKS)]
ABSENT = [hash_chunk(b"absent %d" % at) for at in range(20)]
Publish = Callable[..., str]
Rewrite = Callable[[Backend, str, bytes], None]

rows = st.binary(min_size=64, max_size=64)
packs = st.dictionaries(
    st.integers(0, 999).map(lambda at: f"{at:064x}.pack"),
    st.lists(rows | st.sampled_from([bytes(64), b"\xff" * 64]), max_size=20, unique=True),
    max_size=8,
)


def segment_keys(backend: Backend) -> list[str]:
    """The keys of what is cached."""
    return [item.key for item in backend.list(CACHE_PREFIX)]


def fill(backend: Backend, publish: Publish, chunks: Iterable[bytes] = CHUNKS) -> None:
    """Write three chunks a pack, and leave no cache."""
    waiting = list(chunks)
    for start in range(0, len(waiting), 3):
        publish(backend, waiting[start : start + 3])
    for key in segment_keys(backend):
        backend.remove(key)


def answers(backend: Backend) -> list[object]:
    """What a newly opened store says of all that it has and some that it lacks."""
    odb = ObjectDatabase(backend)
    ids = [*map(hash_chunk, CHUNKS), *ABSENT]
    return [(odb.find(oid), odb.is_live(oid)) for oid in ids] + [odb.prefix(ids[0].hex()[:4])]


@given(packs)
def test_a_segment_finds_what_its_packs_have(content: dict[str, list[bytes]]) -> None:
    """A segment gives, for every id, each pack that has it with its row, and for others nothing."""
    segment = decode_segment(merge_rows(content.items()).encode())
    expected = [Copy(name, row) for name, rows in content.items() for row in rows]
    ids = {copy.row[:32] for copy in expected} | {bytes(32), b"\xff" * 32, bytes(range(32))}
    for oid in ids:
        assert sorted(segment.find(oid)) == sorted(c for c in expected if c.row[:32] == oid)
    assert {name: sorted(rows) for name, rows in segment.by_pack().items()} == {
        name: sorted(rows) for name, rows in content.items()
    }


@given(packs, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_span_is_what_lies_between(
    content: dict[str, list[bytes]], low: bytes, high: bytes
) -> None:
    """A span gives the rows from one id to another, both included, in order."""
    segment = merge_rows(content.items())
    expected = sorted(row for rows in content.values() for row in rows if low <= row[:32] <= high)
    assert [copy.row for copy in segment.span(low, high)] == expected


def test_large_segments_are_searched_by_where_ids_lie() -> None:
    """Among many hashes each one is found, and none that is not there."""
    ids = [hash_chunk(b"%d" % at) for at in range(20_000)]
    segment = merge_rows([("a.pack", (oid + bytes(32) for oid in ids))])
    assert all(segment.find(oid) == [Copy("a.pack", oid + bytes(32))] for oid in ids[::37])
    assert not any(segment.find(oid) for oid in ABSENT)


def test_every_changed_byte_of_a_segment_is_noticed() -> None:
    """A segment with any byte changed, or cut anywhere, is refused."""
    segment = merge_rows([(f"{at:064x}.pack", [bytes([at]) * 64]) for at in range(5)])
    content = segment.encode()
    assert decode_segment(content).encode() == content
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        for torn in (bytes(changed), content[:at]):
            with pytest.raises(CorruptError):
                decode_segment(torn)


@given(st.binary(max_size=200))
def test_garbage_is_no_segment(content: bytes) -> None:
    """Arbitrary bytes are refused as corrupt and in no other way."""
    with pytest.raises(CorruptError):
        decode_segment(content)


def test_few_packs_make_no_cache(backend: Backend, publish: Publish) -> None:
    """A store of few packs is quick without a cache and gets none."""
    fill(backend, publish, CHUNKS[:9])
    answers(backend)
    assert segment_keys(backend) == []


def test_many_packs_make_one_segment(backend: Backend, publish: Publish) -> None:
    """Opening a store of many packs leaves a segment, which the next opening reads instead."""
    fill(backend, publish)
    without = answers(backend)
    (key,) = segment_keys(backend)
    assert answers(backend) == without
    assert segment_keys(backend) == [key]
    index = Index(backend)
    index.open()
    assert index._loose_packs == {}


def test_many_rows_make_a_segment_too(backend: Backend, publish: Publish) -> None:
    """One pack of many objects is worth a segment by itself."""
    publish(backend, [b"%d" % at for at in range(ROLL_ROWS + 1)])
    assert ObjectDatabase(backend).find(hash_chunk(b"0")) is not None
    assert len(segment_keys(backend)) == 1


def test_the_cache_can_go_at_any_time(backend: Backend, publish: Publish) -> None:
    """Without the cache the answers are the same, also in a store that is open."""
    fill(backend, publish)
    expected = answers(backend)
    odb = ObjectDatabase(backend)
    odb.refresh()
    for key in segment_keys(backend):
        backend.remove(key)
    assert odb.read(hash_chunk(CHUNKS[5])) == CHUNKS[5]
    assert answers(backend) == expected
    assert len(segment_keys(backend)) == 1


def test_a_garbled_cache_changes_no_answer(publish: Publish, rewrite: Rewrite) -> None:
    """Whatever byte of the cache is changed or lost, the answers are the same."""
    backend = MemoryBackend()
    fill(backend, publish)
    expected = answers(backend)
    (key,) = segment_keys(backend)
    content = backend.read(key)
    rng = random.Random(0)
    places = [
        *range(32),
        *rng.sample(range(len(content)), 60),
        *range(len(content) - 36, len(content)),
    ]
    for at in places:
        changed = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        for torn in (changed, content[:at], content + b"\0"):
            rewrite(backend, key, torn)
            assert answers(backend) == expected
        assert segment_keys(backend) == [key]
        assert backend.read(key) == content


def test_a_foreign_file_in_the_cache_is_thrown_away(backend: Backend, publish: Publish) -> None:
    """What is not a segment is removed from the cache and believed in nothing."""
    fill(backend, publish)
    expected = answers(backend)
    backend.replace_cache(f"{CACHE_PREFIX}/junk", b"junk")
    assert answers(backend) == expected
    assert f"{CACHE_PREFIX}/junk" not in segment_keys(backend)


def test_segments_grow_by_merging(publish: Publish) -> None:
    """However many puts there were, few segments are left, and they hold every pack once."""
    backend = MemoryBackend()
    odb = ObjectDatabase(backend)
    chunks = [b"put %d" % at for at in range(700)]
    for chunk in chunks:
        publish(backend, [chunk])
        odb.refresh()
    segments = [decode_segment(backend.read(key)) for key in segment_keys(backend)]
    assert len(segments) <= 4
    names = [pack for segment in segments for pack in segment.packs]
    assert len(names) == len(set(names)) >= len(chunks) - ROLL_PACKS
    sizes = sorted(segment.row_count for segment in segments)
    assert all(large > 3 * small for small, large in pairwise(sizes))
    fresh = ObjectDatabase(backend)
    assert [fresh.read(hash_chunk(chunk)) for chunk in chunks] == chunks


def test_packs_that_have_gone_are_not_found(backend: Backend, publish: Publish) -> None:
    """A segment that names packs that gc removed finds nothing in them."""
    fill(backend, publish)
    answers(backend)
    packs = ObjectDatabase(backend).packs()
    gone = {
        entry.id
        for key in packs[: len(packs) // 2]
        for entry in ObjectDatabase(backend).entries(key)
    }
    for key in packs[: len(packs) // 2]:
        backend.remove(key)
    odb = ObjectDatabase(backend)
    for oid in map(hash_chunk, CHUNKS):
        assert (odb.find(oid) is None) == (oid in gone) == (not odb.is_live(oid))
    assert odb.packs() == packs[len(packs) // 2 :]


def test_merging_forgets_packs_that_have_gone(publish: Publish) -> None:
    """After most packs went, the next merge leaves their rows behind."""
    backend = MemoryBackend()
    fill(backend, publish)
    answers(backend)
    for key in ObjectDatabase(backend).packs():
        backend.remove(key)
    for at in range(PACKS):
        publish(backend, [b"new %d" % at])
    (key,) = segment_keys(backend)
    listed = {item.key.removeprefix("objects/") for item in backend.list("objects")}
    assert listed.issuperset(decode_segment(backend.read(key)).packs)


def test_leftovers_of_a_killed_merge_are_dropped(publish: Publish) -> None:
    """A segment that another one covers is taken for what it is and removed."""
    backend = MemoryBackend()
    fill(backend, publish)
    expected = answers(backend)
    (key,) = segment_keys(backend)
    whole = decode_segment(backend.read(key))
    part = merge_rows(list(whole.by_pack().items())[:7])
    backend.replace_cache(f"{CACHE_PREFIX}/{part.encode()[-16:].hex()}", part.encode())
    assert len(segment_keys(backend)) == 2
    assert answers(backend) == expected
    assert segment_keys(backend) == [key]


def test_segments_that_overlap_are_made_one(publish: Publish) -> None:
    """Two processes that merged at once leave packs in two segments; the next merge mends it."""
    backend = MemoryBackend()
    fill(backend, publish)
    expected = answers(backend)
    (key,) = segment_keys(backend)
    packs = list(decode_segment(backend.read(key)).by_pack().items())
    backend.remove(key)
    for part in (packs[:30], packs[20:]):
        content = merge_rows(part).encode()
        backend.replace_cache(f"{CACHE_PREFIX}/{content[-16:].hex()}", content)
    assert answers(backend) == expected
    for at in range(ROLL_PACKS + 1):
        publish(backend, [b"new %d" % at])
    ObjectDatabase(backend).refresh()
    (key,) = segment_keys(backend)
    assert answers(backend) == expected


def lie(backend: Backend, change: Callable[[bytes], bytes]) -> None:
    """Replace the cache by a segment whose checksum holds and whose rows do not."""
    (key,) = segment_keys(backend)
    honest = decode_segment(backend.read(key))
    liar: Segment = merge_rows(
        (name, [change(row) for row in rows]) for name, rows in honest.by_pack().items()
    )
    backend.remove(key)
    backend.replace_cache(key, liar.encode())


@pytest.mark.parametrize("field", [slice(32, 40), slice(40, 48), slice(48, 50), slice(56, 64)])
def test_a_cache_that_lies_is_found_out(publish: Publish, field: slice) -> None:
    """A row that leads to other bytes than its id's makes the cache go, and the object is read."""
    backend = MemoryBackend()
    fill(backend, publish)
    answers(backend)
    lie(backend, lambda row: row[: field.start] + b"\1" * len(row[field]) + row[field.stop :])
    odb = ObjectDatabase(backend)
    assert [odb.read(hash_chunk(chunk)) for chunk in CHUNKS] == CHUNKS
    fresh = ObjectDatabase(backend)
    assert [fresh.read(hash_chunk(chunk)) for chunk in CHUNKS] == CHUNKS


def test_a_damaged_object_does_not_cost_the_cache(publish: Publish, rewrite: Rewrite) -> None:
    """When the pack is what is wrong, the cache stays."""
    backend = MemoryBackend()
    fill(backend, publish)
    answers(backend)
    location = ObjectDatabase(backend).find(hash_chunk(CHUNKS[0]))
    assert location is not None
    content = bytearray(backend.read(location.pack_key))
    content[location.entry.offset] ^= 1
    rewrite(backend, location.pack_key, bytes(content))
    keys = segment_keys(backend)
    odb = ObjectDatabase(backend)
    with pytest.raises(CorruptError):
        odb.read(hash_chunk(CHUNKS[0]))
    with pytest.raises(NotFoundError):
        odb.read(ABSENT[0])
    assert segment_keys(backend) == keys

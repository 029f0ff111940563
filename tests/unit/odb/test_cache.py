"""The merged indexes under ``cache/``: the same answers with them, without them and when torn."""

import random
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstore.backends.base import Backend
from mstore.backends.memory import MemoryBackend
from mstore.errors import CorruptError, NotFoundError, StorageError
from mstore.ids import hash_chunk
from mstore.odb import ObjectDatabase
from mstore.odb.cache import CACHE_PREFIX
from mstore.odb.index import ROLL_PACKS, ROLL_ROWS, Index
from mstore.odb.segments import (
    BLOCK_ROWS,
    Copy,
    Segment,
    decode_segment,
    merge_rows,
    open_segment,
)

PACKS = ROLL_PACKS + 8
CHUNKS = [b"chunk %d" % at for at in range(3 * PACKS)]
ABSENT = [hash_chunk(b"absent %d" % at) for at in range(20)]
Publish = Callable[..., str]
Rewrite = Callable[[Backend, str, bytes], None]

copies = st.builds(
    lambda oid, rest, base: (oid + rest, base),
    st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32]),
    st.binary(min_size=32, max_size=32),
    st.none() | st.sampled_from([bytes([at]) * 32 for at in range(5)]),
)
packs = st.dictionaries(
    st.integers(0, 999).map(lambda at: f"{at:064x}.pack"),
    st.lists(copies, max_size=20, unique_by=lambda found: found[0]),
    max_size=8,
).map(
    lambda content: {
        name: [Copy(name, row, base) for row, base in found] for name, found in content.items()
    }
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
def test_a_segment_finds_what_its_packs_have(content: dict[str, list[Copy]]) -> None:
    """A segment gives, for every id, each pack that has it with row and base, else nothing."""
    segment = decode_segment(merge_rows(content.items()).encode())
    expected = [copy for copies in content.values() for copy in copies]
    ids = {copy.row[:32] for copy in expected} | {bytes(32), b"\xff" * 32, bytes(range(32))}
    for oid in ids:
        found = segment.find(oid)
        assert set(found) == {copy for copy in expected if copy.row[:32] == oid}
        assert len(found) == len(set(found))
    assert {name: set(copies) for name, copies in segment.by_pack().items()} == {
        name: set(copies) for name, copies in content.items()
    }


@given(packs, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_span_is_what_lies_between(
    content: dict[str, list[Copy]], low: bytes, high: bytes
) -> None:
    """A span gives the rows from one id to another, both included, in order."""
    segment = merge_rows(content.items())
    rows = [copy.row for copies in content.values() for copy in copies]
    expected = sorted(row for row in rows if low <= row[:32] <= high)
    assert [copy.row for copy in segment.span(low, high)] == expected


def large_segment(count: int) -> tuple[list[Copy], Segment]:
    """Rows of hashes, every third with a base, and the segment of them."""
    ids = [hash_chunk(b"%d" % at) for at in range(count)]
    made = [
        Copy("a.pack", oid + bytes(32), None if at % 3 else ids[at // 7])
        for at, oid in enumerate(ids)
    ]
    return made, merge_rows([("a.pack", made)])


def test_large_segments_are_searched_block_by_block() -> None:
    """Among many hashes each one is found with its base, and none that is not there."""
    expected, segment = large_segment(20_000)
    assert all(segment.find(copy.row[:32]) == [copy] for copy in expected[::37])
    assert not any(segment.find(oid) for oid in ABSENT)
    assert set(decode_segment(segment.encode()).by_pack()["a.pack"]) == set(expected)


def test_copies_of_one_object_may_fill_blocks() -> None:
    """An object that very many packs hold is found in all of them, and its neighbours too."""
    low, oid, high = (bytes([at]) * 64 for at in (1, 2, 3))
    content = {f"{at}.pack": [Copy(f"{at}.pack", oid, None)] for at in range(3 * BLOCK_ROWS)}
    content["0.pack"] += [Copy("0.pack", low, None), Copy("0.pack", high, None)]
    segment = merge_rows(content.items())
    assert {copy.pack for copy in segment.find(oid[:32])} == set(content)
    assert segment.find(low[:32]) == [Copy("0.pack", low, None)]
    assert segment.find(high[:32]) == [Copy("0.pack", high, None)]


def test_a_question_reads_little_of_a_segment() -> None:
    """To find one object in a large segment, its head and a block are read; for many, all."""
    expected, segment = large_segment(50_000)
    content = segment.encode()
    asked: list[int] = []

    def read(start: int, stop: int) -> bytes:
        asked.append(stop - start)
        return content[start:stop]

    opened = open_segment(len(content), read)
    assert opened.find(expected[0].row[:32]) == [expected[0]]
    assert sum(asked) < len(content) // 10
    assert all(opened.find(copy.row[:32]) == [copy] for copy in expected[::50])
    assert sum(asked) < 2 * len(content)
    assert len(asked) < 50


def test_every_changed_byte_of_a_segment_is_noticed() -> None:
    """A segment with any byte changed, or cut anywhere, is refused."""
    names = [f"{at:064x}.pack" for at in range(5)]
    segment = merge_rows(
        (name, [Copy(name, bytes([at]) * 64, bytes([at]) * 32 if at % 2 else None)])
        for at, name in enumerate(names)
    )
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
    backend.replace_cache(f"{CACHE_PREFIX}/{part.name}", part.encode())
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
    for part in (packs[: PACKS * 3 // 4], packs[PACKS // 2 :]):
        segment = merge_rows(part)
        backend.replace_cache(f"{CACHE_PREFIX}/{segment.name}", segment.encode())
    assert answers(backend) == expected
    for at in range(ROLL_PACKS + 1):
        publish(backend, [b"new %d" % at])
    ObjectDatabase(backend).refresh()
    (key,) = segment_keys(backend)
    assert answers(backend) == expected


def lie(backend: Backend, change: Callable[[Copy], Copy]) -> None:
    """Replace the cache by a segment whose checksum holds and whose rows do not."""
    (key,) = segment_keys(backend)
    honest = decode_segment(backend.read(key))
    liar: Segment = merge_rows(
        (name, [change(copy) for copy in copies]) for name, copies in honest.by_pack().items()
    )
    backend.remove(key)
    backend.replace_cache(key, liar.encode())


@pytest.mark.parametrize("field", [slice(32, 40), slice(40, 48), slice(48, 50), slice(56, 64)])
def test_a_cache_that_lies_is_found_out(publish: Publish, field: slice) -> None:
    """A row that leads to other bytes than its id's makes the cache go, and the object is read."""
    backend = MemoryBackend()
    fill(backend, publish)
    answers(backend)

    def change(copy: Copy) -> Copy:
        row = bytearray(copy.row)
        row[field] = b"\1" * len(row[field])
        return copy._replace(row=bytes(row))

    lie(backend, change)
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


WIDE = [b"wide %d" % at for at in range(ROLL_ROWS + 1)]


def torn(content: bytes, at: int) -> bytes:
    """The content with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_changed_block_is_noticed_when_it_is_needed(publish: Publish, rewrite: Rewrite) -> None:
    """A large segment with a changed block opens; whoever needs the block reads the packs."""
    backend = MemoryBackend()
    publish(backend, WIDE)
    ObjectDatabase(backend).refresh()
    (key,) = segment_keys(backend)
    content = backend.read(key)
    rewrite(backend, key, torn(content, len(content) - 1))
    odb = ObjectDatabase(backend)
    assert [odb.find(hash_chunk(chunk)) is None for chunk in WIDE] == [False] * len(WIDE)
    assert [odb.is_live(oid) for oid in ABSENT] == [False] * len(ABSENT)
    assert backend.read(key) == content


@pytest.mark.parametrize("ask", ["find", "is_live", "prefix", "read"])
def test_a_segment_that_goes_while_it_is_used(publish: Publish, ask: str) -> None:
    """When another process has replaced a segment, what took its place is used instead."""
    backend = MemoryBackend()
    publish(backend, WIDE)
    ObjectDatabase(backend).refresh()
    (key,) = segment_keys(backend)
    odb, oid = ObjectDatabase(backend), hash_chunk(WIDE[7])
    odb.refresh()
    for at in range(ROLL_PACKS + 1):
        publish(backend, [b"other %d" % at])
    index = Index(backend)
    index.open()
    index.distrust_cache()
    assert key not in segment_keys(backend)
    answer = getattr(odb, ask)(oid.hex()[:12] if ask == "prefix" else oid)
    assert answer == getattr(ObjectDatabase(backend), ask)(
        oid.hex()[:12] if ask == "prefix" else oid
    )
    assert answer
    assert odb._index._loose_packs == {}


def test_a_cache_that_cannot_be_read_is_done_without(publish: Publish) -> None:
    """Blocks that fail to be read, time after time, cost no answer."""

    class Failing(MemoryBackend):
        """A place whose cache gives heads only."""

        failing = False

        def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
            """Fail behind the first bytes of what is cached."""
            if self.failing and key.startswith("cache/") and start:
                message = "cannot read"
                raise StorageError(message)
            return super().read(key, start, stop)

    backend = Failing()
    publish(backend, WIDE)
    ObjectDatabase(backend).refresh()
    backend.failing = True
    odb = ObjectDatabase(backend)
    assert all(odb.is_live(hash_chunk(chunk)) for chunk in WIDE[::100])
    for at in range(ROLL_PACKS + 1):
        publish(backend, [b"more %d" % at])
    odb.refresh()
    assert all(odb.is_live(hash_chunk(b"more %d" % at)) for at in range(ROLL_PACKS + 1))
    assert odb.read(hash_chunk(WIDE[3])) == WIDE[3]


def test_a_torn_segment_is_not_merged(publish: Publish, rewrite: Rewrite) -> None:
    """When a merge comes upon a changed block, the rows are read from the packs instead."""
    backend = MemoryBackend()
    publish(backend, WIDE)
    ObjectDatabase(backend).refresh()
    (key,) = segment_keys(backend)
    content = backend.read(key)
    rewrite(backend, key, torn(content, len(content) - 1))
    chunks = [b"more %d" % at for at in range(ROLL_ROWS + 1)]
    publish(backend, chunks)
    odb = ObjectDatabase(backend)
    odb.refresh()
    assert key not in segment_keys(backend)
    fresh = ObjectDatabase(backend)
    assert all(fresh.is_live(hash_chunk(chunk)) for chunk in (*chunks, *WIDE))

"""Chunks stored as a difference from others: every way to their bytes is found, none is wrong."""

import tracemalloc
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import process_time

import pytest

from mstore.backends.base import Backend
from mstore.backends.memory import MemoryBackend
from mstore.codecs import SPARSE, ZSTD, Coded, Layout, codec
from mstore.errors import CorruptError, InvalidInputError, NotFoundError, UnsupportedError
from mstore.format.pack import Entry, stored_check
from mstore.ids import Kind, ObjectId, hash_chunk, hash_object
from mstore.objects import CHUNK_SIZE
from mstore.odb import MAX_CHAIN, ObjectDatabase, PackWriter, check_pack, salvage
from mstore.odb.index import Index
from mstore.odb.packing import OpenPack

SIZE = 8000
CHUNKS = [bytes(SIZE - 8) + at.to_bytes(8, "little") for at in range(80)]
IDS = [hash_chunk(chunk) for chunk in CHUNKS]


def noise(size: int) -> bytes:
    """Bytes that no codec makes smaller."""
    return b"".join(hash_chunk(b"%d" % at) for at in range(0, size, 32))[:size]


def difference(raw: bytes, base: bytes) -> Coded:
    """A chunk as what differs from another one."""
    stored = codec(SPARSE).encode(raw, Layout(8), base)
    assert stored is not None
    return Coded(SPARSE, stored, hash_chunk(base))


def entry_of(raw: bytes, coded: Coded | None, kind: Kind = Kind.CHUNK) -> tuple[Entry, bytes]:
    """The entry of any bytes and what is stored for them, right or wrong."""
    oid = hash_object(kind, raw)
    if coded is None:
        return Entry(oid, kind, 0, 0, len(raw), len(raw)), raw
    stored, base = bytes(coded.stored), coded.base
    base = None if base is None else ObjectId(base)
    return Entry(
        oid, kind, coded.code, 0, len(stored), len(raw), stored_check(stored), base
    ), stored


def publish(backend: Backend, entries: Iterable[tuple[Entry, bytes]]) -> str:
    """One pack of entries that nobody looked at."""
    pack = OpenPack(backend)
    for entry, stored in entries:
        pack.add(entry, stored)
    return f"objects/{pack.seal().name}"


def chain(backend: Backend, links: range) -> list[str]:
    """Chunks that are each a difference from the one before, a pack for each; the first is raw."""
    keys = []
    for at in links:
        coded = difference(CHUNKS[at], CHUNKS[at - 1]) if at else None
        keys.append(publish(backend, [entry_of(CHUNKS[at], coded)]))
    return keys


def change(backend: Backend, key: str, oid: bytes) -> None:
    """Flip a bit of an entry's stored bytes."""
    content = bytearray(backend.read(key))
    (entry,) = (one for one in ObjectDatabase(backend).entries(key) if one.id == oid)
    content[entry.offset + entry.stored_size - 1] ^= 1
    backend.remove(key)
    assert backend.create(key, bytes(content))


def read_all_ways(backend: Backend, oid: bytes) -> bytes:
    """A chunk as ``read``, ``read_into`` and ``read_base`` give it: the same each time."""
    odb = ObjectDatabase(backend)
    buffer = bytearray(SIZE)
    odb.read_into(oid, buffer)
    assert odb.read(oid) == odb.read_base(oid) == odb.read_live(oid) == buffer
    return bytes(buffer)


def test_a_difference_is_read_over_its_base(backend: Backend) -> None:
    """A chunk that a writer stored as a difference takes few bytes and comes back."""
    odb = ObjectDatabase(backend)
    writer = odb.writer()
    assert writer.add_chunk(IDS[0], CHUNKS[0])
    assert writer.add_chunk(IDS[1], CHUNKS[1], difference(CHUNKS[1], CHUNKS[0]))
    assert writer.new_bytes == 2 * SIZE
    keys = writer.publish()
    assert read_all_ways(backend, IDS[1]) == CHUNKS[1]
    found = odb.find(IDS[1])
    assert found is not None
    assert found.entry.base == IDS[0]
    assert found.entry.stored_size < SIZE // 10
    assert [odb.depth(oid) for oid in IDS[:2]] == [0, 1]
    assert [problem for key in keys for problem in check_pack(backend, key)] == []


@pytest.mark.parametrize("base", [noise(SIZE * 2), noise(100)])
def test_a_base_may_have_another_size(backend: Backend, base: bytes) -> None:
    """A chunk may be a difference from one that is longer or shorter than it."""
    raw = (base + bytes(SIZE))[:SIZE]
    publish(backend, [entry_of(base, None), entry_of(raw, difference(raw, base))])
    assert read_all_ways(backend, hash_chunk(raw)) == raw


def test_a_base_must_be_there(backend: Backend) -> None:
    """A writer refuses a base that is nowhere or is the chunk itself, and can go on."""
    writer = ObjectDatabase(backend).writer()
    with pytest.raises(InvalidInputError, match="is not there"):
        writer.add_chunk(IDS[1], CHUNKS[1], difference(CHUNKS[1], CHUNKS[0]))
    itself = Coded(SPARSE, b"stored", IDS[1])
    with pytest.raises(InvalidInputError, match="the chunk itself"):
        writer.add_chunk(IDS[1], CHUNKS[1], itself)
    assert writer.add_chunk(IDS[0], CHUNKS[0])
    assert writer.add_chunk(IDS[1], CHUNKS[1], difference(CHUNKS[1], CHUNKS[0]))


def test_what_is_based_on_condemned_chunks_is_lacking(backend: Backend) -> None:
    """A live difference whose base is condemned counts as absent, and is written again."""
    base, key = chain(backend, range(2))
    odb = ObjectDatabase(backend)
    assert odb.is_live(IDS[1])
    backend.move(base, base.replace("objects", f"condemned/{1:016x}"))
    odb.refresh()
    assert not odb.is_live(IDS[1])
    with pytest.raises(NotFoundError, match="base"):
        odb.read_live(IDS[1])
    assert odb.read(IDS[1]) == CHUNKS[1]
    writer = odb.writer()
    assert writer.lacks(IDS[1])
    assert writer.add_chunk(IDS[0], CHUNKS[0])
    assert not writer.lacks(IDS[1])
    assert key in odb.packs()


def test_another_copy_is_added_on_request(backend: Backend) -> None:
    """``add_again`` stores what is there in another form, once, and readers take the flat copy."""
    chain(backend, range(3))
    odb = ObjectDatabase(backend)
    assert odb.depth(IDS[2]) == 2
    writer = odb.writer()
    assert not writer.add_chunk(IDS[2], CHUNKS[2])
    assert writer.add_again(IDS[2], CHUNKS[2])
    assert not writer.add_again(IDS[2], CHUNKS[2])
    (key,) = writer.publish()
    assert odb.depth(IDS[2]) == 0
    found = odb.find(IDS[2])
    assert found is not None
    assert found.pack_key == key


def test_the_shortest_way_is_taken(backend: Backend) -> None:
    """Of several copies the one over the fewest bases is read."""
    chain(backend, range(5))
    publish(backend, [entry_of(CHUNKS[4], difference(CHUNKS[4], CHUNKS[1]))])
    odb = ObjectDatabase(backend)
    assert odb.depth(IDS[4]) == 2
    assert [place.entry.id for place in odb.chain(IDS[4])] == [IDS[4], IDS[1], IDS[0]]
    assert read_all_ways(backend, IDS[4]) == CHUNKS[4]


@pytest.mark.parametrize("depth", [MAX_CHAIN, MAX_CHAIN + 1])
def test_chains_have_an_end(depth: int) -> None:
    """A chain of 64 bases is read, one of 65 refused, unless there is another copy."""
    backend = MemoryBackend()
    chain(backend, range(depth + 1))
    if depth == MAX_CHAIN:
        assert read_all_ways(backend, IDS[depth]) == CHUNKS[depth]
        assert ObjectDatabase(backend).depth(IDS[depth]) == MAX_CHAIN
        return
    for read in (ObjectDatabase(backend).read, ObjectDatabase(backend).depth):
        with pytest.raises(CorruptError, match=f"chunk '{IDS[depth]}' needs over 64 bases"):
            read(IDS[depth])
    publish(backend, [entry_of(CHUNKS[depth], difference(CHUNKS[depth], CHUNKS[9]))])
    assert read_all_ways(backend, IDS[depth]) == CHUNKS[depth]


def circle(backend: Backend) -> None:
    """Two chunks that are each stored as a difference from the other."""
    for one, other in ((0, 1), (1, 0)):
        publish(backend, [entry_of(CHUNKS[one], difference(CHUNKS[one], CHUNKS[other]))])


def test_a_circle_is_refused(backend: Backend) -> None:
    """Chunks that are differences from each other cannot be read, and the error says why."""
    circle(backend)
    odb = ObjectDatabase(backend)
    with pytest.raises(CorruptError, match=f"{IDS[0]}.* in a circle"):
        odb.read(IDS[0])
    assert not odb.is_live(IDS[0])
    assert odb.find(IDS[0]) is not None


@pytest.mark.parametrize("sound", [0, 1])
def test_a_circle_with_a_way_out_is_read(backend: Backend, sound: int) -> None:
    """Where either chunk of a circle has another copy, both are read."""
    circle(backend)
    publish(backend, [entry_of(CHUNKS[sound], None)])
    assert [read_all_ways(backend, oid) for oid in IDS[:2]] == CHUNKS[:2]
    assert all(map(ObjectDatabase(backend).is_live, IDS[:2]))


def test_a_missing_base_is_named(backend: Backend) -> None:
    """Without its base a chunk is not found: the error names both."""
    base, key = chain(backend, range(2))
    backend.remove(base)
    with pytest.raises(NotFoundError, match=f"{IDS[1]}.*{key}.*{IDS[0]}.*missing"):
        ObjectDatabase(backend).read(IDS[1])
    (problem,) = check_pack(backend, key)
    assert (problem.kind, problem.ids) == ("base", (IDS[1],))
    assert [entry.id for entry in salvage(backend, key)] == [IDS[1]]


def test_a_damaged_base_is_named(backend: Backend) -> None:
    """When a base is damaged the error names it and the chunk that needs it."""
    base, middle, key = chain(backend, range(3))
    change(backend, base, IDS[0])
    with pytest.raises(CorruptError, match=f"{IDS[2]}.*{IDS[0]}.*has bytes with the id"):
        ObjectDatabase(backend).read(IDS[2])
    for pack, kind in ((base, "entry"), (middle, "base"), (key, "base")):
        (problem,) = check_pack(backend, pack)
        assert problem.kind == kind


def test_every_flipped_bit_below_a_chunk_is_noticed(backend: Backend) -> None:
    """Whichever stored bytes of a chain change, nothing wrong is read."""
    keys = chain(backend, range(3))
    for at, key in enumerate(keys):
        good = backend.read(key)
        change(backend, key, IDS[at])
        with pytest.raises(CorruptError):
            ObjectDatabase(backend).read(IDS[2])
        backend.remove(key)
        assert backend.create(key, good)
    assert read_all_ways(backend, IDS[2]) == CHUNKS[2]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_sound_copy_is_found_for_any_link(backend: Backend, bad: int) -> None:
    """When a link of a chain is damaged, another copy of that link is used."""
    keys = chain(backend, range(3))
    publish(backend, [entry_of(CHUNKS[bad], difference(CHUNKS[bad], CHUNKS[9]))])
    publish(backend, [entry_of(CHUNKS[9], None)])
    change(backend, keys[bad], IDS[bad])
    assert read_all_ways(backend, IDS[2]) == CHUNKS[2]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_wrong_link_is_found_though_its_check_fits(backend: Backend, bad: int) -> None:
    """A base whose stored bytes are as they were written, and wrong, is found out and named."""
    wrong = [entry_of(CHUNKS[at], None)[0] for at in range(2)]
    coded = difference(CHUNKS[9], CHUNKS[0])
    stored = [CHUNKS[7], bytes(coded.stored)]
    wrong[1] = entry_of(CHUNKS[1], coded)[0]
    publish(backend, [(wrong[bad], stored[bad])])
    rest = [at for at in range(2) if at != bad]
    publish(
        backend,
        [entry_of(CHUNKS[at], difference(CHUNKS[1], CHUNKS[0]) if at else None) for at in rest],
    )
    publish(backend, [entry_of(CHUNKS[2], difference(CHUNKS[2], CHUNKS[1]))])
    with pytest.raises(CorruptError, match=f"'{IDS[bad]}'.*has bytes with the id"):
        ObjectDatabase(backend).read(IDS[2])
    publish(
        backend,
        [entry_of(CHUNKS[bad], difference(CHUNKS[bad], CHUNKS[9])), entry_of(CHUNKS[9], None)],
    )
    assert read_all_ways(backend, IDS[2]) == CHUNKS[2]


def test_a_base_must_be_a_chunk(backend: Backend) -> None:
    """What is no chunk neither is a base nor has one."""
    tree = b"any payload of a tree" * 9
    oid = hash_object(Kind.TREE, tree)
    stored = bytes(difference(CHUNKS[1], CHUNKS[0]).stored)
    publish(backend, [entry_of(tree, None, Kind.TREE), entry_of(CHUNKS[0], None)])
    publish(backend, [entry_of(CHUNKS[1], Coded(SPARSE, stored, oid))])
    with pytest.raises(CorruptError, match=f"{oid}.* only chunks may"):
        ObjectDatabase(backend).read(IDS[1])
    key = publish(backend, [entry_of(CHUNKS[2], Coded(SPARSE, stored, IDS[0]), Kind.TREE)])
    with pytest.raises(CorruptError, match="names the base"):
        ObjectDatabase(backend).read(hash_object(Kind.TREE, CHUNKS[2]))
    (problem,) = check_pack(backend, key)
    assert problem.kind == "entry"


@pytest.mark.parametrize(
    ("code", "base", "words"),
    [(ZSTD, IDS[0], "takes none"), (SPARSE, None, "needs one")],
    ids=["zstd with", "sparse without"],
)
def test_a_codec_gets_a_base_or_none(
    backend: Backend, code: int, base: bytes | None, words: str
) -> None:
    """An entry that has a base its codec does not take, or lacks one that it takes, is refused."""
    chain(backend, range(1))
    publish(backend, [entry_of(CHUNKS[1], Coded(code, b"stored", base))])
    with pytest.raises(CorruptError, match=words):
        ObjectDatabase(backend).read(IDS[1])


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_a_raw_size_that_lies_is_found_out(backend: Backend, size: int) -> None:
    """An entry that decodes to another size than its row says is refused, and other copies used."""
    entry, stored = entry_of(CHUNKS[1], difference(CHUNKS[1], CHUNKS[0]))
    publish(backend, [entry_of(CHUNKS[0], None), (entry._replace(raw_size=size), stored)])
    odb = ObjectDatabase(backend)
    with pytest.raises(CorruptError, match=str(IDS[1])):
        odb.read(IDS[1])
    publish(backend, [entry_of(CHUNKS[1], None)])
    assert read_all_ways(backend, IDS[1]) == CHUNKS[1]


def test_an_unknown_codec_hides_one_copy(backend: Backend) -> None:
    """A chunk in a codec that this build lacks is refused as unsupported, unless copied."""
    key = publish(backend, [entry_of(CHUNKS[1], Coded(99, b"stored"))])
    odb = ObjectDatabase(backend)
    with pytest.raises(UnsupportedError, match=f"{IDS[1]}.*codec '99'"):
        odb.read(IDS[1])
    (problem,) = check_pack(backend, key)
    assert (problem.kind, problem.ids) == ("unsupported", (IDS[1],))
    publish(backend, [entry_of(CHUNKS[1], None)])
    assert read_all_ways(backend, IDS[1]) == CHUNKS[1]


def test_stored_bytes_are_verified(backend: Backend) -> None:
    """``read_stored`` gives an entry's stored bytes, and none that have changed."""
    keys = chain(backend, range(2))
    odb = ObjectDatabase(backend)
    for at, key in enumerate(keys):
        place = odb.find(IDS[at])
        assert place is not None
        coded = difference(CHUNKS[1], CHUNKS[0]).stored if at else CHUNKS[0]
        assert odb.read_stored(place) == coded
        change(backend, key, IDS[at])
        with pytest.raises(CorruptError):
            odb.read_stored(place)


def test_threads_share_no_buffer(backend: Backend) -> None:
    """Chains read on several threads at once come out right."""
    chain(backend, range(12))
    odb = ObjectDatabase(backend)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(odb.read, IDS[:12] * 20)) == CHUNKS[:12] * 20


def test_packs_with_bases_stay_within_their_cap(backend: Backend) -> None:
    """The base table counts when a pack is filled."""
    index, cap = Index(backend), 3000
    writer = PackWriter(backend, index, cap)
    short = [chunk[-16:] for chunk in CHUNKS]
    for chunk in short:
        writer.add_chunk(hash_chunk(chunk), chunk)
    for chunk in short:
        raw = chunk + b"end" * 20
        coded = Coded(SPARSE, b"x" * 20, hash_chunk(chunk))
        writer.add_chunk(hash_chunk(raw), raw, coded)
    keys = writer.publish()
    assert len(keys) > 3
    assert all(backend.size(key) <= cap for key in keys)


def too_deep(backend: Backend, chunks: list[bytes]) -> None:
    """The first chunk over 65 bases."""
    for at in range(MAX_CHAIN + 2):
        base = None if at > MAX_CHAIN else difference(chunks[at], chunks[at + 1])
        publish(backend, [entry_of(chunks[at], base)])


def in_a_circle(backend: Backend, chunks: list[bytes]) -> None:
    """All chunks in one circle."""
    for at, chunk in enumerate(chunks):
        publish(backend, [entry_of(chunk, difference(chunk, chunks[at - 1]))])


def without_base(backend: Backend, chunks: list[bytes]) -> None:
    """The first chunk over a base that is nowhere."""
    publish(backend, [entry_of(chunks[0], difference(chunks[0], chunks[1]))])


def with_a_bad_base(backend: Backend, chunks: list[bytes]) -> None:
    """The first chunk over a base that is damaged."""
    without_base(backend, chunks)
    change(backend, publish(backend, [entry_of(chunks[1], None)]), hash_chunk(chunks[1]))


@pytest.mark.parametrize("prepare", [too_deep, in_a_circle, without_base, with_a_bad_base])
def test_bad_chains_are_refused_at_little_cost(
    prepare: Callable[[Backend, list[bytes]], None],
) -> None:
    """A chunk of 4 MiB that cannot be decoded costs at most 64 MB and 100 ms of computing."""
    chunks = [bytes(CHUNK_SIZE - 8) + chunk[-8:] for chunk in CHUNKS[:2]]
    chunks += CHUNKS[2 : MAX_CHAIN + 2]
    backend = MemoryBackend()
    prepare(backend, chunks)
    odb = ObjectDatabase(backend)
    odb.refresh()
    oid = hash_chunk(chunks[0])
    start = process_time()
    with pytest.raises((CorruptError, NotFoundError)):
        odb.read(oid)
    assert process_time() - start < 0.1
    tracemalloc.start()
    try:
        with pytest.raises((CorruptError, NotFoundError)):
            ObjectDatabase(backend).read(oid)
        assert tracemalloc.get_traced_memory()[1] < 64_000_000
    finally:
        tracemalloc.stop()

"""Garbage collection keeps what others are stored as a difference from, and one copy of each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.codecs import SPARSE, SPLIT_FLOAT, Coded, Layout, codec
from mstore.errors import NotFoundError
from mstore.format.pack import TRAILER_SIZE, Entry, decode_trailer, pack_name
from mstore.ids import Kind, ObjectId, hash_chunk
from mstore.odb.packing import OpenPack
from mstore.ops.gc import Limits, run_gc
from mstore.ops.gc_plan import MANY_PACKS, plan_gc
from mstore.parts import Transaction, open_parts
from mstore.store import Store, open_store
from mstore.testing.filesystems import InterceptingFileSystem

COUNT = 20_000


def tuned(step: int) -> np.ndarray:
    """Weights that differ a little from one step to the next."""
    weights = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)
    weights[:: COUNT // 50] += np.float32(step)
    return weights


def chunk_of(store: Store, label: str) -> ObjectId:
    """The only chunk of a version's only tensor."""
    (row,) = store.tensors(label)
    return ObjectId(store.parts.odb.tensor(row.id).chunks)


def add_difference(store: Store, chunk: ObjectId, base: ObjectId | None) -> str:
    """Store a chunk once more, as a difference or raw; the key of the new pack."""
    odb = store.parts.odb
    raw, coded = odb.read(chunk), None
    if base is not None:
        stored = codec(SPARSE).encode(raw, Layout(4), odb.read(base))
        assert stored is not None
        coded = Coded(SPARSE, stored, base)
    with Transaction(store.parts) as transaction:
        assert transaction.writer.add_again(chunk, raw, coded)
        (key,) = transaction.writer.publish()
    return key


def put_beside_dead(store: Store, step: int, name: str) -> None:
    """Put raw weights into a pack half of which is dead, so that gc keeps other copies of them."""
    store.put({"w": tuned(step), "dead": tuned(step) + 1}, "dead", codec="raw")
    store.put({"w": tuned(step)}, name)
    store.delete("dead")


def loads(store: Store, label: str, step: int) -> bool:
    """Whether a version has the weights of a step, in a store that is opened anew."""
    again = open_store(store.path)
    return np.array_equal(again.load(label)["w"], tuned(step)) and again.fsck(full=True).clean


@pytest.fixture
def based(store: Store) -> Store:
    """A model of three versions, each stored as a difference from the one before."""
    for step in range(3):
        store.put({"w": tuned(step)}, "lenet")
    assert store.parts.odb.depth(chunk_of(store, "lenet@3")) >= 1
    return store


def test_a_base_outlives_its_version(based: Store) -> None:
    """What a kept version is stored as a difference from stays when its own version goes."""
    based.delete("lenet@1")
    based.delete("lenet@2")
    report = based.gc(now=True)
    assert report.plan.objects > 0
    assert loads(based, "lenet@3", 2)


def test_a_base_goes_with_the_last_that_needs_it(based: Store) -> None:
    """Once nothing is based on it any more, a base is dead like anything else."""
    chunks = [chunk_of(based, f"lenet@{number}") for number in (1, 2, 3)]
    for number in (1, 2):
        based.delete(f"lenet@{number}")
    add_difference(based, chunks[2], None)
    run_gc(based.parts, limits=Limits(grace=0, repack_at=0.0))
    based.parts.odb.refresh()
    assert [based.parts.odb.find(chunk) is not None for chunk in chunks] == [False, False, True]
    assert loads(based, "lenet@3", 2)


def test_repacking_keeps_bases(based: Store) -> None:
    """A pack that is written again brings its differences along, whatever pack their base is in."""
    based.put({"w": tuned(3)}, "lenet")
    based.delete("lenet@2")
    report = run_gc(based.parts, limits=Limits(grace=0, repack_at=0.0))
    assert report.repacked
    assert loads(based, "lenet@3", 2)
    assert loads(based, "lenet@1", 0)


@pytest.mark.parametrize("wanted", [0, 1])
def test_copies_in_a_circle_are_not_what_is_kept(store: Store, wanted: int) -> None:
    """Of copies that are differences from each other and raw ones, no circle is left."""
    for step in range(2):
        put_beside_dead(store, step, f"m{step}")
    one, other = chunk_of(store, "m0"), chunk_of(store, "m1")
    add_difference(store, one, other)
    add_difference(store, other, one)
    if wanted:
        store.delete("m0")
    report = store.gc(now=True)
    assert report.deleted
    assert loads(store, "m1", 1)
    if not wanted:
        assert loads(store, "m0", 0)
        found = open_store(store.path).parts.odb
        assert sorted(found.depth(chunk) for chunk in (one, other)) == [0, 1]


def test_a_pack_without_dead_bytes_is_home(store: Store) -> None:
    """Of two forms that is kept which shares its pack with nothing dead."""
    store.put({"w": tuned(0)}, "base", codec="raw")
    put_beside_dead(store, 1, "m")
    chunk = chunk_of(store, "m")
    key = add_difference(store, chunk, chunk_of(store, "base"))
    by_size = {pack.key: pack.dead_bytes for pack in plan_gc(store.parts).packs}
    assert by_size[key] == 0
    store.gc(now=True)
    assert open_store(store.path).parts.odb.depth(chunk) == 1
    assert loads(store, "m", 1)


def test_a_raw_copy_outweighs_the_difference(based: Store) -> None:
    """Where a chunk has a raw copy in the larger pack, gc drops the difference and its base."""
    chunk = chunk_of(based, "lenet@3")
    add_difference(based, chunk, None)
    for number in (1, 2):
        based.delete(f"lenet@{number}")
    based.gc(now=True)
    assert open_store(based.path).parts.odb.depth(chunk) == 0
    assert loads(based, "lenet@3", 2)


def test_nothing_is_collected_while_a_base_is_missing(based: Store) -> None:
    """When a base cannot be found, gc refuses and changes nothing."""
    base = based.parts.odb.find(chunk_of(based, "lenet@1"))
    assert base is not None
    based.put({"w": np.zeros(3)}, "gone")
    based.delete("gone")
    (Path(based.path) / base.pack_key).unlink()
    again = open_store(based.path)
    with pytest.raises(NotFoundError, match="nothing was collected"):
        again.gc(now=True)


def test_a_damaged_base_keeps_the_condemned_copy(store: Store) -> None:
    """A raw copy is not deleted while the difference that replaces it cannot be decoded."""
    store.put({"w": tuned(0)}, "base", codec="raw")
    put_beside_dead(store, 1, "m")
    base, chunk = chunk_of(store, "base"), chunk_of(store, "m")
    add_difference(store, chunk, base)
    place = store.parts.odb.find(base)
    assert place is not None
    path = Path(store.path) / place.pack_key
    content = bytearray(path.read_bytes())
    content[place.entry.offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    report = open_store(store.path).gc(now=True)
    assert report.resurrected
    again = open_store(store.path)
    assert np.array_equal(again.load("m")["w"], tuned(1))


class ActingFileSystem(InterceptingFileSystem):
    """Calls ``action`` once, just before a ref gets a slot."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__(FileSystem())
        self._action: Callable[[], None] | None = action

    def intercept(
        self, name: str, call: Callable[..., object], arguments: dict[str, object]
    ) -> object:
        """Do the call, after the action if this is the one."""
        if name == "link" and "/refs/" in str(arguments["target"]) and self._action:
            action, self._action = self._action, None
            action()
        return call(**arguments)


def test_a_base_condemned_under_a_writer_comes_back(store: Store) -> None:
    """What a running writer bases its chunks on survives a gc that takes it in between."""
    store.put({"w": tuned(0)}, "first")
    base = chunk_of(store, "first")

    def take_away() -> None:
        other = open_store(store.path)
        other.delete("first")
        assert other.gc(now=True).deleted == []
        assert not other.parts.odb.is_live(base)

    writer = Store(open_parts(LocalBackend(Path(store.path), ActingFileSystem(take_away))))
    writer.put({"w": tuned(1)}, "second", parents=["first"])
    chunk = chunk_of(writer, "second")
    assert base in [place.entry.id for place in writer.parts.odb.chain(chunk)]
    report = open_store(store.path).gc(now=True)
    assert report.resurrected
    assert loads(store, "second", 1)


def test_reuse_needs_a_live_base(based: Store) -> None:
    """A chunk left over in a pack that stays is written again when its base is condemned."""
    chunk, base = chunk_of(based, "lenet@2"), chunk_of(based, "lenet@1")
    with Transaction(based.parts) as transaction:
        # Something kept lies in the same pack, so that the pack stays and the difference in it.
        found = based.parts.odb.find(chunk)
        assert found is not None
        stored = based.parts.odb.read_stored(found)
        transaction.writer.add_stored(found.entry, stored)
        content = np.random.default_rng(5).bytes(1 << 18)
        transaction.writer.add_chunk(hash_chunk(content), content)
        transaction.writer.publish()
    based.put({"big": np.frombuffer(content, np.uint8)}, "big", codec="raw")
    based.delete("lenet")
    based.gc(now=True)
    odb = based.parts.odb
    odb.refresh()
    assert odb.find(chunk) is not None
    assert odb.find(base) is None
    assert not odb.is_live(chunk)
    assert based.fsck(full=True).clean
    based.put({"w": tuned(1)}, "again")
    assert loads(based, "again", 1)


def put_many(store: Store, count: int) -> None:
    """Small models, a pack for each."""
    for number in range(count):
        store.put({"w": np.full(4, number, np.float32)}, f"m{number}")


def test_many_small_packs_become_one(store: Store) -> None:
    """Over 64 packs of less than a mebibyte are written together, and a dry run says so."""
    put_many(store, MANY_PACKS + 3)
    before = store.parts.odb.packs()
    planned = store.gc(dry_run=True)
    assert sorted(planned.repacked) == before
    reasons = {pack.reason for pack in planned.plan.packs}
    assert reasons == {f"it is one of {MANY_PACKS + 3} packs of less than 1 MiB"}
    assert store.parts.odb.packs() == before
    report = store.gc(now=True)
    assert sorted(report.repacked) == before
    (pack,) = store.parts.odb.packs()
    assert pack not in before
    assert len(report.deleted) == len(before)
    assert store.fsck(full=True).clean
    again = open_store(store.path)
    for number in (0, 30, MANY_PACKS + 2):
        assert np.array_equal(again.load(f"m{number}")["w"], np.full(4, number, np.float32))
    assert again.gc(now=True).repacked == []


def test_few_small_packs_stay(store: Store) -> None:
    """Up to 64 small packs, and any number of large ones, are left as they are."""
    put_many(store, MANY_PACKS)
    assert store.gc(dry_run=True).repacked == []


def test_small_packs_are_held_like_any_other(store: Store) -> None:
    """Packs that were written together are only condemned at first: readers still find them."""
    put_many(store, MANY_PACKS + 1)
    reader = open_store(store.path)
    reader.load("m0")
    report = store.gc()
    assert len(report.held) == MANY_PACKS + 1
    assert report.deleted == []
    assert np.array_equal(reader.load("m7")["w"], np.full(4, 7, np.float32))


def test_what_comes_back_brings_its_bases(store: Store) -> None:
    """A deletion that is taken back makes the bases live again that were condemned with it."""
    store.put({"w": tuned(0)}, "first")
    store.put({"w": tuned(1)}, "second", parents=["first"])
    base, chunk = chunk_of(store, "first"), chunk_of(store, "second")
    assert store.parts.odb.depth(chunk) >= 1
    for name in ("first", "second"):
        store.delete(name)
    assert len(store.gc().condemned) == 2
    store.undo("second")
    again = open_store(store.path)
    assert again.parts.odb.is_live(base)
    assert again.parts.odb.is_live(chunk)
    again.gc(now=True)
    assert loads(store, "second", 1)


def test_a_pack_of_a_later_kind_is_left_alone(based: Store) -> None:
    """What lies in a pack with a row that this build does not know stays, and gc goes on."""
    found = based.parts.odb.find(chunk_of(based, "lenet@1"))
    assert found is not None
    key = add_unknown_kind(based, found.pack_key)
    based.put({"w": np.zeros(3)}, "gone")
    based.delete("gone")
    report = open_store(based.path).gc(now=True)
    assert len(report.deleted) == 1
    (plan,) = (pack for pack in report.plan.packs if pack.key == key)
    assert plan.action == "keep"
    again = open_store(based.path)
    assert np.array_equal(again.load("lenet@3")["w"], tuned(2))


def add_unknown_kind(store: Store, key: str) -> str:
    """Replace a pack by one that holds an object of an unknown kind too; its key."""
    backend, odb = store.parts.backend, store.parts.odb
    entries = odb.entries(key)
    pack = OpenPack(backend)
    for entry in sorted(entries, key=lambda entry: entry.offset):
        stop = entry.offset + entry.stored_size
        pack.add(entry, backend.read(key, entry.offset, stop))
    pack.add(Entry(ObjectId(bytes(32)), Kind.CHUNK, 0, 0, 9, 9), b"something")
    sealed = f"objects/{pack.seal().name}"
    content = bytearray(backend.read(sealed))
    start = decode_trailer(content[-TRAILER_SIZE:], len(content)).index_offset
    content[start + 48] = 99
    changed = f"objects/{pack_name(bytes(content[start:]))}.pack"
    assert backend.create(changed, bytes(content))
    backend.remove(sealed)
    backend.remove(key)
    return changed


def test_leftovers_do_not_stop_a_change_of_form(store: Store) -> None:
    """A pack is written anew for ``materialize`` though gc took the base of something in it."""
    store.put({"w": tuned(0)}, "base", codec="raw")
    store.put({"w": tuned(1)}, "tuned", parents=["base"])
    found = store.parts.odb.find(chunk_of(store, "tuned"))
    assert found is not None
    big = np.random.default_rng(3).standard_normal(1 << 17).astype(np.float32)
    coded = codec(SPLIT_FLOAT).encode(big.tobytes(), Layout(4))
    assert coded is not None
    with Transaction(store.parts) as transaction:
        writer = transaction.writer
        writer.add_chunk(hash_chunk(big.tobytes()), big.tobytes(), Coded(SPLIT_FLOAT, coded))
        writer.add_stored(found.entry, store.parts.odb.read_stored(found))
        writer.publish()
    store.put({"big": big}, "big")
    for name in ("tuned", "base"):
        store.delete(name)
    store.gc(now=True)
    again = open_store(store.path)
    assert again.parts.odb.find(found.entry.id) is not None
    assert not again.parts.odb.is_live(found.entry.id)
    assert again.materialize(["big"]).tensors == 1
    assert np.array_equal(open_store(store.path).load("big")["big"], big)

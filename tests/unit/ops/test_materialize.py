"""Versions made raw, and the old forms of their chunks let go of."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from mmap import mmap
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.backends.local import LocalBackend
from mstore.codecs import DELTA_PCO, RAW, SPLIT_FLOAT, Coded, Layout, codec
from mstore.errors import ConflictError, CorruptError, InvalidInputError, MstoreError, NotFoundError
from mstore.ids import Buffer, Kind, ObjectId
from mstore.odb import Location
from mstore.ops.check import check
from mstore.ops.materialize import materialize
from mstore.ops.recode import Change, recode
from mstore.ops.strip import strip
from mstore.ops.walk import split_ids
from mstore.parts import Parts, open_parts
from mstore.store import Store
from mstore.testing.filesystems import FaultyFileSystem, KillingFileSystem

Arrays = dict[str, np.ndarray]


@pytest.fixture
def source(store: Store, tuned: list[Arrays]) -> Store:
    """Four versions of one model, each a fine-tune of the one before."""
    for arrays in tuned:
        store.put(arrays, "lenet")
    return store


def chunks(store: Store, revision: str) -> list[ObjectId]:
    """The chunks of a version's tensors."""
    tensors = (store.parts.odb.tensor(row.id) for row in store.tensors(revision))
    return [oid for tensor in tensors for oid in split_ids(tensor.chunks)]


def places(store: Store, revision: str) -> list[Location]:
    """Where the chunks of a version are."""
    store.parts.odb.refresh()
    found = [store.parts.odb.find(oid) for oid in chunks(store, revision)]
    return [place for place in found if place is not None]


def is_raw(store: Store, revision: str) -> bool:
    """Whether every chunk of a version lies raw in a live pack."""
    return all(place.live and place.entry.codec == RAW for place in places(store, revision))


def live_copies(parts: Parts, oid: ObjectId) -> int:
    """In how many live packs an object is."""
    parts.odb.refresh()
    return sum(entry.id == oid for key in parts.odb.packs() for entry in parts.odb.entries(key))


def assert_holds(store: Store, revision: str, arrays: Arrays) -> None:
    """Each tensor of a version has the very bits of an array."""
    found = store.load(revision)
    assert found.keys() == arrays.keys()
    assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())


def test_a_delta_becomes_raw(source: Store, tuned: list[Arrays]) -> None:
    """What was stored as differences is raw, and every version is what it was."""
    assert all(place.entry.base is not None for place in places(source, "lenet@4"))
    report = materialize(source.parts, ["lenet@4"])
    assert (report.versions, report.tensors) == (("lenet@4",), len(tuned[3]))
    assert is_raw(source, "lenet@4")
    for number, arrays in enumerate(tuned, 1):
        assert_holds(source, f"lenet@{number}", arrays)
    assert check(source.parts, full=True).findings == []


def test_a_raw_version_is_mapped(source: Store, tuned: list[Arrays]) -> None:
    """Each tensor is one extent, and what is given is a map of the pack: nothing is copied.

    Writing into it does not reach the store.
    """
    materialize(source.parts, ["lenet@4"])
    for row in source.tensors("lenet@4"):
        ids = split_ids(source.parts.odb.tensor(row.id).chunks)
        extent = source.parts.odb.extent(ids)
        assert extent is not None
        assert extent[2] == row.size_bytes
    reader = source.read("lenet@4")
    for name in reader:
        assert isinstance(reader.content(reader.tensor(name)).obj, mmap)
    array = source.load("lenet@4")["fc.weight"]
    array += 1
    assert_holds(source, "lenet@4", tuned[3])


def test_the_coded_copies_go(source: Store) -> None:
    """One live copy of each chunk is left, the raw one, and gc finds nothing to change."""
    report = materialize(source.parts, ["lenet@4"])
    assert report.condemned
    assert all(live_copies(source.parts, oid) == 1 for oid in chunks(source, "lenet@4"))
    collected = source.gc(now=True)
    names = {key.rpartition("/")[2] for key in collected.deleted}
    assert names == {key.rpartition("/")[2] for key in report.condemned}
    assert (collected.condemned, collected.repacked) == ([], [])
    assert is_raw(source, "lenet@4")


def test_other_versions_stay_small(source: Store) -> None:
    """A version that starts from the raw one still does; the others keep their codecs."""
    before = {place.entry.id: place.entry.stored_size for place in places(source, "lenet@3")}
    materialize(source.parts, ["lenet@2"])
    after = {place.entry.id: place.entry.stored_size for place in places(source, "lenet@3")}
    assert after == before
    bases = {place.entry.base for place in places(source, "lenet@3")}
    assert bases & set(chunks(source, "lenet@2"))
    assert [source.parts.odb.depth(place.entry.id) for place in places(source, "lenet@3")] == [
        1 for _ in before
    ]


def test_dry_run_says_what_it_takes(source: Store, tuned: list[Arrays]) -> None:
    """A dry run tells the bytes before and after, to the byte, and changes nothing."""
    packs = source.parts.odb.packs()
    plan = materialize(source.parts, ["lenet@4"], dry_run=True)
    source.parts.odb.refresh()
    assert source.parts.odb.packs() == packs
    sizes = sum(place.entry.stored_size for place in places(source, "lenet@4"))
    assert plan.bytes_before == sizes
    assert plan.bytes_after == sum(array.nbytes for array in tuned[3].values())
    materialize(source.parts, ["lenet@4"])
    assert sum(place.entry.stored_size for place in places(source, "lenet@4")) == plan.bytes_after


def test_again_writes_nothing(source: Store) -> None:
    """What is raw already is left alone."""
    materialize(source.parts, ["lenet@4"])
    packs = source.parts.odb.packs()
    report = materialize(source.parts, ["lenet@4"])
    assert (report.tensors, report.written_bytes, report.condemned) == (0, 0, ())
    assert source.parts.odb.packs() == packs


def test_equal_chunks_end(store: Store) -> None:
    """A tensor that repeats a chunk can never be one piece, and is not written again and again."""
    store.put({"zeros": np.zeros(3 << 20, np.float32)}, "lenet")
    materialize(store.parts, ["lenet"])
    assert is_raw(store, "lenet")
    assert materialize(store.parts, ["lenet"]).written_bytes == 0


def test_unneeded_objects_stay(source: Store, tuned: list[Arrays]) -> None:
    """Materializing collects nothing: what a name let go of can still be brought back."""
    source.delete("lenet@4")
    materialize(source.parts, ["lenet@3"])
    source.gc()
    source.undo("lenet")
    assert_holds(source, "lenet@4", tuned[3])


def test_bases_need_not_stay(source: Store, tuned: list[Arrays]) -> None:
    """A stripped store whose kept version was made raw lets go of every base."""
    held = strip(source.parts, ["lenet@4"], dry_run=True)
    assert held.bytes_bases > held.bytes_after / 2
    materialize(source.parts, ["lenet@4"])
    assert strip(source.parts, ["lenet@4"]).bytes_bases == 0
    source.gc(now=True)
    assert_holds(source, "lenet@4", tuned[3])
    assert check(source.parts, full=True).findings == []


def test_several_versions_and_a_tag(source: Store) -> None:
    """Several revisions are made raw at once."""
    source.tag("lenet@1", "prod")
    report = materialize(source.parts, ["prod", "lenet@3"])
    assert report.tensors_total == 2 * len(source.tensors("lenet@1"))
    assert is_raw(source, "lenet@1")
    assert is_raw(source, "lenet@3")


@pytest.mark.parametrize("revisions", [[], ["lenet:model.safetensors"]])
def test_only_whole_versions(source: Store, revisions: list[str]) -> None:
    """Nothing, or a part of a version, is the caller's mistake."""
    with pytest.raises(InvalidInputError):
        materialize(source.parts, revisions)


def test_stripped_bytes_cannot_be_raw(source: Store) -> None:
    """A stripped version says so, and nothing is changed."""
    strip(source.parts, ["lenet@4"])
    with pytest.raises(NotFoundError) as caught:
        materialize(source.parts, ["lenet@1"])
    assert caught.value.kind == "stripped"


def test_one_at_a_time(source: Store) -> None:
    """While a gc runs, forms are not changed."""
    with (
        source.parts.backend.exclusive("gc"),
        pytest.raises(ConflictError, match="'gc' is running"),
    ):
        materialize(source.parts, ["lenet@4"])


def test_progress_ends_at_the_total(source: Store) -> None:
    """Progress counts the raw bytes of what is written."""
    told: list[tuple[int, int, int]] = []
    report = materialize(source.parts, ["lenet@4"], progress=lambda *n: told.append(n))
    assert told[-1][:2] == (report.bytes_after, report.bytes_after)


def test_a_damaged_chunk_condemns_nothing(source: Store) -> None:
    """A chunk that cannot be decoded is an error, and both forms of the others stay."""
    place = max(places(source, "lenet@4"), key=lambda place: place.entry.stored_size)
    path = Path(source.path) / place.pack_key
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(place.entry.offset + place.entry.stored_size // 2)
        file.write(b"\x55\xaa\x55")
    packs = set(source.parts.odb.packs())
    with pytest.raises(CorruptError, match=str(place.entry.id)):
        materialize(source.parts, ["lenet@4"])
    source.parts.odb.refresh()
    assert packs <= set(source.parts.odb.packs())


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a forked child that does ``work``."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def copy_of(source: Store, place: Path) -> Path:
    """A second store with the same objects and names."""
    mstore.clone(source.path, place)
    return place


def materialize_killed(place: Path, step: int) -> None:
    """Make a version raw in a store whose disk kills this program at a step."""
    backend = LocalBackend(place, KillingFileSystem(step))
    materialize(open_parts(backend), ["lenet@4"])


def test_killed_anywhere(source: Store, tuned: list[Arrays], tmp_path: Path) -> None:
    """Killed at any step, every version reads as before, and doing it again ends it."""
    killed = 0
    for step in count(1, 3):
        place = copy_of(source, tmp_path / f"killed-{step}")
        if not os.WIFSIGNALED(in_child(partial(materialize_killed, place, step))):
            break
        killed += 1
        again = mstore.open(place)
        for number, arrays in enumerate(tuned, 1):
            assert_holds(again, f"lenet@{number}", arrays)
        materialize(again.parts, ["lenet@4"])
        assert is_raw(again, "lenet@4")
        assert all(live_copies(again.parts, oid) == 1 for oid in chunks(again, "lenet@4"))
        again.gc(now=True)
        found = check(again.parts, full=True).findings
        assert [finding.kind for finding in found if finding.kind != "leftover"] == []
    assert killed > 10


def test_a_full_disk_takes_nothing(source: Store, tuned: list[Arrays], tmp_path: Path) -> None:
    """A write that fails condemns nothing, wherever it happens."""
    for at in range(1, 40, 3):
        place = copy_of(source, tmp_path / f"full-{at}")
        files = FaultyFileSystem("write", at, 28)
        with suppress(MstoreError):
            materialize(open_parts(LocalBackend(place, files)), ["lenet@4"])
        if not files.failed:
            break
        again = mstore.open(place)
        assert again.parts.odb.packs(condemned=True) == []
        for number, arrays in enumerate(tuned, 1):
            assert_holds(again, f"lenet@{number}", arrays)


def delta_of(base: ObjectId, store: Store) -> Callable[..., Coded | None]:
    """Gives the form of a chunk as a difference from another one."""
    content = store.parts.odb.read(base)

    def encode(raw: Buffer) -> Coded | None:
        stored = codec(DELTA_PCO).encode(raw, Layout(4), content)
        return None if stored is None else Coded(DELTA_PCO, stored, base)

    return encode


def largest(store: Store, revision: str) -> ObjectId:
    """The largest chunk of a version."""
    return max(places(store, revision), key=lambda place: place.entry.raw_size).entry.id


def test_turning_a_delta_round(source: Store, tuned: list[Arrays]) -> None:
    """The base becomes a difference from what was one: nothing is lost, in one step."""
    first, second = largest(source, "lenet@1"), largest(source, "lenet@2")
    size = len(source.parts.odb.read(first))
    found = source.parts.odb.find(second)
    assert found is not None
    assert found.entry.base == first
    changes = [
        Change(second, size, lambda _: None),
        Change(first, size, delta_of(second, source)),
    ]
    recode(source.parts, changes)
    source.gc(now=True)
    turned = source.parts.odb.find(first)
    assert turned is not None
    assert turned.entry.base == second
    for number, arrays in enumerate(tuned, 1):
        assert_holds(source, f"lenet@{number}", arrays)
    assert check(source.parts, full=True).findings == []


def test_a_circle_is_refused(source: Store, tuned: list[Arrays]) -> None:
    """A base that only its own difference could be made from is not let go of."""
    first, second = largest(source, "lenet@1"), largest(source, "lenet@2")
    size = len(source.parts.odb.read(first))
    with pytest.raises(CorruptError, match="would be lost"):
        recode(source.parts, [Change(first, size, delta_of(second, source))])
    source.gc(now=True)
    for number, arrays in enumerate(tuned, 1):
        assert_holds(source, f"lenet@{number}", arrays)


def test_new_copies_are_read_back(source: Store, tuned: list[Arrays]) -> None:
    """A new copy that does not decode to what its id names condemns nothing."""
    chunk = largest(source, "lenet@4")
    size = len(source.parts.odb.read(chunk))
    other = source.parts.odb.read(largest(source, "lenet@1"))

    def wrong(_: Buffer) -> Coded | None:
        stored = codec(SPLIT_FLOAT).encode(other, Layout(4))
        assert stored is not None
        return Coded(SPLIT_FLOAT, stored)

    with pytest.raises(CorruptError, match=str(chunk)):
        recode(source.parts, [Change(chunk, size, wrong)])
    assert source.parts.odb.packs(condemned=True) == []
    assert_holds(source, "lenet@4", tuned[3])


def test_everything_else_of_a_pack_stays(source: Store) -> None:
    """A pack with an old copy is written again with all else it holds."""
    chunk = largest(source, "lenet@4")
    place = source.parts.odb.find(chunk)
    assert place is not None
    held = {entry.id for entry in source.parts.odb.entries(place.pack_key)}
    size = place.entry.raw_size
    done = recode(source.parts, [Change(chunk, size, lambda _: None)])
    assert done.condemned == (place.pack_key,)
    assert done.condemned_bytes > 0
    assert all(source.parts.odb.is_live(oid) for oid in held)
    kinds = {entry.kind for key in done.packs for entry in source.parts.odb.entries(key)}
    assert kinds == {Kind.CHUNK, Kind.FILE, Kind.TREE, Kind.VERSION, Kind.TENSOR}

"""Bundles: versions in one file, whole or refused."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.backends.local import LocalBackend
from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from mstore.format.bundle import TRAILER_SIZE, hasher
from mstore.ids import ObjectId
from mstore.ops import bundle as bundle_module
from mstore.ops.bundle import apply_bundle, create_bundle, offers_of, verify_bundle
from mstore.ops.bundle_reader import open_bundle
from mstore.ops.check import check
from mstore.ops.copying import Needs, needed_objects, receive
from mstore.ops.walk import roots
from mstore.parts import Parts, init_parts
from mstore.refs import HEADS
from mstore.store import Store

Writer = Callable[..., Path]
Arrays = dict[str, np.ndarray]

NOISE = np.random.default_rng(0).integers(0, 256, 2400, np.uint8)
"""Bytes that no codec makes fewer."""


@pytest.fixture
def source(store: Store, write_model: Writer, weights: dict[str, np.ndarray]) -> Store:
    """Three versions of one model, one of another, and a tag."""
    for number in range(3):
        store.put(write_model({**weights, "step": np.array(number)}), "lenet")
    store.put(write_model({"alone": np.arange(50_000.0)}), "other")
    store.tag("lenet@2", "prod")
    return store


@pytest.fixture
def target(tmp_path: Path) -> Parts:
    """An empty store."""
    return init_parts(LocalBackend(tmp_path / "target"))[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the bundle goes."""
    return tmp_path / "out.bundle"


def contents(parts: Parts) -> dict[bytes, bytes]:
    """Every object that the names of a store need."""
    return {oid: parts.odb.read(oid) for oid in needed_objects(parts, Needs(*roots(parts)))}


def everything(parts: Parts) -> list[Path]:
    """Every file of a store but its caches."""
    root = Path(parts.backend.location)
    return sorted(p for p in root.rglob("*") if p.is_file() and "cache" not in p.parts)


def test_everything_in_one_file(source: Store, target: Parts, path: Path) -> None:
    """A bundle of all brings all models, tags and objects."""
    report = create_bundle(source.parts, path)
    assert (report.size_bytes, report.prerequisites) == (path.stat().st_size, ())
    assert report.names == (("lenet", 3), ("other", 1))
    applied = apply_bundle(target, path)
    assert (applied.names, applied.tags) == ((("lenet", 3), ("other", 1)), ("prod",))
    assert applied.objects == report.objects
    assert contents(target) == contents(source.parts)
    assert Store(target).log("lenet") == source.log("lenet")


def test_applying_twice_changes_nothing(source: Store, target: Parts, path: Path) -> None:
    """The second time there is nothing new."""
    create_bundle(source.parts, path)
    apply_bundle(target, path)
    before = everything(target)
    assert apply_bundle(target, path).versions == 0
    assert everything(target) == before


def test_only_what_is_newer(source: Store, target: Parts, path: Path, tmp_path: Path) -> None:
    """With ``since``, what that version has is left out; a receiver that has it can apply it."""
    whole = create_bundle(source.parts, tmp_path / "whole.bundle", ["lenet"])
    create_bundle(source.parts, tmp_path / "first.bundle", ["lenet@1"])
    report = create_bundle(source.parts, path, ["lenet"], since=["lenet@1"])
    assert (report.names, report.prerequisites) == ((("lenet", 2),), ("lenet@1",))
    assert report.size_bytes < whole.size_bytes / 3
    apply_bundle(target, tmp_path / "first.bundle")
    apply_bundle(target, path)
    made = Store(target)
    assert [row.state for row in made.log("lenet")] == ["kept"] * 3
    made.get("lenet@3", tmp_path / "three")
    source.get("lenet@3", tmp_path / "original")
    assert (tmp_path / "three").read_bytes() == (tmp_path / "original").read_bytes()


def test_rows_before_the_prerequisite_come_stripped(
    source: Store, target: Parts, path: Path, tmp_path: Path
) -> None:
    """A receiver that lacks older versions gets their descriptions."""
    create_bundle(source.parts, tmp_path / "second.bundle", ["lenet@2"])
    apply_bundle(target, tmp_path / "second.bundle")
    create_bundle(source.parts, path, ["lenet"], since=["lenet@2"])
    apply_bundle(target, path)
    states = [row.state for row in target.refs.table(HEADS, "lenet").rows.values()]
    assert states == ["stripped", "kept", "kept"]


def test_missing_prerequisites_are_named(source: Store, target: Parts, path: Path) -> None:
    """A receiver without the versions that the bundle builds on is told which."""
    create_bundle(source.parts, path, ["lenet"], since=["lenet@2"])
    before = everything(target)
    with pytest.raises(NotFoundError, match="lenet@2") as caught:
        apply_bundle(target, path)
    assert caught.value.kind == "prerequisite"
    assert everything(target) == before


def test_nothing_newer_is_no_bundle(source: Store, path: Path) -> None:
    """A bundle since the newest version is refused."""
    with pytest.raises(InvalidInputError, match="nothing to bundle"):
        create_bundle(source.parts, path, ["lenet"], since=["lenet@3"])
    assert not path.exists()


def test_diverged_models_conflict(
    source: Store, target: Parts, path: Path, write_model: Writer
) -> None:
    """A bundle never changes what a number means."""
    create_bundle(source.parts, path, ["lenet"])
    Store(target).put(write_model({"x": np.ones(3)}), "lenet")
    with pytest.raises(ConflictError, match="'lenet' has diverged"):
        apply_bundle(target, path)


def test_an_existing_file_stays(source: Store, path: Path) -> None:
    """What stands at the path is replaced only with ``force``."""
    path.write_text("mine")
    with pytest.raises(ExistsError):
        create_bundle(source.parts, path)
    assert path.read_text() == "mine"
    create_bundle(source.parts, path, force=True)
    assert verify_bundle(path).names == (("lenet", 3), ("other", 1))


def test_objects_keep_their_encoding(source: Store, path: Path) -> None:
    """Stored bytes are copied as they are, so a bundle is as small as the store."""
    create_bundle(source.parts, path)
    opened = open_bundle(path)
    for key in opened.odb.packs():
        for entry in opened.odb.entries(key):
            there = source.parts.odb.find(entry.id)
            assert there is not None
            assert (entry.codec, entry.stored_size) == (there.entry.codec, there.entry.stored_size)


def test_several_packs(
    source: Store, target: Parts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the size of a pack the next one is begun."""
    monkeypatch.setattr(bundle_module, "PACK_CAP", 20_000)
    create_bundle(source.parts, path)
    assert len(open_bundle(path).manifest.packs) > 2
    verify_bundle(path)
    apply_bundle(target, path)
    assert contents(target) == contents(source.parts)


def test_a_bundle_is_read_only(source: Store, path: Path) -> None:
    """Writing to an opened bundle is refused."""
    create_bundle(source.parts, path)
    backend = open_bundle(path).backend
    for write in (
        backend.prepare,
        backend.draft,
        backend.sync,
        lambda: backend.lease(0),
        lambda: backend.create("a", b""),
        lambda: backend.remove("a"),
        lambda: backend.move("a", "b"),
        lambda: backend.share("a", "b"),
        lambda: backend.replace_cache("cache/a", b""),
        lambda: backend.break_lease("a"),
        lambda: backend.exclusive("gc"),
    ):
        with pytest.raises(StorageError, match="cannot be written to"):
            write()
    assert backend.leases() == ()


def test_a_damaged_source_makes_no_bundle(source: Store, path: Path) -> None:
    """A flipped bit in the store is found while bundling, and no file is left."""
    place = source.parts.odb.find(source.parts.odb.tensor(source.tensors("other")[0].id).chunks)
    assert place is not None
    pack = Path(source.path) / place.pack_key
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(place.entry.offset + 9)
        file.write(b"\xff")
    with pytest.raises(CorruptError, match=str(place.entry.id)):
        create_bundle(source.parts, path)
    assert list(path.parent.glob("*bundle*")) == []


@pytest.fixture
def small(tmp_path: Path, write_model: Writer) -> bytes:
    """The bytes of a small bundle."""
    store, _ = mstore.init(tmp_path / "small")
    store.put(write_model({"a": NOISE}), "lenet")
    create_bundle(store.parts, tmp_path / "small.bundle")
    return (tmp_path / "small.bundle").read_bytes()


def test_truncated_anywhere(small: bytes, target: Parts, path: Path) -> None:
    """A bundle that was cut at any length is corrupt, and changes nothing."""
    before = everything(target)
    for length in range(len(small)):
        path.write_bytes(small[:length])
        with pytest.raises(CorruptError):
            apply_bundle(target, path)
    assert everything(target) == before


def test_any_flipped_bit(small: bytes, target: Parts, path: Path) -> None:
    """One flipped bit anywhere makes a bundle corrupt, and nothing is changed."""
    before = everything(target)
    chosen = random.Random(0)
    for at in range(len(small)):
        flipped = bytearray(small)
        flipped[at] ^= 1 << chosen.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CorruptError):
            apply_bundle(target, path)
    assert everything(target) == before


def test_longer_than_written(small: bytes, target: Parts, path: Path) -> None:
    """Bytes after the end are refused."""
    path.write_bytes(small + b"\0")
    with pytest.raises(CorruptError):
        apply_bundle(target, path)


def resealed(content: bytes) -> bytes:
    """A changed bundle with a trailer that fits."""
    found = hasher()
    found.update(content[:-TRAILER_SIZE])
    return content[:-TRAILER_SIZE] + found.digest()


def test_newer_format_is_unsupported(small: bytes, path: Path) -> None:
    """A sound bundle of a later format is told from a damaged one."""
    path.write_bytes(resealed(small[:8] + b"\x02\0\0\0" + small[12:]))
    with pytest.raises(UnsupportedError, match="format 2"):
        verify_bundle(path)


def test_wrong_object_with_a_fitting_trailer(small: bytes, target: Parts, path: Path) -> None:
    """An object that is not what its id says is refused even if the file's hash fits."""
    at = small.index(NOISE.tobytes()[800:900])
    path.write_bytes(resealed(small[:at] + b"\xff" + small[at + 1 :]))
    with pytest.raises(CorruptError, match="chunk"):
        verify_bundle(path)
    with pytest.raises(CorruptError, match="chunk"):
        apply_bundle(target, path)
    assert target.refs.names(HEADS) == []


def test_incomplete_bundle(source: Store, target: Parts, path: Path) -> None:
    """A bundle that leaves out an object that its rows need commits nothing."""
    create_bundle(source.parts, path, ["lenet"], since=["lenet@2"])
    opened = open_bundle(path)
    with pytest.raises(CorruptError, match="not complete"):
        receive(opened, target, offers_of(opened.manifest), "without looking at prerequisites")
    assert target.refs.names(HEADS) == []


def test_not_a_bundle(target: Parts, tmp_path: Path) -> None:
    """A file of something else is corrupt; a missing one is not found."""
    (tmp_path / "file").write_bytes(bytes(100))
    with pytest.raises(CorruptError, match="not a bundle"):
        apply_bundle(target, tmp_path / "file")
    with pytest.raises(NotFoundError):
        apply_bundle(target, tmp_path / "none")


@pytest.fixture
def family(tmp_path: Path, tuned: list[Arrays]) -> Store:
    """A store with a model and three fine-tunes of it, stored as differences."""
    made, _ = mstore.init(tmp_path / "family")
    for arrays in tuned:
        made.put(arrays, "lenet")
    return made


def bases_in(path: Path) -> set[bytes]:
    """What the objects of a bundle start from."""
    odb = open_bundle(path).odb
    entries = (entry for key in odb.packs() for entry in odb.entries(key))
    return {entry.base for entry in entries if entry.base is not None}


def assert_holds(parts: Parts, revision: str, arrays: Arrays) -> None:
    """Each tensor of a version has the very bits of an array, and the store is sound."""
    found = Store(parts).load(revision)
    assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())
    assert check(parts, full=True).findings == []


def test_differences_stay_differences(
    family: Store, target: Parts, path: Path, tuned: list[Arrays]
) -> None:
    """A bundle of everything is about as small as the store, and so is what it is applied to."""
    report = create_bundle(family.parts, path)
    size = sum(file.stat().st_size for file in Path(family.path, "objects").iterdir())
    assert report.size_bytes < 1.05 * size
    assert verify_bundle(path) == report
    apply_bundle(target, path)
    applied = sum(
        file.stat().st_size for file in Path(target.backend.location, "objects").iterdir()
    )
    assert applied < 1.05 * size
    for number, arrays in enumerate(tuned, 1):
        assert_holds(target, f"lenet@{number}", arrays)


def test_a_base_may_be_at_the_far_side(
    family: Store, target: Parts, path: Path, tmp_path: Path, tuned: list[Arrays]
) -> None:
    """With ``since``, differences start from what the prerequisites have; nothing else travels.

    The whole of it is checked without them, as far as that can be, and used with them.
    """
    create_bundle(family.parts, tmp_path / "first.bundle", ["lenet@2"])
    report = create_bundle(family.parts, path, ["lenet"], since=["lenet@2"])
    there = needed_objects(
        family.parts, Needs(frozenset({family.resolve("lenet@2").version}), frozenset())
    )
    assert bases_in(path) & there
    assert verify_bundle(path) == report
    apply_bundle(target, tmp_path / "first.bundle")
    apply_bundle(target, path)
    assert_holds(target, "lenet@3", tuned[2])
    assert_holds(target, "lenet@4", tuned[3])
    assert any(
        entry.base in there for key in target.odb.packs() for entry in target.odb.entries(key)
    )


def test_one_version_needs_no_other(
    family: Store, target: Parts, path: Path, tuned: list[Arrays]
) -> None:
    """A single version is coded without bases, and is no larger than the first version was."""
    report = create_bundle(family.parts, path, ["lenet@4"])
    assert bases_in(path) == set()
    first = create_bundle(family.parts, path, ["lenet@1"], force=True)
    assert report.size_bytes < 1.05 * first.size_bytes
    create_bundle(family.parts, path, ["lenet@4"], force=True)
    apply_bundle(target, path)
    assert_holds(target, "lenet@4", tuned[3])


def test_a_base_that_is_nowhere(family: Store, target: Parts, path: Path) -> None:
    """Differences whose base is neither in the bundle nor here are refused."""
    create_bundle(family.parts, path, ["lenet"], since=["lenet@3"])
    opened = open_bundle(path)
    with pytest.raises(CorruptError, match=r"base '[0-9a-f]{64}' is missing"):
        receive(opened, target, offers_of(opened.manifest), "without looking at prerequisites")
    assert target.refs.names(HEADS) == []


def test_a_bundle_of_damaged_differences(family: Store, path: Path) -> None:
    """A flipped bit in a difference is found while bundling, and no file is left."""
    oid = ObjectId(family.parts.odb.tensor(family.tensors("lenet@4")[0].id).chunks[:32])
    place = family.parts.odb.find(oid)
    assert place is not None
    assert place.entry.base is not None
    pack = Path(family.path) / place.pack_key
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(place.entry.offset + place.entry.stored_size // 2)
        file.write(b"\x55\xaa\x55")
    with pytest.raises(CorruptError, match=str(oid)):
        create_bundle(family.parts, path)
    assert list(path.parent.glob("*bundle*")) == []

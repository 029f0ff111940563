"""fsck finds what is damaged, says whom it hurts, and brings back what it can without deleting."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import mstore
from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, NotFoundError
from mstore.format.slots import Row
from mstore.ids import ObjectId, hash_chunk
from mstore.objects import Tree, TreeEntry, Version
from mstore.odb import Location
from mstore.ops.check import check
from mstore.ops.findings import Finding, FsckReport
from mstore.ops.repair import repair
from mstore.parts import Transaction, open_parts
from mstore.refs import HEADS, Change
from mstore.store import Store

Arrays = dict[str, np.ndarray]


@pytest.fixture
def filled(
    store: Store, weights: Arrays, write_model: Callable[..., Path], tmp_path: Path
) -> Store:
    """A store with two versions of a model, a tag and a folder of other files."""
    store.put(write_model(weights), "lenet", tags=("prod",))
    store.put(weights | {"step": np.array(8, np.int64)}, "lenet")
    folder = tmp_path / "files" / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "readme.txt").write_text("words " * 100)
    (folder / "deep" / "noise.bin").write_bytes(np.random.default_rng(1).bytes(3000))
    store.put(folder, "notes")
    return store


def fsck(store: Store, *, full: bool = True) -> FsckReport:
    """A check with nothing remembered from before."""
    return check(open_parts(LocalBackend(Path(store.path))), full=full)


def heal(store: Store, *places: Path) -> FsckReport:
    """A repair with nothing remembered from before."""
    return repair(open_parts(LocalBackend(Path(store.path))), places)


def only(report: FsckReport) -> Finding:
    """The one finding of a report."""
    (finding,) = report.findings
    return finding


def place_of(store: Store, oid: ObjectId) -> Location:
    """Where an object is."""
    found = store.parts.odb.find(oid)
    assert found is not None
    return found


def change_byte(store: Store, key: str, offset: int) -> None:
    """Flip one bit of a file of the store."""
    path = Path(store.path) / key
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def damage(store: Store, oid: ObjectId) -> None:
    """Flip one bit in the first byte of an object."""
    found = place_of(store, oid)
    change_byte(store, found.pack_key, found.entry.offset)


def chunk_of(array: np.ndarray) -> ObjectId:
    """The id of the only chunk of a small tensor."""
    return hash_chunk(array.tobytes())


def test_sound_store_is_clean(filled: Store) -> None:
    """A store that nobody harmed has no finding, and everything in it was counted."""
    report = fsck(filled)
    assert report.findings == []
    assert (report.packs, report.versions) == (3, 3)
    assert report.size_bytes == sum(p.stat().st_size for p in Path(filled.path).glob("objects/*"))


def test_empty_store_is_clean(store: Store) -> None:
    """A new store has no finding."""
    assert fsck(store).findings == []


def test_gc_leaves_nothing_to_find(filled: Store) -> None:
    """A store with condemned packs is as clean as before."""
    filled.delete("notes")
    filled.gc()
    assert fsck(filled).findings == []


def test_damaged_chunk_names_the_versions(filled: Store, weights: Arrays) -> None:
    """A changed bit of a chunk is found by the full check, with every version that needs it."""
    damage(filled, chunk_of(weights["fc.weight"]))
    finding = only(fsck(filled))
    assert finding.kind == "entry"
    assert finding.versions == ("lenet@1", "lenet@2", "prod")
    assert fsck(filled, full=False).clean


def test_damage_hurts_only_who_needs_it(filled: Store, weights: Arrays) -> None:
    """A chunk of one version is no trouble of the other's."""
    damage(filled, chunk_of(weights["step"]))
    assert fsck(filled).hurt == ("lenet@1", "prod")


def test_damaged_description_is_found_at_once(filled: Store) -> None:
    """Descriptions are read by the quick check too."""
    damage(filled, filled.resolve("notes").version)
    report = fsck(filled, full=False)
    assert report.hurt == ("notes@1",)


def test_missing_pack_names_the_versions(filled: Store) -> None:
    """Without a pack the versions in it are hurt, and only as missing."""
    found = place_of(filled, filled.resolve("notes").version)
    (Path(filled.path) / found.pack_key).unlink()
    finding = only(fsck(filled, full=False))
    assert (finding.kind, finding.versions) == ("missing", ("notes@1",))


def test_second_copy_saves_the_version(filled: Store, weights: Arrays) -> None:
    """Damage is found though a sound copy of the object exists, but hurts no version."""
    found = place_of(filled, chunk_of(weights["fc.weight"]))
    content = weights["fc.weight"].tobytes()
    with Transaction(filled.parts) as transaction:
        transaction.writer.add_again(found.entry.id, content)
        transaction.publish()
    change_byte(filled, found.pack_key, found.entry.offset)
    report = fsck(filled)
    assert not report.clean
    assert report.hurt == ()


@pytest.mark.parametrize("where", [0, 9, -1, -40, -100])
def test_every_part_of_a_pack_is_checked(filled: Store, where: int) -> None:
    """Header, index and trailer are held against what they must be, by the quick check too."""
    found = place_of(filled, filled.resolve("notes").version)
    size = (Path(filled.path) / found.pack_key).stat().st_size
    change_byte(filled, found.pack_key, where % size)
    assert not fsck(filled, full=False).clean
    assert not fsck(filled).clean


def test_swapped_packs_are_found(filled: Store) -> None:
    """Two sound packs under each other's names are damage."""
    first, second, _ = sorted((Path(filled.path) / "objects").iterdir())
    content = first.read_bytes()
    first.chmod(0o600)
    first.write_bytes(second.read_bytes())
    second.chmod(0o600)
    second.write_bytes(content)
    assert [finding.kind for finding in fsck(filled, full=False).errors][:2] == ["index", "index"]


def test_damaged_slot_is_found(filled: Store) -> None:
    """A changed bit of a slot is damage of the name, and hides no other name."""
    change_byte(filled, "refs/heads/lenet/0000000000000002", 30)
    report = fsck(filled, full=False)
    assert [finding.where for finding in report.errors] == ["refs/heads/lenet/0000000000000002"]
    assert report.versions == 2


def test_missing_slot_is_found(filled: Store) -> None:
    """A slot that later ones follow must be there."""
    (Path(filled.path) / "refs/heads/lenet/0000000000000001").unlink()
    assert only(fsck(filled)).kind == "missing"


def test_slot_of_another_name_is_found(filled: Store) -> None:
    """A sound slot that stands under another name is damage."""
    folder = Path(filled.path) / "refs/heads"
    shutil.copy(folder / "lenet" / f"{1:016x}", folder / "notes" / f"{2:016x}")
    assert not fsck(filled, full=False).clean


def test_old_slot_in_a_new_place_is_found(filled: Store) -> None:
    """A slot replaced by another of the same name and generation breaks the chain."""
    other = mstore.init(Path(filled.path).with_name("other"))[0]
    other.put({"w": np.zeros(3, np.float32)}, "lenet")
    target = Path(filled.path) / "refs/heads/lenet" / f"{1:016x}"
    target.chmod(0o600)
    target.write_bytes((Path(other.path) / "refs/heads/lenet" / f"{1:016x}").read_bytes())
    kinds = {finding.kind for finding in fsck(filled, full=False).errors}
    assert {"chain", "missing"} == kinds


def test_damaged_config_is_found(filled: Store) -> None:
    """A changed bit of the config is found by whoever opens the store."""
    parts = open_parts(LocalBackend(Path(filled.path)))
    change_byte(filled, "config", 20)
    assert only(check(parts)).kind == "config"


def test_version_that_lies_is_found(filled: Store) -> None:
    """A version whose size or model hash is not that of its files is damage."""
    true = filled.parts.odb.version(filled.resolve("lenet").version)
    for name, wrong in (("size", 1), ("tensor_count", 9), ("model_hash", bytes(32))):
        lie: Version = msgspec.structs.replace(true, **{name: wrong})
        with Transaction(filled.parts) as transaction:
            oid = transaction.writer.add_object(lie)
            transaction.publish()
            change = Change((Row(1, bytes(oid), "kept"),), "put")
            transaction.commit(HEADS, name, lambda _, change=change: change)
    report = fsck(filled, full=False)
    assert [finding.kind for finding in report.errors] == ["disagrees"] * 3
    assert report.hurt == ("model_hash@1", "size@1", "tensor_count@1")


def add_version(store: Store, name: str, version: Version) -> None:
    """A model whose only version is ``version``, true or not."""
    with Transaction(store.parts) as transaction:
        oid = transaction.writer.add_object(version)
        transaction.publish()
        transaction.commit(HEADS, name, lambda _: Change((Row(1, bytes(oid), "kept"),), "put"))


def add_nested(store: Store, levels: int, width: int) -> bytes:
    """A tree that holds the tree below it ``width`` times, ``levels`` deep."""
    with Transaction(store.parts) as transaction:
        oid = transaction.writer.add_object(Tree())
        for _ in range(levels):
            entries = tuple(TreeEntry(f"n{at:03}", "tree", bytes(oid)) for at in range(width))
            oid = transaction.writer.add_object(Tree(entries))
        transaction.publish()
    return bytes(oid)


def test_a_single_file_that_is_none_is_found(store: Store) -> None:
    """A version that says it is one file, but whose tree is not, is damage."""
    add_version(store, "m", Version(tree=add_nested(store, 1, 1), size=0, time=0, single=True))
    assert [finding.kind for finding in fsck(store, full=False).errors] == ["disagrees"]


@pytest.mark.parametrize(("levels", "width"), [(64, 1), (5, 15)])
def test_trees_up_to_the_limits_are_sound(store: Store, levels: int, width: int) -> None:
    """Folders 64 deep, and some 800,000 of them, are no damage."""
    add_version(store, "m", Version(tree=add_nested(store, levels, width), size=0, time=0))
    assert fsck(store, full=False).clean


@pytest.mark.parametrize(("levels", "width"), [(65, 1), (2000, 1), (12, 10), (60, 1000)])
def test_trees_over_the_limits_are_found(store: Store, levels: int, width: int) -> None:
    """Trees that are too deep, or unfold to too many names, cost the check nothing."""
    add_version(store, "m", Version(tree=add_nested(store, levels, width), size=0, time=0))
    report = fsck(store, full=False)
    assert not report.clean
    assert report.hurt == ("m@1",)


def test_a_foreign_namespace_is_found(filled: Store) -> None:
    """A folder in refs/ that is no namespace of this format is told of."""
    folder = Path(filled.path) / "refs" / "other"
    folder.mkdir()
    (folder / "x").write_bytes(b"")
    assert [finding.where for finding in fsck(filled).findings] == ["refs/other"]


def test_leftovers_are_notes(filled: Store) -> None:
    """What a killed writer left, or somebody put there, is told but is no damage."""
    root = Path(filled.path)
    (root / "tmp" / "0123456789abcdef").write_bytes(b"half")
    (root / "leases" / f"{0:016x}-0123456789abcdef").write_bytes(b"")
    (root / "objects" / "notes.txt").write_bytes(b"mine")
    report = fsck(filled)
    assert report.clean
    assert sorted(finding.kind for finding in report.findings) == [
        "foreign",
        "leftover",
        "leftover",
    ]


def test_stripped_versions_need_no_chunks(filled: Store) -> None:
    """After a strip the chunks that went are not missing."""
    filled.strip(["lenet@2"])
    filled.gc(now=True)
    assert fsck(filled).findings == []


def test_repair_from_a_store(filled: Store, weights: Arrays, tmp_path: Path) -> None:
    """Everything that is lost comes back from a copy: packs, chunks, descriptions and slots."""
    copy = shutil.copytree(filled.path, tmp_path / "copy")
    damage(filled, chunk_of(weights["fc.weight"]))
    notes = place_of(filled, filled.resolve("notes").version)
    (Path(filled.path) / notes.pack_key).unlink()
    change_byte(filled, "refs/heads/lenet/0000000000000001", 30)
    (Path(filled.path) / "refs/tags/prod/0000000000000001").unlink()
    shutil.rmtree(Path(filled.path) / "cache")
    report = heal(filled, Path(copy))
    assert report.findings == []
    assert "refs/heads/lenet/0000000000000001" in report.healed
    assert len(report.quarantined) == 2
    for name in ("lenet@1", "lenet@2", "notes"):
        assert mstore.open(filled.path).get(name, tmp_path / name).files > 0


def test_repair_from_a_model_file(
    filled: Store, weights: Arrays, write_model: Callable[..., Path]
) -> None:
    """Chunks, tensors and the file itself are computed again from any old safetensors file."""
    version = filled.parts.odb.version(filled.resolve("lenet@1").version)
    (entry,) = filled.parts.odb.tree(version.tree).entries
    file = ObjectId(entry.id)
    tensor = ObjectId(filled.parts.odb.file(file).tensors[1][1])  # type: ignore[union-attr] # of tensors
    for oid in (file, tensor, chunk_of(weights["fc.weight"]), chunk_of(weights["fc.bias"])):
        damage(filled, oid)
    assert fsck(filled).hurt == ("lenet@1", "lenet@2", "prod")
    report = heal(filled, write_model(weights, "again.safetensors"))
    assert report.findings == []
    assert len(report.healed) == 4
    assert np.array_equal(mstore.open(filled.path).load("prod")["fc.bias"], weights["fc.bias"])


def test_repair_from_other_files(filled: Store, tmp_path: Path) -> None:
    """Files that are no tensors are cut as put cuts them."""
    damage(filled, hash_chunk((tmp_path / "files/notes/deep/noise.bin").read_bytes()))
    assert fsck(filled).hurt == ("notes@1",)
    assert heal(filled, tmp_path / "files" / "notes").findings == []


def test_repair_without_help_saves_the_rest(filled: Store, weights: Arrays) -> None:
    """Without a place to heal from, what is sound in a damaged pack stays readable."""
    key = place_of(filled, chunk_of(weights["step"])).pack_key
    before = (Path(filled.path) / key).read_bytes()
    damage(filled, chunk_of(weights["step"]))
    report = heal(filled)
    assert report.hurt == ("lenet@1", "prod")
    assert mstore.open(filled.path).load("lenet@2").keys() == weights.keys()
    (quarantined,) = (Path(filled.path) / "quarantine").iterdir()
    assert len(quarantined.read_bytes()) == len(before)


@pytest.mark.parametrize("back", [1, 5, 20, 40, 100, 200])
def test_damaged_index_gives_its_objects_back(filled: Store, back: int) -> None:
    """Of a pack whose index has a changed bit at most one object is lost."""
    found = place_of(filled, filled.resolve("notes").version)
    size = (Path(filled.path) / found.pack_key).stat().st_size
    odb = filled.parts.odb
    held = {entry.id for entry in odb.entries(found.pack_key)}
    change_byte(filled, found.pack_key, size - back)
    heal(filled)
    healed = mstore.open(filled.path).parts.odb
    assert sum(healed.is_live(oid) for oid in held) >= len(held) - 1 > 1


def test_damaged_header_is_replaced(filled: Store) -> None:
    """A pack with nothing but a bad header is written again under the same name."""
    found = place_of(filled, filled.resolve("notes").version)
    change_byte(filled, found.pack_key, 9)
    report = heal(filled)
    assert report.findings == []
    assert (Path(filled.path) / found.pack_key).exists()


def test_repair_believes_no_wrong_bytes(
    filled: Store, weights: Arrays, write_model: Callable[..., Path]
) -> None:
    """A file with other numbers heals nothing."""
    damage(filled, chunk_of(weights["fc.weight"]))
    other = write_model(weights | {"fc.weight": weights["fc.weight"] + 1}, "other.safetensors")
    report = heal(filled, other)
    assert report.hurt == ("lenet@1", "lenet@2", "prod")
    assert report.healed == []


def test_repair_needs_the_lock_and_a_place(filled: Store, tmp_path: Path) -> None:
    """It is refused while gc runs, and for a place where nothing is."""
    with filled.parts.backend.exclusive("gc"), pytest.raises(ConflictError):
        heal(filled)
    with pytest.raises(NotFoundError):
        heal(filled, tmp_path / "nowhere")


def test_repair_of_a_sound_store_changes_nothing(filled: Store) -> None:
    """Nothing is written when nothing is wrong."""
    before = sorted(str(path) for path in Path(filled.path).glob("objects/*"))
    report = heal(filled)
    assert (report.findings, report.healed, report.quarantined) == ([], [], [])
    assert sorted(str(path) for path in Path(filled.path).glob("objects/*")) == before

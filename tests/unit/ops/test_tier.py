"""Low planes in another store: read from there, kept alive there, never lost on the way."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore import tiers
from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, CorruptError, InvalidInputError, NotFoundError
from mstore.ops import tier as tier_module
from mstore.ops.tier import model_name
from mstore.ops.walk import split_ids
from mstore.parts import open_parts
from mstore.store import Store
from mstore.testing.filesystems import InterceptingFileSystem

Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    """Floats of two widths, integers and a little one."""
    rng = np.random.default_rng(5)
    return {
        "big": rng.normal(0, 0.02, (1200, 1000)).astype("<f4"),
        "half": rng.normal(0, 1, (300, 200)).astype("<f2"),
        "places": np.arange(40_000),
        "bias": rng.normal(0, 1, 10).astype("<f4"),
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where an empty store is that takes low planes."""
    return Path(mstore.init(tmp_path / "far")[0].path)


@pytest.fixture
def cut(store: Store, arrays: Arrays) -> Store:
    """A store whose only model is in planes, what it was before gone."""
    store.put(arrays, "m")
    store.archive_planes([], (8, 16))
    store.gc(now=True)
    return store


@pytest.fixture
def tiered(cut: Store, place: Path) -> Store:
    """The same, with the low planes at ``place`` alone."""
    cut.tier(place)
    cut.gc(now=True)
    return mstore.open(cut.path)


def same(found: Arrays, arrays: Arrays) -> bool:
    """Whether arrays have the very same bytes."""
    return all(found[name].tobytes() == arrays[name].tobytes() for name in arrays)


def size_of(store: Store) -> int:
    """Bytes of the packs of a store."""
    return sum(path.stat().st_size for path in Path(store.path).glob("objects/*"))


def again(store: Store) -> Store:
    """The same store, opened by somebody who knows nothing of it yet."""
    return mstore.open(store.path)


def test_a_tiered_model_is_exact(tiered: Store, arrays: Arrays, place: Path) -> None:
    """All of it is read over the other place, both stores are sound, and this one is small."""
    assert same(tiered.load("m"), arrays)
    assert tiered.fsck(full=True).findings == []
    assert mstore.open(place).fsck(full=True).findings == []
    assert size_of(tiered) < sum(array.nbytes for array in arrays.values()) / 3


def test_a_dry_run_says_what_would_travel(cut: Store, place: Path) -> None:
    """It gives the numbers of the run that follows, and changes neither store."""
    before = size_of(cut), size_of(mstore.open(place))
    foreseen = cut.tier(place, dry_run=True)
    assert (size_of(cut), size_of(mstore.open(place))) == before
    done = cut.tier(place)
    assert (foreseen.chunks, foreseen.bytes_moved, foreseen.bytes_sent, foreseen.versions) == (
        done.chunks,
        done.bytes_moved,
        done.bytes_sent,
        ("m@1",),
    )
    assert (foreseen.places, foreseen.condemned) == ((), ())
    assert done.places[0][0] == str(place)


def test_leading_bits_need_no_other_place(cut: Store, place: Path, arrays: Arrays) -> None:
    """With the place away, looking, collecting, checking and the leading bits work as before."""
    middle = {bits: cut.load("m", bits=bits) for bits in (3, 8)}
    cut.tier(place)
    cut.gc(now=True)
    place.rename(place.with_name("away"))
    store = again(cut)
    for bits, exact in middle.items():
        assert same(store.load("m", bits=bits), exact)
    assert store.show("m").names == ("m@1",)
    assert store.tensors("m")
    assert store.log("m")
    assert store.models()[0].name == "m"
    assert store.du(["m"])[0].exclusive_bytes < arrays["big"].nbytes / 3
    assert store.gc(now=True).condemned == []
    store.put({"other": arrays["bias"]}, "n")
    store.copy("m", "other")
    store.tag("m", "prod")
    store.delete("n")
    store.undo("n")
    assert same(store.load("prod", bits=8), middle[8])


@pytest.mark.parametrize("bits", [None, 16, 64])
def test_what_needs_the_place_says_so(
    tiered: Store, place: Path, tmp_path: Path, bits: int
) -> None:
    """More bits than are here are not found, and the error names the place."""
    place.rename(place.with_name("away"))
    with pytest.raises(NotFoundError, match=str(place)) as caught:
        tiered.load("m", bits=bits)
    assert caught.value.kind == "unreachable"
    assert "--bits" in str(caught.value.hint)
    with pytest.raises(NotFoundError, match=str(place)):
        again(tiered).get("m", tmp_path / "out.safetensors", bits=bits)
    assert not (tmp_path / "out.safetensors").exists()


def test_another_store_at_the_place_is_none(tiered: Store, place: Path) -> None:
    """A store that somebody else made there is not asked."""
    shutil.rmtree(place)
    mstore.init(place)
    with pytest.raises(NotFoundError, match="another store is there"):
        tiered.load("m")


def test_fsck_says_what_it_could_not_look_at(tiered: Store, place: Path) -> None:
    """A place that is away is a note, one that lost a chunk is damage to the versions."""
    away = place.with_name("away")
    place.rename(away)
    for full in (False, True):
        (note,) = again(tiered).fsck(full=full).findings
        assert (note.severity, note.kind) == ("note", "elsewhere")
        assert str(place) in note.message
    away.rename(place)
    far = mstore.open(place)
    far.delete(model_name(tiered.parts))
    far.gc(now=True)
    for full in (False, True):
        report = again(tiered).fsck(full=full)
        assert report.hurt == ("m@1",)
        kinds = {finding.kind for finding in report.errors}
        assert kinds == ({"missing", "base"} if full else {"missing"})


@pytest.mark.parametrize("where", ["near", "far"])
def test_every_flipped_byte_is_found(tiered: Store, place: Path, where: str) -> None:
    """Damage to leading bits is found with the place away too, damage there when it is read."""
    folder = Path(tiered.path) if where == "near" else place
    for pack in sorted(folder.glob("objects/*.pack")):
        content = pack.read_bytes()
        for at in range(0, len(content), max(1, len(content) // 9)):
            flipped = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
            pack.chmod(0o600)
            pack.write_bytes(flipped)
            if where == "near":
                place.rename(place.with_name("away"))
            found = (
                again(tiered).fsck(full=True).errors or mstore.open(folder).fsck(full=True).errors
            )
            assert found, f"{pack.name} at {at}"
            if where == "near":
                place.with_name("away").rename(place)
        pack.write_bytes(content)
    assert again(tiered).fsck(full=True).findings == []


def test_damage_there_is_never_passed_on(tiered: Store, place: Path) -> None:
    """A chunk that is damaged at the place is an error that names the place, not wrong numbers."""
    pack = max(place.glob("objects/*.pack"), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    with pytest.raises(CorruptError, match=str(place)):
        again(tiered).load("m")


def test_a_lost_place_is_healed_from_a_copy(tiered: Store, place: Path, tmp_path: Path) -> None:
    """When the place has lost chunks, repair brings the tensors' own chunks from a clone."""
    clone, _ = mstore.clone(tiered.path, tmp_path / "clone")
    far = mstore.open(place)
    far.delete(model_name(tiered.parts))
    far.gc(now=True)
    assert again(tiered).fsck().hurt
    report = again(tiered).repair([clone.path])
    assert report.clean
    assert same(again(tiered).load("m"), clone.load("m"))


def test_the_other_gc_keeps_what_was_given(tiered: Store, place: Path, arrays: Arrays) -> None:
    """The model there holds the chunks, so neither its gc nor stripping it takes them."""
    far = mstore.open(place)
    far.put({"own": arrays["bias"]}, "own")
    far.strip(["own"])
    far.gc(now=True)
    far.archive_planes()
    far.gc(now=True)
    assert same(again(tiered).load("m"), arrays)


def test_a_clone_has_everything(tiered: Store, arrays: Arrays, place: Path, tmp_path: Path) -> None:
    """What travels is fetched on the way: the copy needs the place no more."""
    clone, _ = mstore.clone(tiered.path, tmp_path / "clone")
    pushed, _ = mstore.init(tmp_path / "pushed")
    tiered.push(pushed.path)
    tiered.bundle(tmp_path / "bundle", ["m"])
    unpacked, _ = mstore.init(tmp_path / "unpacked")
    unpacked.unbundle(tmp_path / "bundle")
    tiered.strip(["m"], to=tmp_path / "slim")
    place.rename(place.with_name("away"))
    for other in (clone, pushed, unpacked, mstore.open(tmp_path / "slim")):
        assert same(again(other).load("m"), arrays)
        assert other.tier().places == ()
        assert other.fsck(full=True).findings == []


def test_a_bundle_starts_from_what_is_tiered(
    tiered: Store, arrays: Arrays, place: Path, tmp_path: Path
) -> None:
    """What a bundle leaves out, since the version before is here, may have its bits elsewhere."""
    clone, _ = mstore.clone(tiered.path, tmp_path / "clone")
    tuned = {**arrays, "big": arrays["big"] + np.float32(1e-6), "bias": arrays["bias"] + 1}
    clone.put(tuned, "m")
    clone.bundle(tmp_path / "bundle", ["m@2"], since=["m@1"])
    tiered.unbundle(tmp_path / "bundle")
    tiered.gc(now=True)
    assert same(again(tiered).load("m@2"), tuned)
    assert tiered.fsck(full=True).findings == []
    place.rename(place.with_name("away"))
    with pytest.raises(NotFoundError, match="cannot be reached"):
        again(tiered).load("m@2")
    assert again(tiered).tier().versions == ("m@1", "m@2")


def test_sending_needs_the_place(tiered: Store, place: Path, tmp_path: Path) -> None:
    """With the place away nothing is sent, and the other store has no half of a version."""
    place.rename(place.with_name("away"))
    other, _ = mstore.init(tmp_path / "other")
    with pytest.raises(NotFoundError, match="cannot be reached"):
        tiered.push(other.path)
    assert again(other).models() == []


def test_pushing_to_the_place_itself(tiered: Store, place: Path, arrays: Arrays) -> None:
    """The store that has the low planes gets the versions too, and no low chunk twice."""
    before = size_of(mstore.open(place))
    tiered.push(place)
    far = mstore.open(place)
    assert same(far.load("m"), arrays)
    assert size_of(far) - before < arrays["big"].nbytes / 3


def test_pulling_from_the_place_brings_no_low_planes(tiered: Store, place: Path) -> None:
    """All that the other store has comes, but for what it keeps for this one."""
    mstore.open(place).put({"w": np.ones(3, "<f4")}, "theirs")
    before = size_of(tiered)
    report = tiered.pull(place)
    assert dict(report.names) == {"theirs": 1}
    assert size_of(tiered) < before + 10_000
    mstore.open(place).push(tiered.path)
    assert [row.name for row in again(tiered).models()] == ["m", "theirs"]


def test_back_undoes_it(tiered: Store, place: Path, arrays: Arrays) -> None:
    """All comes back in the same steps, and the place is not needed any more."""
    middle = tiered.load("m", bits=8)
    foreseen = tiered.tier(back=True, dry_run=True)
    done = tiered.tier(back=True)
    assert (foreseen.chunks, foreseen.bytes_sent) == (done.chunks, done.bytes_sent)
    assert done.chunks > 0
    assert tiered.tier().places == ()
    assert mstore.open(place).models()[0].name == model_name(tiered.parts)
    shutil.rmtree(place)
    store = again(tiered)
    store.gc(now=True)
    assert same(store.load("m"), arrays)
    assert same(store.load("m", bits=8), middle)
    assert store.archive_planes([], (8, 16)).tensors == 0
    assert store.fsck(full=True).findings == []


def test_back_needs_the_place(tiered: Store, place: Path) -> None:
    """With the place away nothing is taken back, and nothing is forgotten."""
    place.rename(place.with_name("away"))
    with pytest.raises(NotFoundError, match="cannot be reached"):
        tiered.tier(back=True)
    assert tiered.tier().places[0].problem


def test_giving_twice_and_again_after_back(tiered: Store, place: Path, arrays: Arrays) -> None:
    """A second time gives nothing; after taking back it is done anew, and nothing travels twice."""
    assert tiered.tier(place).chunks == 0
    tiered.tier(back=True)
    again_given = again(tiered).tier(place)
    assert again_given.chunks > 0
    assert again_given.bytes_sent == 0
    again(tiered).gc(now=True)
    assert same(again(tiered).load("m"), arrays)
    assert len(mstore.open(place).log(model_name(tiered.parts))) == 2


def test_a_place_that_was_moved(tiered: Store, place: Path, arrays: Arrays) -> None:
    """Naming the same store where it is now is all that it takes."""
    moved = place.with_name("moved")
    place.rename(moved)
    (row,) = tiered.tier(moved).places
    assert (row.place, row.problem) == (str(moved), "")
    assert same(again(tiered).load("m"), arrays)


def test_a_copy_takes_the_part_of_a_place_that_is_lost(
    tiered: Store, place: Path, arrays: Arrays, tmp_path: Path
) -> None:
    """A clone of the place is named as one more place, and then does alone."""
    copy, _ = mstore.clone(place, tmp_path / "copy")
    shutil.rmtree(place)
    with pytest.raises(NotFoundError, match="cannot be reached"):
        again(tiered).load("m")
    given = again(tiered).tier(copy.path)
    assert (given.chunks, given.bytes_sent) == (0, 0)
    assert same(again(tiered).load("m"), arrays)
    assert again(tiered).fsck(full=True).findings == []
    tier_name = model_name(tiered.parts)
    assert len(mstore.open(copy.path).log(tier_name)) == 2
    again(tiered).tier(back=True)
    shutil.rmtree(copy.path)
    assert again(tiered).tier().places == ()
    assert same(again(tiered).load("m"), arrays)


def test_bits_that_stay(cut: Store, place: Path, arrays: Arrays) -> None:
    """With 16 bits the second step stays too, and only what is below it is fetched."""
    middle = cut.load("m", bits=16)
    cut.tier(place, bits=16)
    cut.gc(now=True)
    assert same(again(cut).load("m"), arrays)
    place.rename(place.with_name("away"))
    assert same(again(cut).load("m", bits=16), middle)
    with pytest.raises(NotFoundError):
        again(cut).load("m", bits=17)


def test_one_version_of_several(cut: Store, place: Path, arrays: Arrays) -> None:
    """What is named goes, what another version has of its own stays."""
    other = {"big": arrays["big"][::-1].copy()}
    cut.put(other, "n")
    cut.archive_planes(["n"], (8, 16))
    cut.tier(place, ["n"])
    cut.gc(now=True)
    assert cut.tier().versions == ("n@1",)
    place.rename(place.with_name("away"))
    store = again(cut)
    assert same(store.load("m"), arrays)
    with pytest.raises(NotFoundError):
        store.load("n")


def test_a_put_rests_on_this_store_alone(tiered: Store, place: Path, arrays: Arrays) -> None:
    """What is put after tiering is read without the place, what it shares included."""
    tuned = {**arrays, "bias": arrays["bias"] + 1}
    tiered.put(tuned, "m")
    place.rename(place.with_name("away"))
    store = again(tiered)
    assert same(store.load("m@2"), tuned)
    assert same(store.load("m@1"), arrays)
    store.gc(now=True)
    assert same(again(store).load("m@1"), arrays)


def test_a_deleted_version_comes_back(tiered: Store, arrays: Arrays) -> None:
    """Undoing a deletion needs no bytes from the place, and the version is whole again."""
    tiered.delete("m")
    tiered.undo("m")
    tiered.gc(now=True)
    assert same(tiered.load("m"), arrays)


def test_gc_holds_the_last_copy_while_the_place_is_away(
    cut: Store, place: Path, arrays: Arrays
) -> None:
    """Until the chunks could be read there, the packs that were let go of are not deleted."""
    cut.tier(place)
    away = place.with_name("away")
    place.rename(away)
    report = again(cut).gc(now=True)
    assert report.deleted == []
    assert [str(place) in held.reason for held in report.held] == [True]
    assert same(again(cut).load("m"), arrays)
    away.rename(place)
    assert len(again(cut).gc(now=True).deleted) == 1
    assert same(again(cut).load("m"), arrays)


def test_gc_keeps_the_last_copy_when_the_place_lost_it(
    cut: Store, place: Path, arrays: Arrays
) -> None:
    """When the chunks are gone there, what was let go of here comes back."""
    cut.tier(place)
    far = mstore.open(place)
    far.delete(model_name(cut.parts))
    far.gc(now=True)
    report = again(cut).gc(now=True)
    assert len(report.resurrected) == 1
    assert same(again(cut).load("m"), arrays)


def test_gc_writes_packs_again_without_the_place(
    tiered: Store, place: Path, arrays: Arrays
) -> None:
    """Leading bits move to another pack with the place away, checked as they are."""
    middle = tiered.load("m", bits=8)
    chunks = split_ids(tiered.parts.odb.tensor(tiered.tensors("m")[0].id).chunks)
    tiered.put({"x": arrays["big"] + 1}, "n")
    tiered.archive_planes(["n"], (8,))
    tiered.gc(now=True)
    place.rename(place.with_name("away"))
    store = again(tiered)
    store.delete("n")
    store.gc(now=True)
    assert all(map(store.parts.odb.is_held, chunks))
    assert same(store.load("m", bits=8), middle)
    place.with_name("away").rename(place)
    assert same(again(store).load("m"), arrays)


def test_archive_and_planes_leave_it(tiered: Store, place: Path, arrays: Arrays) -> None:
    """Archiving again, and cutting again after the same bits, fetch nothing and undo nothing."""
    place.rename(place.with_name("away"))
    store = again(tiered)
    before = size_of(store)
    assert store.archive_planes([], (8, 16)).tensors == 0
    store.archive()
    store.gc(now=True)
    assert size_of(store) == before
    place.with_name("away").rename(place)
    assert same(again(store).load("m"), arrays)


def test_materializing_brings_a_version_back(tiered: Store, place: Path, arrays: Arrays) -> None:
    """A version that is made raw needs the place no more."""
    tiered.materialize(["m"])
    tiered.gc(now=True)
    place.rename(place.with_name("away"))
    assert same(again(tiered).load("m"), arrays)
    assert again(tiered).tier().versions == ()


def test_what_a_name_needs_stays(cut: Store, place: Path) -> None:
    """A low chunk that is a file of its own too does not go."""
    chunk = split_ids(cut.parts.odb.tensor(ids(cut)["half"]).chunks)[0]
    low = cut.parts.odb.chain(chunk)[1].entry.id
    cut.put({"low": np.frombuffer(cut.parts.odb.read(low), "u1")}, "n")
    cut.tier(place)
    cut.gc(now=True)
    place.rename(place.with_name("away"))
    assert again(cut).load("n")["low"].nbytes > 0


def ids(store: Store) -> dict[str, bytes]:
    """The tensors of the model by name."""
    return {row.name: row.id for row in store.tensors("m")}


def test_the_store_itself_is_no_place(cut: Store, tmp_path: Path) -> None:
    """Neither the store nor a copy of its folder takes its low planes."""
    shutil.copytree(cut.path, tmp_path / "copy")
    for place in (cut.path, tmp_path / "copy"):
        with pytest.raises(InvalidInputError, match="the store itself"):
            cut.tier(place)
    with pytest.raises(NotFoundError, match="no store at"):
        cut.tier(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="not both"):
        cut.tier(cut.path, back=True)


def test_a_damaged_list_stops_gc(tiered: Store) -> None:
    """When what says which chunks are elsewhere cannot be read, nothing is collected."""
    row = next(iter(tiered.parts.refs.tables("remotes").values())).rows[1]
    found = tiered.parts.odb.find(row.version)
    assert found is not None
    pack = Path(tiered.path) / found.pack_key
    content = bytearray(pack.read_bytes())
    content[found.entry.offset + 4] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    with pytest.raises(CorruptError, match="nothing was collected"):
        again(tiered).gc(now=True)
    assert not again(tiered).fsck().clean


class _ActingFileSystem(InterceptingFileSystem):
    """Does something once, before the first name is committed."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act: Callable[[], None] | None = act

    def intercept(
        self, name: str, call: Callable[..., object], arguments: dict[str, object]
    ) -> object:
        """Act before the first link below refs."""
        if name == "link" and "/refs/" in str(arguments) and self._act is not None:
            act, self._act = self._act, None
            act()
        return call(**arguments)


def test_taken_back_while_it_is_given(tiered: Store, place: Path, arrays: Arrays) -> None:
    """Somebody who takes all back while more is given loses nothing to the other."""
    tiered.tier(back=True)
    acting = _ActingFileSystem(lambda: void(again(tiered).tier(back=True)))
    Store(open_parts(LocalBackend(Path(tiered.path), acting))).tier(place)
    again(tiered).gc(now=True)
    assert same(again(tiered).load("m"), arrays)
    assert again(tiered).fsck(full=True).clean


def void(_: object) -> None:
    """Nothing."""


def test_gc_runs_alone(cut: Store, place: Path) -> None:
    """While a gc runs nothing is let go of; done again, it is."""
    with cut.parts.backend.exclusive("gc"), pytest.raises(ConflictError):
        again(cut).tier(place)
    assert again(cut).fsck(full=True).clean
    assert len(again(cut).tier(place).condemned) == 1


def test_what_is_elsewhere_is_bounded(
    cut: Store, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More chunks than may be elsewhere are not given, and a list of more is not believed."""
    monkeypatch.setattr(tier_module, "MAX_LENT", 4)
    with pytest.raises(InvalidInputError, match="at most 4"):
        cut.tier(place)
    monkeypatch.undo()
    cut.tier(place)
    (tier,) = tiers.tiers(cut.parts.refs)
    monkeypatch.setattr(tiers, "MAX_LENT", 4)
    with pytest.raises(CorruptError, match="more than 4 chunks"):
        tiers.listed_chunks(cut.parts.odb, tier.versions[0])
    assert again(cut).parts.odb.elsewhere.ids() == set()


def test_a_version_of_tensors_lists_nothing(cut: Store) -> None:
    """Only versions of plain files say what is elsewhere: another one is damage."""
    with pytest.raises(CorruptError, match="has a file of tensors"):
        tiers.listed_chunks(cut.parts.odb, cut.resolve("m").version)


def test_why_a_list_is_kept(tiered: Store, place: Path) -> None:
    """What says which chunks are elsewhere is kept for that, and named after the place."""
    (tier,) = tiers.tiers(tiered.parts.refs)
    (reason,) = tiered.why(tier.versions[0].hex())
    assert (reason.state, reason.label) == ("described", f"chunks at '{place}'")

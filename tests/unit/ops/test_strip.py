"""Stripping: the bytes of what is kept, the descriptions of everything."""

from collections.abc import Callable
from mmap import mmap
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.codecs import RAW
from mstore.errors import ExistsError, InvalidInputError, NotFoundError
from mstore.format.pack import Entry
from mstore.ids import Kind, ObjectId
from mstore.ops import foresight
from mstore.ops.check import check
from mstore.ops.copying import Needs, needed_objects
from mstore.ops.gc import run_gc
from mstore.ops.identify import identify
from mstore.ops.sending import Form
from mstore.ops.strip import StripReport, strip
from mstore.ops.walk import reachable, roots, split_ids, stored_bytes
from mstore.refs import HEADS, TAGS
from mstore.store import Store

Writer = Callable[..., Path]
Arrays = dict[str, np.ndarray]


@pytest.fixture
def source(store: Store, write_model: Writer, weights: dict[str, np.ndarray]) -> Store:
    """Three versions that share all but one large tensor, a second model and a tag."""
    rng = np.random.default_rng(1)
    for _ in range(3):
        changed = rng.standard_normal((64, 128), dtype=np.float32)
        store.put(write_model({**weights, "fc.weight": changed}), "lenet")
    store.put(write_model({"alone": rng.standard_normal(5000)}), "other")
    store.tag("other@1", "prod")
    return store


def states(store: Store, namespace: str, name: str) -> list[str]:
    """The states of a name's rows."""
    return [row.state for row in store.parts.refs.table(namespace, name).rows.values()]


def chunks_of(store: Store) -> set[ObjectId]:
    """The chunks that a store's packs hold."""
    packs = store.parts.odb.packs()
    entries = [entry for key in packs for entry in store.parts.odb.entries(key)]
    return {entry.id for entry in entries if entry.kind is Kind.CHUNK}


def test_slim_store_holds_one_payload_and_every_description(source: Store, tmp_path: Path) -> None:
    """``--to`` makes a store with the bytes of one version and all that describes the others."""
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    slim = mstore.open(tmp_path / "slim")
    assert states(slim, HEADS, "lenet") == ["stripped", "kept", "stripped"]
    assert (states(slim, HEADS, "other"), states(slim, TAGS, "prod")) == (["stripped"],) * 2
    kept = source.resolve("lenet@2").version
    wanted = needed_objects(source.parts, Needs(frozenset({kept}), frozenset()))
    assert chunks_of(slim) == chunks_of(source) & wanted
    assert [row.version for row in slim.log("lenet")] == [
        row.version for row in source.log("lenet")
    ]
    assert slim.tensors("other") == source.tensors("other")


def test_kept_version_comes_back_exactly(source: Store, tmp_path: Path) -> None:
    """What was kept is the same file in the slim store."""
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    mstore.open(tmp_path / "slim").get("lenet@2", tmp_path / "slim-file")
    source.get("lenet@2", tmp_path / "file")
    assert (tmp_path / "slim-file").read_bytes() == (tmp_path / "file").read_bytes()


def test_stripped_version_says_where_it_may_be_had(source: Store, tmp_path: Path) -> None:
    """``get`` of a stripped version is not found, kind "stripped", and names the origin."""
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    with pytest.raises(NotFoundError) as caught:
        mstore.open(tmp_path / "slim").get("prod", tmp_path / "never")
    assert caught.value.kind == "stripped"
    assert source.path in str(caught.value.hint)


def test_stripped_version_is_still_recognised(source: Store, tmp_path: Path) -> None:
    """A stray file is named by a store that has none of its bytes."""
    source.get("other", tmp_path / "stray.safetensors")
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    found = identify(mstore.open(tmp_path / "slim").parts, tmp_path / "stray.safetensors")
    assert [match.label for match in found.exact] == ["other@1"]


def test_size_is_predicted(source: Store, tmp_path: Path) -> None:
    """A dry run tells the bytes that the slim store then has, and makes nothing."""
    plan = strip(source.parts, ["lenet@2"], to=tmp_path / "slim", dry_run=True)
    assert not (tmp_path / "slim").exists()
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    slim = mstore.open(tmp_path / "slim")
    assert plan.bytes_after == stored_bytes(slim.parts.odb, reachable(slim.parts))
    assert plan.bytes_before == stored_bytes(source.parts.odb, reachable(source.parts))
    assert plan.bytes_after < plan.bytes_before / 2
    assert (plan.kept, plan.stripped) == (("lenet@2",), ("lenet@1", "lenet@3", "other@1"))


def test_strip_in_place_marks_rows(source: Store) -> None:
    """Without ``--to`` the names let go of the bytes, which gc then may take."""
    report = strip(source.parts, ["lenet@2"])
    assert states(source, HEADS, "lenet") == ["stripped", "kept", "stripped"]
    assert (states(source, HEADS, "other"), states(source, TAGS, "prod")) == (["stripped"],) * 2
    assert roots(source.parts).kept == {source.resolve("lenet@2").version}
    assert stored_bytes(source.parts.odb, reachable(source.parts)) == report.bytes_after


def test_gc_frees_what_was_stripped(source: Store, tmp_path: Path) -> None:
    """After gc the packs hold what was predicted, and what was kept is whole."""
    source.get("lenet@2", tmp_path / "before")
    report = strip(source.parts, ["lenet@2"])
    run_gc(source.parts, now=True)
    packs = Path(source.path, "objects").iterdir()
    size = sum(path.stat().st_size for path in packs)
    assert report.bytes_after < size < report.bytes_after + 20_000
    source.get("lenet@2", tmp_path / "after")
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()
    assert check(source.parts, full=True).findings == []
    with pytest.raises(NotFoundError) as caught:
        source.get("lenet@1", tmp_path / "never")
    assert caught.value.kind == "stripped"


def test_fsck_of_a_slim_store_is_clean(source: Store, tmp_path: Path) -> None:
    """The bytes that a slim store does not have are not missing."""
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    assert check(mstore.open(tmp_path / "slim").parts, full=True).findings == []


def test_dry_run_in_place_changes_nothing(source: Store) -> None:
    """A dry run writes no slot."""
    before = source.parts.refs.tables(HEADS)
    assert strip(source.parts, ["lenet@2"], dry_run=True).dry_run
    assert source.parts.refs.tables(HEADS) == before


def test_strip_in_place_twice_writes_nothing(source: Store) -> None:
    """What is stripped already is left alone."""
    strip(source.parts, ["lenet@2"])
    before = source.parts.refs.tables(HEADS)
    strip(source.parts, ["lenet@2"])
    assert source.parts.refs.tables(HEADS) == before


def test_strip_in_place_can_be_undone(source: Store, tmp_path: Path) -> None:
    """Before gc, ``undo`` gives the rows their bytes back."""
    strip(source.parts, ["lenet@2"])
    source.undo("lenet")
    source.get("lenet@3", tmp_path / "out")
    assert states(source, HEADS, "lenet") == ["kept"] * 3


def test_stripped_bytes_cannot_be_kept(source: Store) -> None:
    """What was stripped before cannot be kept now."""
    strip(source.parts, ["lenet@2"])
    with pytest.raises(NotFoundError) as caught:
        strip(source.parts, ["lenet@1"])
    assert caught.value.kind == "stripped"


@pytest.mark.parametrize("keep", [[], ["lenet@1:lenet.safetensors"]])
def test_only_whole_versions_are_kept(source: Store, keep: list[str]) -> None:
    """Nothing to keep, or a file to keep, is the caller's mistake."""
    with pytest.raises(InvalidInputError):
        strip(source.parts, keep)


def test_slim_store_is_made_in_an_empty_place(source: Store, tmp_path: Path) -> None:
    """A folder with something else, or a slim store of other versions, is refused."""
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    with pytest.raises(ExistsError, match="not to be kept"):
        strip(source.parts, ["lenet@1"], to=tmp_path / "slim")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "here").touch()
    with pytest.raises(ExistsError, match="not empty"):
        strip(source.parts, ["lenet@1"], to=tmp_path / "file")


@pytest.fixture
def family(tmp_path: Path, tuned: list[Arrays]) -> Store:
    """A store with a model and three fine-tunes, each a difference from the one before."""
    made, _ = mstore.init(tmp_path / "family")
    for arrays in tuned:
        made.put(arrays, "lenet")
    return made


def assert_holds(store: Store, revision: str, arrays: Arrays) -> None:
    """Each tensor of a version has the very bits of an array, and the store is sound."""
    found = store.load(revision)
    assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())
    assert check(store.parts, full=True).findings == []


def chunk_entries(store: Store) -> list[Entry]:
    """The chunks of a store's packs."""
    odb = store.parts.odb
    entries = (entry for key in odb.packs() for entry in odb.entries(key))
    return [entry for entry in entries if entry.kind is Kind.CHUNK]


@pytest.mark.parametrize("form", ["keep", "auto"])
def test_bases_that_are_left_out_are_not_needed(
    family: Store, tmp_path: Path, tuned: list[Arrays], form: Form
) -> None:
    """The slim store has what is kept, coded alone, in about the bytes of a first version."""
    report = strip(family.parts, ["lenet@4"], to=tmp_path / "slim", form=form)
    slim = mstore.open(tmp_path / "slim")
    entries = chunk_entries(slim)
    assert {entry.base for entry in entries} == {None}
    assert len(entries) == len(tuned[3])
    first = [entry.stored_size for entry in chunk_entries(family) if entry.base is None]
    assert sum(entry.stored_size for entry in entries) == pytest.approx(sum(first), rel=0.05)
    assert report.bytes_after == report.bytes_foreseen
    assert_holds(slim, "lenet@4", tuned[3])


def test_bases_that_are_kept_stay_bases(family: Store, tmp_path: Path, tuned: list[Arrays]) -> None:
    """What is kept together stays as it is stored; only with "auto" all of it is coded alone."""
    keep = ["lenet@3", "lenet@4"]
    report = strip(family.parts, keep, to=tmp_path / "slim")
    slim = mstore.open(tmp_path / "slim")
    assert any(entry.base is not None for entry in chunk_entries(slim))
    larger = strip(family.parts, keep, to=tmp_path / "larger", form="auto")
    assert report.bytes_after == report.bytes_foreseen < larger.bytes_after
    assert {entry.base for entry in chunk_entries(mstore.open(tmp_path / "larger"))} == {None}
    assert_holds(slim, "lenet@4", tuned[3])
    assert_holds(slim, "lenet@3", tuned[2])


def test_a_raw_slim_store_is_mapped(family: Store, tmp_path: Path, tuned: list[Arrays]) -> None:
    """With "raw" every chunk takes its own bytes, foreseen exactly, and each tensor is a map."""
    plan = strip(family.parts, ["lenet@4"], to=tmp_path / "slim", form="raw", dry_run=True)
    report = strip(family.parts, ["lenet@4"], to=tmp_path / "slim", form="raw")
    slim = mstore.open(tmp_path / "slim")
    entries = chunk_entries(slim)
    assert {entry.codec for entry in entries} == {RAW}
    raw = sum(array.nbytes for array in tuned[3].values())
    assert sum(entry.stored_size for entry in entries) == raw
    held = stored_bytes(slim.parts.odb, reachable(slim.parts))
    assert plan.bytes_foreseen == report.bytes_foreseen == report.bytes_after == held
    reader = slim.read("lenet@4")
    assert all(isinstance(reader.content(reader.tensor(name)).obj, mmap) for name in reader)
    assert_holds(slim, "lenet@4", tuned[3])


def test_a_raw_tensor_is_in_one_piece(tmp_path: Path) -> None:
    """The chunks of a large tensor come in its order, whatever packs they were in."""
    rng = np.random.default_rng(0)
    source, _ = mstore.init(tmp_path / "source")
    first = rng.standard_normal((3, 1 << 20), dtype=np.float32)
    second = first.copy()
    second[1] += rng.standard_normal(1 << 20, dtype=np.float32) * np.float32(1e-5)
    source.put({"w": first}, "lenet")
    source.put({"w": second}, "lenet")
    strip(source.parts, ["lenet@2"], to=tmp_path / "slim", form="raw")
    slim = mstore.open(tmp_path / "slim")
    (row,) = slim.tensors("lenet@2")
    extent = slim.parts.odb.extent(split_ids(slim.parts.odb.tensor(row.id).chunks))
    assert extent is not None
    assert extent[2] == second.nbytes
    assert slim.load("lenet@2")["w"].tobytes() == second.tobytes()


def test_size_is_measured_on_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where much has to be coded anew, the size is told within 2 % from a part of it."""
    rng = np.random.default_rng(0)
    source, _ = mstore.init(tmp_path / "source")
    names = [f"layer.{number}" for number in range(40)]
    arrays = {name: rng.standard_normal(16_384, dtype=np.float32) for name in names}
    for _ in range(2):
        steps = {name: rng.standard_normal(16_384, dtype=np.float32) for name in names}
        arrays = {name: arrays[name] + steps[name] * np.float32(1e-5) for name in names}
        source.put(arrays, "lenet")
    monkeypatch.setattr(foresight, "_SAMPLE", 300_000)
    report = strip(source.parts, ["lenet@2"], to=tmp_path / "slim")
    assert report.bytes_after != report.bytes_foreseen
    assert report.bytes_foreseen == pytest.approx(report.bytes_after, rel=0.02)


def test_what_is_foreseen_is_told_first(family: Store, tmp_path: Path) -> None:
    """The size is told before the slim store is begun."""
    told: list[int] = []

    def announce(plan: StripReport) -> None:
        assert not (tmp_path / "slim").exists()
        told.append(plan.bytes_foreseen)

    report = strip(family.parts, ["lenet@4"], to=tmp_path / "slim", announce=announce)
    assert told == [report.bytes_foreseen]


def test_bases_stay_in_place(family: Store, tuned: list[Arrays]) -> None:
    """Here the bases of what is kept stay as long as it needs them; the report counts them."""
    report = strip(family.parts, ["lenet@2"])
    assert report.bytes_bases == sum(
        entry.stored_size for entry in chunk_entries(family) if entry.base is None
    )
    family.gc(now=True)
    held = {entry.id for key in family.parts.odb.packs() for entry in family.parts.odb.entries(key)}
    assert stored_bytes(family.parts.odb, held) == report.bytes_after
    assert_holds(family, "lenet@2", tuned[1])


@pytest.mark.parametrize("form", ["raw", "auto"])
def test_a_codec_is_for_a_new_store(family: Store, form: Form) -> None:
    """In place nothing is coded anew, and the refusal says what does."""
    with pytest.raises(InvalidInputError, match="for a new store") as caught:
        strip(family.parts, ["lenet@4"], form=form)
    assert "materialize" in str(caught.value.hint)

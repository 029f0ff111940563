"""Stripping: the bytes of what is kept, the descriptions of everything."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.errors import ExistsError, InvalidInputError, NotFoundError
from mstore.ids import Kind, ObjectId
from mstore.ops.check import check
from mstore.ops.copying import Needs, needed_objects
from mstore.ops.gc import run_gc
from mstore.ops.identify import identify
from mstore.ops.strip import strip
from mstore.ops.walk import reachable, roots, stored_bytes
from mstore.refs import HEADS, TAGS
from mstore.store import Store

Writer = Callable[..., Path]


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

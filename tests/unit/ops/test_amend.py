"""A version made from the newest one without reading what stays."""

from pathlib import Path

import pytest

from mstore import ConflictError, InvalidInputError
from mstore.ops.amend import amend
from mstore.ops.condemn import condemn
from mstore.ops.put import Description, Upon, put
from mstore.ops.sources import NamedFile, scan_paths
from mstore.store import Store


def scanned(path: Path, *folder: str) -> list[NamedFile]:
    """The files of a path, in a folder."""
    return [file._replace(parts=(*folder, *file.parts)) for file in scan_paths([path]).files]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with a file, and a folder in it."""
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.txt").write_text("b")
    return folder


def names(store: Store, revision: str) -> set[str]:
    """The paths of the files of a version."""
    return {file.path for file in store.show(revision).files}


def test_files_are_added_and_replaced(
    store: Store, given: Path, write_model: object, weights: object, tmp_path: Path
) -> None:
    """The version has the files of the one before, but for those that are given again."""
    model = write_model(weights)  # type: ignore[operator] # a fixture that is a function
    amend(store.parts, "run", scanned(given))
    amend(store.parts, "run", scanned(model, "weights"))
    (given / "a.txt").write_text("new")
    done = amend(store.parts, "run", scanned(given / "a.txt"))
    assert names(store, "run@3") == {"a.txt", "deep/b.txt", "weights/lenet.safetensors"}
    assert (done.number, done.files, done.tensors) == (3, 3, 5)
    alone = store.put(model, "alone")
    versions = [store.parts.odb.version(found.version) for found in (done, alone)]
    assert versions[0].model_hash == versions[1].model_hash
    store.get("run", tmp_path / "back")
    assert (tmp_path / "back" / "a.txt").read_text() == "new"
    assert (tmp_path / "back" / "weights" / model.name).read_bytes() == model.read_bytes()
    assert store.fsck(full=True).findings == []


def test_files_are_taken_away(store: Store, given: Path) -> None:
    """Without a folder the version lacks all that is in it; the one before has it still."""
    amend(store.parts, "run", scanned(given))
    amend(store.parts, "run", [], without=("deep",))
    assert names(store, "run") == {"a.txt"}
    assert names(store, "run@1") == {"a.txt", "deep/b.txt"}


def test_equal_files_make_no_version(store: Store, given: Path) -> None:
    """What is there already is not stored again."""
    amend(store.parts, "run", scanned(given))
    assert amend(store.parts, "run", scanned(given)).unchanged


def test_only_the_newest_version_is_built_upon(store: Store, given: Path) -> None:
    """A version that somebody stored meanwhile is not lost: the later one is refused."""
    first = amend(store.parts, "run", scanned(given))
    store.put(given / "a.txt", "run")
    for upon in (Upon(first.version), Upon(None)):
        with pytest.raises(ConflictError, match="meanwhile"):
            put(store.parts, scan_paths([given]), "run", Description(), upon=upon)
    assert len(store.log("run")) == 2


def test_what_stays_outlives_the_version_that_it_came_with(store: Store, given: Path) -> None:
    """Files of a deleted version that a later one has are there after a collection."""
    amend(store.parts, "run", scanned(given))
    amend(store.parts, "run", scanned(given / "a.txt", "again"))
    store.delete("run@1")
    store.gc(now=True)
    assert store.fsck(full=True).findings == []
    assert names(store, "run") == {"a.txt", "deep/b.txt", "again/a.txt"}


def test_a_condemned_pack_is_linked_back(store: Store, given: Path) -> None:
    """What is built upon while a pack that holds it is condemned is live again, not lost."""
    amend(store.parts, "run", scanned(given))
    condemn(store.parts.backend, store.parts.odb.packs())
    store.parts.odb.refresh()
    assert store.parts.odb.packs(condemned=True)
    amend(store.parts, "run", scanned(given / "a.txt", "again"))
    assert store.parts.odb.packs()
    assert store.fsck(full=True).findings == []


def test_a_stripped_version_is_not_built_upon(store: Store, given: Path) -> None:
    """Files whose bytes are not here cannot be promised."""
    amend(store.parts, "run", scanned(given))
    store.put(given / "a.txt", "other")
    store.strip(["other"])
    with pytest.raises(InvalidInputError, match="stripped"):
        amend(store.parts, "run", scanned(given / "a.txt", "again"))

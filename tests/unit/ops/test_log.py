"""``log`` of long histories: the same rows with its cache, without it, and when it is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore import Store
from mstore.errors import MstoreError
from mstore.ids import Kind, hash_object
from mstore.ops import descriptions
from mstore.ops.descriptions import MIN_VERSIONS, PREFIX

COUNT = MIN_VERSIONS + 6


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a model of many versions, to be copied."""
    store, _ = mstore.init(tmp_path_factory.mktemp("log") / "store")
    for number in range(COUNT):
        store.put({"w": np.full(4, number, "f4")}, name="team/m", message=f"step {number}")
    return store


@pytest.fixture
def store(long_store: Store, tmp_path: Path) -> Store:
    """A copy of its own for each test, without a cache."""
    place = shutil.copytree(long_store.parts.backend.location, tmp_path / "copy")
    return mstore.open(place)


def file_of(store: Store) -> Path:
    """Where the descriptions of the model are kept."""
    return Path(store.parts.backend.location) / PREFIX / "team%2Fm"


def again(store: Store) -> Store:
    """The store opened anew."""
    return mstore.open(store.parts.backend.location)


def test_a_long_log_is_kept(store: Store) -> None:
    """The first log of many versions leaves a file, with which the second says the same."""
    first = store.log("team/m")
    assert [row.version.message for row in first if row.version] == [
        f"step {number}" for number in reversed(range(COUNT))
    ]
    kept = descriptions.load(store.parts.backend, "team/m")
    assert set(kept) == {row.id for row in first}
    assert all(hash_object(Kind.VERSION, payload) == oid for oid, payload in kept.items())
    assert again(store).log("team/m") == first


def test_a_kept_log_reads_no_pack(store: Store) -> None:
    """What the file holds is not looked for in the packs."""
    first = store.log("team/m")
    objects = Path(store.parts.backend.location) / "objects"
    objects.rename(objects.with_name("elsewhere"))
    assert again(store).log("team/m") == first
    file_of(store).unlink()
    with pytest.raises(MstoreError):
        again(store).log("team/m")


@pytest.mark.parametrize("step", [1, 997])
def test_nothing_in_the_file_is_believed(store: Store, step: int) -> None:
    """With whatever bytes changed, cut off or added, the log says the same."""
    first = store.log("team/m")
    path = file_of(store)
    content = path.read_bytes()
    places = range(12) if step == 1 else range(0, len(content), step)
    for at in places:
        changed = content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :]
        for wrong in (changed, content[:at], content + content[:at], b"\xff" * at):
            path.write_bytes(wrong)
            assert again(store).log("team/m") == first


def test_new_versions_come_with_the_kept_ones(store: Store) -> None:
    """A version put after the file was written is in the log, and in the file when many are."""
    store.log("team/m")
    written = file_of(store).read_bytes()
    store.put({"w": np.zeros(5, "f4")}, name="team/m", message="new")
    rows = again(store).log("team/m")
    assert rows[0].version is not None
    assert rows[0].version.message == "new"
    assert file_of(store).read_bytes() == written
    for number in range(COUNT // 10):
        store.put({"w": np.full(6, number, "f4")}, name="team/m")
    again(store).log("team/m")
    assert len(descriptions.load(store.parts.backend, "team/m")) == COUNT + 1 + COUNT // 10


def test_deleted_versions_are_not_kept(store: Store) -> None:
    """The log of a model reads deleted versions from where they are, if they are anywhere."""
    store.log("team/m")
    for number in range(1, COUNT // 10 + 1):
        store.delete(f"team/m@{number}")
    rows = again(store).log("team/m")
    assert [row.state for row in rows].count("deleted") == COUNT // 10
    kept = descriptions.load(store.parts.backend, "team/m")
    assert set(kept) == {row.id for row in rows if row.state != "deleted"}


def test_all_descriptions_can_be_forgotten(store: Store) -> None:
    """After ``clear`` nothing of any version is kept outside the packs."""
    first = store.log("team/m")
    descriptions.clear(store.parts.backend)
    assert descriptions.load(store.parts.backend, "team/m") == {}
    assert not file_of(store).exists()
    assert again(store).log("team/m") == first


def test_short_logs_leave_nothing(tmp_path: Path) -> None:
    """A model of few versions gets no file."""
    store, _ = mstore.init(tmp_path / "store")
    store.put({"w": np.zeros(4, "f4")}, name="m")
    assert len(store.log("m")) == 1
    assert not (tmp_path / "store" / PREFIX).exists()

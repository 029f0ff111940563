"""What is said of a version later: it is a set, it travels, and it outlives the payload."""

from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.errors import ConflictError, InvalidInputError, NotFoundError
from mstore.ids import ObjectId
from mstore.ops.check import check
from mstore.refs import NOTES
from mstore.store import Store


@pytest.fixture
def lenet(store: Store) -> Store:
    """A store with three versions of lenet."""
    for number, accuracy in enumerate((0.5, 0.9, 0.7), 1):
        store.put({"w": np.full(4, number, np.float32)}, "lenet", metrics={"val/acc": accuracy})
    return store


def said(store: Store, revision: str = "lenet@1") -> list[str]:
    """The messages about a version."""
    return [row.note.message for row in store.notes(revision)]


def test_a_note_leaves_the_version_as_it_is(lenet: Store) -> None:
    """What is said of a version is shown with it, and its hash stays."""
    before = lenet.resolve("lenet@1").version
    lenet.note("lenet@1", "blurred", metrics={"acc": 0.4}, dataset="cats", split="test", step=3)
    (row,) = lenet.show("lenet@1").notes
    assert lenet.resolve("lenet@1").version == before == row.note.version
    assert (row.note.message, row.note.metrics, row.note.step) == ("blurred", {"acc": 0.4}, 3)
    assert lenet.notes("lenet@2") == []


def test_a_note_says_something(lenet: Store) -> None:
    """A note without content is refused, and so is one about a part of a version."""
    with pytest.raises(InvalidInputError):
        lenet.note("lenet@1")
    with pytest.raises(InvalidInputError):
        lenet.note("lenet@1:model.safetensors", "x")
    assert lenet.parts.refs.names(NOTES) == []


def test_a_note_is_taken_back(lenet: Store) -> None:
    """A note that was taken back is not shown, and neither is what took it back."""
    first = lenet.note("lenet@1", "wrong").id
    lenet.note("lenet@1", "right")
    lenet.retract("lenet@1", str(first)[:8])
    assert said(lenet) == ["right"]
    for digits in (str(first), "", "00000000"):
        with pytest.raises(NotFoundError):
            lenet.retract("lenet@1", digits)


def test_notes_survive_gc_and_strip(lenet: Store, tmp_path: Path) -> None:
    """A version that was stripped keeps what was said of it, here and in a slim store."""
    lenet.note("lenet@1", "old but gold", tags=["seen"])
    lenet.strip(["lenet@3"])
    lenet.gc(now=True)
    assert said(lenet) == ["old but gold"]
    lenet.note("lenet@1", "still here")
    lenet.strip(["lenet@3"], to=tmp_path / "slim")
    slim = mstore.open(tmp_path / "slim")
    assert said(slim) == ["old but gold", "still here"]
    assert check(slim.parts, full=True).findings == []


def test_two_stores_end_with_the_same_notes(lenet: Store, tmp_path: Path) -> None:
    """Notes made on both sides of a clone merge as a set, and going again changes nothing."""
    there, _ = mstore.clone(lenet.path, tmp_path / "there")
    there.note("lenet@1", "there")
    lenet.note("lenet@1", "here")
    assert lenet.pull(there.path).notes == 1
    assert lenet.push(there.path).notes == 1
    assert lenet.push(there.path).notes == lenet.pull(there.path).notes == 0
    assert said(lenet) == said(there) == ["there", "here"]
    assert check(there.parts, full=True).findings == []


def test_a_note_that_was_taken_back_stays_so(lenet: Store, tmp_path: Path) -> None:
    """Taking a note back travels as the note did."""
    note = lenet.note("lenet@1", "wrong").id
    there, _ = mstore.clone(lenet.path, tmp_path / "there")
    assert said(there) == ["wrong"]
    lenet.retract("lenet@1", str(note))
    lenet.push(there.path)
    assert said(there) == []
    lenet.pull(there.path)
    assert said(lenet) == []


def test_only_what_travels_has_its_notes_along(lenet: Store, tmp_path: Path) -> None:
    """Pushing one model brings the notes about its versions and ancestors, and no others."""
    lenet.put({"w": np.zeros(2, np.float32)}, "other", parents=["lenet@1"])
    lenet.note("lenet@1", "of an ancestor")
    lenet.note("lenet@3", "of another model")
    lenet.note("other", "of itself")
    there, _ = mstore.init(tmp_path / "there")
    assert lenet.push(there.path, "other").notes == 2
    assert said(there, "other~1") == ["of an ancestor"]


def test_a_bundle_carries_notes(lenet: Store, tmp_path: Path) -> None:
    """What a bundle brings has its notes along."""
    lenet.note("lenet@2", "best so far")
    lenet.bundle(tmp_path / "all.bundle")
    there, _ = mstore.init(tmp_path / "there")
    assert there.unbundle(tmp_path / "all.bundle").notes == 1
    assert said(there, "lenet@2") == ["best so far"]


def test_fsck_sees_a_lost_note(lenet: Store) -> None:
    """A note whose object is gone is reported, and gc then changes nothing."""
    note = lenet.note("lenet@1", "to be lost").id
    (pack,) = (key for key in lenet.parts.odb.packs() if holds(lenet, key, note))
    lenet.parts.backend.move(pack, pack.replace("objects", "quarantine"))
    lost = mstore.open(lenet.path)
    assert [finding.where for finding in check(lost.parts).errors] == [str(note)]
    with pytest.raises(NotFoundError):
        lost.gc(now=True)


def holds(store: Store, key: str, oid: ObjectId) -> bool:
    """Whether a pack has an object."""
    return any(entry.id == oid for entry in store.parts.odb.entries(key))


def test_why_names_the_version_of_a_note(lenet: Store) -> None:
    """A note stays because of itself; ``why`` says what it is about."""
    note = lenet.note("lenet@1", "x").id
    (reason,) = lenet.why(str(note))
    assert (reason.kind, reason.state, reason.label) == ("note", "kept", "lenet@1")


def test_best_is_by_metric(lenet: Store) -> None:
    """The best version is that with the greatest value of a metric, or the least."""
    assert lenet.resolve("lenet@best(val/acc)").label == "lenet@2"
    assert lenet.resolve("lenet@best").label == "lenet@2"
    assert lenet.resolve("lenet@best(val/acc:min)").label == "lenet@1"
    assert lenet.resolve("lenet@best(val/acc)~1:model.safetensors").path == "model.safetensors"


def test_a_later_result_makes_another_version_best(lenet: Store) -> None:
    """Results in notes count, under the data set and split that they are of; NaN never does."""
    lenet.note("lenet@3", metrics={"val/acc": 0.95})
    assert lenet.resolve("lenet@best(val/acc)").label == "lenet@3"
    lenet.note("lenet@1", metrics={"acc": 0.2}, dataset="cats", split="test")
    lenet.note("lenet@2", metrics={"acc": float("nan")}, dataset="cats", split="test")
    assert lenet.resolve("lenet@best(cats/test/acc)").label == "lenet@1"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("lenet@best(f1)", NotFoundError),
        ("lenet@best(val/loss)", InvalidInputError),
        ("lenet@step=3", NotFoundError),
        ("nobody@best", NotFoundError),
    ],
)
def test_no_best_is_said(lenet: Store, text: str, error: type[Exception]) -> None:
    """A metric that no version has, or without a direction, and a step that is not there."""
    with pytest.raises(error):
        lenet.resolve(text)


def test_a_step_names_a_version(store: Store) -> None:
    """A version that was made at a step is found by it, the newest of several."""
    for step in (10, 20, 20):
        state = {"w": np.full(3, step, np.float32)}
        store.put(state, "run", metadata={"step": step}, always=True)
    assert store.resolve("run@step=10").number == 1
    assert store.resolve("run@step=20").number == 3


def test_a_copy_takes_no_space(lenet: Store) -> None:
    """A copy has the files of its version, which is its parent, and no new bytes."""
    moved = lenet.copy("lenet@2", "cats", author="Ada")
    shown = lenet.show("cats")
    assert moved.labels == ("cats@1",)
    assert [(kin.relation, kin.label) for kin in shown.parents] == [("copied", "lenet@2")]
    assert shown.version.metrics == {"val/acc": 0.9}
    assert shown.version.message == "copy of lenet@2"
    assert (lenet.load("cats")["w"] == lenet.load("lenet@2")["w"]).all()
    assert lenet.put({"w": np.full(4, 2, np.float32)}, "cats").unchanged
    assert check(lenet.parts, full=True).findings == []


def test_a_copy_takes_no_name_that_is_taken(lenet: Store) -> None:
    """A model and a tag keep their names."""
    lenet.tag("lenet@1", "prod")
    for name in ("lenet", "prod"):
        with pytest.raises(ConflictError):
            lenet.copy("lenet@1", name)

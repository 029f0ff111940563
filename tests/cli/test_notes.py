"""``note`` and ``copy`` as people use them."""

from pathlib import Path
from typing import Any


def test_a_note_is_shown_with_its_version(stocked: Any) -> None:
    """What was noted, on which data and by whom, stands in ``show``."""
    words = ("--metric", "acc=0.25", "--dataset", "cats", "--split", "test", "--tag", "seen")
    done = stocked("note", "lenet@1", "-m", "first\nsecond", *words, "--step", "7")
    assert done.stdout.startswith("lenet@1: noted ")
    shown = stocked("show", "lenet@1").stdout
    assert "cats/test/acc = 0.25 at step 7" in shown
    assert "tags seen" in shown
    assert "    first\n    second\n" in shown
    assert "by Tester" in shown


def test_a_note_is_taken_back(stocked: Any) -> None:
    """A note that was taken back is shown no more; saying something new at once is refused."""
    note = stocked.json("note", "lenet@1", "-m", "wrong")["id"]
    assert stocked("note", "lenet@1", "--retract", note, "-m", "x", code=2).stdout == ""
    assert stocked("note", "lenet@1", "--retract", note[:8]).stdout == (
        f"lenet@1: took back {note[:12]}\n"
    )
    assert stocked.json("show", "lenet@1")["notes"] == []


def test_nothing_said_is_refused(stocked: Any) -> None:
    """A note without anything in it is a mistake that names what could be given."""
    assert "give a message" in stocked("note", "lenet@1", code=2).stderr


def test_copy_begins_a_model(stocked: Any) -> None:
    """A copy is the first version of a new model, and says where it is from."""
    assert stocked("copy", "lenet@2", "cats").stdout.startswith("copied cats ")
    assert "copied from" in stocked("show", "cats").stdout
    assert stocked.json("copy", "cats", "dogs")["labels"] == ["dogs@1"]
    stocked("copy", "lenet@1", "cats", code=4)


def test_the_best_is_named(stocked: Any) -> None:
    """``NAME@best(METRIC)`` is understood wherever a revision is."""
    stocked("note", "lenet@2", "--metric", "acc=0.75")
    assert stocked.json("show", "lenet@best(acc)")["names"] == ["lenet@2"]
    stocked("get", "lenet@best", "best.safetensors")
    assert Path("best.safetensors").exists()


def test_notes_travel(stocked: Any) -> None:
    """A push says how many notes went along."""
    stocked("note", "lenet@1", "-m", "hello")
    stocked("--store", "there", "init", "there")
    assert "  1 note\n" in stocked("push", "there").stdout

"""Low planes in another store, on the command line."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def large(mstore: Any) -> Any:
    """The command beside a store with a model in planes, and another store."""
    mstore("init")
    mstore("init", "far")
    mstore("put", mstore.write_model("lenet.safetensors", 1, rows=4096))
    mstore("archive", "--planes", "8,16")
    mstore("gc", "--now")
    return mstore


def test_tier_as_json(large: Any) -> None:
    """A dry run foresees what goes, the run gives it, and it comes back."""
    assert large.json("tier")["places"] == []
    foreseen = large.json("tier", "--low", "far", "--dry-run")
    given = large.json("tier", "--low", "far")
    assert (foreseen["chunks"], foreseen["bytes_moved"]) == (given["chunks"], given["bytes_moved"])
    assert given["versions"] == ["lenet@1"]
    assert len(given["condemned"]) == 1
    large("gc", "--now")
    (row,) = large.json("tier")["places"]
    assert (row["chunks"], row["problem"]) == (given["chunks"], "")
    back = large.json("tier", "--back")
    assert (back["action"], back["chunks"]) == ("taken back", given["chunks"])
    assert large.json("tier")["places"] == []


def test_tier_as_text(large: Any) -> None:
    """People are told what goes, what stays and which versions then need the place."""
    assert large.lines("tier") == ["all of this store is here"]
    lines = large.lines("tier", "--low", "far", "--dry-run")
    assert " would go, " in lines[0]
    assert lines[-1] == "would need it to be read whole: lenet@1"
    lines = large.lines("tier", "--low", "far")
    assert " went, " in lines[0]
    assert "1 pack condemned" in lines[2]
    assert lines[3].startswith(f"{Path('far').absolute()}: 2 chunks, ")
    assert lines[-1] == "need it to be read whole: lenet@1"
    assert large.lines("tier", "--low", "far")[0].startswith("no low planes to give")
    lines = large.lines("tier", "--back")
    assert lines[0].startswith("2 chunks, ")
    assert " keeps them: " in lines[1]


def test_a_place_that_is_away(large: Any) -> None:
    """Reading whole has exit code 3 and names the place; looking and leading bits work."""
    large("tier", "--low", "far")
    large("gc", "--now")
    Path("far").rename("away")
    for words in (("get", "lenet", "out"), ("cat", "lenet:lenet.safetensors#body")):
        error = large.json(*words, code=3)["error"]
        assert str(Path("far").absolute()) in error["message"]
        assert "--bits" in error["hint"]
    assert not Path("out").exists()
    for words in (
        ("show", "lenet"),
        ("tensors", "lenet"),
        ("log", "lenet"),
        ("list",),
        ("du",),
        ("get", "lenet", "rough", "--bits", "8"),
        ("gc", "--now"),
        ("archive",),
    ):
        large.json(*words)
    assert large.json("fsck", "--full")["findings"][0]["kind"] == "elsewhere"
    assert "cannot be reached" in large("tier").stdout
    assert large.json("tier", "--back", code=3)["error"]["kind"] == "unreachable"
    large("tier", "--low", "away")
    large("get", "lenet", "out")


@pytest.mark.parametrize(
    "words",
    [("--back", "--low", "far"), ("--back", "lenet"), ("lenet",), ("--dry-run",), ("--bits", "9")],
)
def test_what_cannot_be_meant_is_refused(large: Any, words: tuple[str, ...]) -> None:
    """A place or ``--back`` has to be given, and not both."""
    large.json("tier", *words, code=2)


def test_places_that_are_none(large: Any) -> None:
    """A folder without a store is not found, and the store itself takes nothing."""
    large.json("tier", "--low", "nowhere", code=3)
    large.json("tier", "--low", ".mstore", code=2)

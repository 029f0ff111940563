"""``mstore search``, ``mstore reindex`` and what ``mstore list`` asks of them."""

import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def trained(mstore: Any) -> Any:
    """The command beside a store with two models, of which one lacks a metric."""
    mstore("init")
    for number, accuracy in enumerate((0.5, 0.9)):
        path = mstore.write_model("lenet.safetensors", 1, head=number)
        words = ("--metric", f"val/accuracy={accuracy}", "--task", "digit-recognition")
        mstore("put", path, "-m", f"epoch {number}", *words)
    mstore("put", mstore.write_model("other.safetensors", 2), "--parent", "lenet@2")
    return mstore


def test_search(trained: Any) -> None:
    """Matches are a table with a column for each field that was named, then what is not known."""
    lines = trained.lines("search", "val/accuracy > 0.8 and derived from lenet")
    assert re.split(r" {2,}", lines[0]) == [
        *("VERSION", "HASH", "STATE", "SIZE", "TIME", "val/accuracy", "MESSAGE")
    ]
    assert re.match(r"lenet@2 .* 0\.9 +epoch 1$", lines[1])
    assert lines[2:] == ["1 match among 3", "1 version lacks 'val/accuracy': other@1"]


def test_search_in_english(trained: Any) -> None:
    """A sentence is shown as it was understood, and the words that were not are named."""
    lines = trained.lines("search", "fast", "digit", "recognition", "with", "accuracy>80%")
    assert lines[:2] == ["parsed: accuracy > 0.8", "not understood: 'fast', 'digit', 'recognition'"]
    assert lines[2] == "'accuracy' means 'val/accuracy'"


def test_search_explains(trained: Any) -> None:
    """``--explain`` shows the parts of the search, their SQL, and what each found."""
    text = trained("search", "val/accuracy > 0.8 or size < 1", "--explain").stdout
    assert "parsed: val/accuracy > 0.8 or size < 1" in text
    assert "  val/accuracy > 0.8: true 1, not known 1\n" in text
    assert "USING COVERING INDEX metric_by_name" in text


def test_search_as_json(trained: Any) -> None:
    """The JSON has everything that the table has."""
    value = trained.json("search", "has val/accuracy order by val/accuracy desc", "limit 1")
    assert (value["total"], value["language"]) == (2, "query")
    (match,) = value["matches"]
    assert (match["labels"], match["values"]) == (["lenet@2"], {"val/accuracy": 0.9})
    assert trained.json("search", "size > 1", "--explain")["steps"][0]["true"] == 3


def test_an_error_is_marked(trained: Any) -> None:
    """The place that is not understood has carets under it, and the nearest name is told."""
    result = trained("search", "size > 1 and val/acuracy > 0.8", code=2)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "mstore: 'val/acuracy' is no field, and no metric or parameter of any version",
        "  size > 1 and val/acuracy > 0.8",
        "               ^^^^^^^^^^^",
        "hint: did you mean 'val/accuracy'?",
    ]
    error = trained.json("search", "size > 1 adn b", code=2)["error"]
    assert error["kind"] == "query"


def test_a_hostile_search_is_inert(trained: Any) -> None:
    """What would steer a terminal is escaped, in the text and under it."""
    result = trained("search", "size > 1 \x1b[2J", code=2)
    assert "\x1b" not in result.stderr
    assert result.stderr.splitlines()[1:3] == ["  size > 1 \\x1b[2J", "           ^^^^"]


def test_reindex(trained: Any) -> None:
    """Reindex says where the catalogue is and what is in it."""
    (line,) = trained.lines("reindex")
    place = Path(".mstore/cache/catalog.db").absolute()
    assert re.fullmatch(rf"{place}: 2 names, 3 versions, 2 metrics, 4 tensors in \d\.\d s", line)
    assert trained.json("reindex")["versions"] == 3


def test_an_unusual_catalogue_is_said(trained: Any) -> None:
    """What was wrong with the catalogue is said on stderr, and in the JSON."""
    trained("search", "size > 1")
    for_people, for_programs = Path(".mstore/cache/catalog.db"), b"\x1b rubbish"
    for_people.write_bytes(for_programs)
    assert "it is made anew" in trained("search", "size > 1").stderr
    for_people.write_bytes(for_programs)
    assert "it is made anew" in trained.json("search", "size > 1")["notices"][0]


def test_list_can_be_asked(trained: Any) -> None:
    """Models are chosen and ordered by their newest versions."""
    lines = trained.lines("list", "--where", "size > 0 order by name desc")
    assert [line.split("@")[0] for line in lines[1:]] == ["other", "lenet"]
    value = trained.json("list", "--where", "val/accuracy > 0.8", "--task", "digit recognition")
    assert [row["name"] for row in value["models"]] == ["lenet"]
    assert [group["labels"] for group in value["lacking"]] == [["other@1"]]
    assert trained.lines("list", "--where", "name = none") == ["no model fits"]
    assert "^" in trained("list", "--where", "colour > 1", code=2).stderr
    trained("list", "--name", "lenet", "--where", "size > 0", code=2)


def test_list_needs_no_catalogue(trained: Any) -> None:
    """Without a question ``list`` makes no catalogue."""
    trained("list")
    assert not Path(".mstore/cache/catalog.db").exists()

"""``mstore lineage`` and ``mstore list --graph``."""

from typing import Any

import pytest


@pytest.fixture
def family(stocked: Any) -> Any:
    """Beside ``lenet``: two fine-tunes, a merge of both, and an upload of one of them."""
    write = stocked.write_model
    tuned = ("--parent", "lenet@1", "--relation", "fine-tuned", "--dataset", "cats")
    stocked("put", write("left.safetensors", 1, head=10), *tuned)
    quantised = ("--parent", "lenet@3", "--relation", "quantised", "-m", "smaller")
    stocked("put", write("right.safetensors", 1, head=11), *quantised)
    both = ("--parent", "left", "--parent", "right", "--relation", "merged")
    stocked("put", write("both.safetensors", 1, head=12), *both)
    stocked("put", write("upload.safetensors", 1, head=12))
    return stocked


def test_a_graph_across_models(family: Any) -> None:
    """The merge stands above both of its parents, each with how it came from its own."""
    lines = family.lines("lineage", "both", "--graph")
    assert lines[0].startswith("* both@1 ")
    assert lines[0].endswith("<- merged left@1 <- merged right@1 <= here")
    assert lines[1] == "|\\"
    assert any(
        "right@1" in line and line.endswith("smaller <- quantised lenet@3") for line in lines
    )
    assert any("left@1" in line and line.endswith("<- fine-tuned lenet@1") for line in lines)
    assert lines[-1] == "the same weights: both@1, upload@1"


def test_a_table(family: Any) -> None:
    """Without --graph ancestors stand above, descendants below, with their steps."""
    rows = [line.split()[:2] for line in family.lines("lineage", "left")[1:-1]]
    assert rows == [["-1", "lenet@1"], ["0", "left@1"], ["+1", "both@1"]]
    only_up = family.lines("lineage", "left", "--up")
    assert not any("both@1" in line for line in only_up)
    near = family.lines("lineage", "both", "--up", "--depth", "1")
    assert not any("lenet@" in line.split()[1] for line in near[1:-1])


def test_a_data_set(family: Any) -> None:
    """Everything made from a data set: who names it, and who came from those."""
    found = family.json("lineage", "--dataset", "cats")
    named = {row["names"][0]: row["names_dataset"] for row in found["versions"]}
    assert named == {"left@1": True, "both@1": False}
    assert found["inferred"] is None
    family("lineage", "--dataset", "dogs", code=3)


def test_json(family: Any) -> None:
    """The parents of each version, with relation and name."""
    rows = family.json("lineage", "both", "--up")["versions"]
    assert [(p["relation"], p["label"]) for p in rows[0]["parents"]] == [
        ("merged", "left@1"),
        ("merged", "right@1"),
    ]
    assert [row["steps"] for row in rows] == [0, -1, -1, -2, -3, -2]


def test_infer(family: Any) -> None:
    """A guess says how sure it is and why; --record makes it a note, nothing else does."""
    lines = family.lines("lineage", "--infer", "upload")
    assert lines == ["the same weights: both@1, upload@1", "no parent could be inferred"]
    stray = family.write_model("stray.safetensors", 1, head=20)
    family("put", stray)
    found = family.json("lineage", "--infer", "stray")
    (guess,) = found["inferred"]["parents"]
    assert guess["label"] == "stray@1"
    assert guess["shared"] == 1
    assert not guess["recorded"]
    lines = family.lines("lineage", "--infer", "stray", "--record")
    assert "inferred, confidence" in lines[0]
    assert lines[1].endswith("; recorded as a note")


def test_one_question_at_a_time(family: Any) -> None:
    """Questions that exclude one another are refused before anything is looked at."""
    family("lineage", code=2)
    family("lineage", "left", "right", code=2)
    family("lineage", "left", "--dataset", "cats", code=2)
    family("lineage", "--infer", "--dataset", "cats", code=2)
    family("lineage", "left", "--record", code=2)
    family("lineage", "nothing", code=3)


def test_list_draws_all_models(family: Any) -> None:
    """``list --graph`` has every version of every model once, newest first."""
    lines = family.lines("list", "--graph")
    versions = [line for line in lines if "*" in line.partition("@")[0]]
    assert len(versions) == 7
    assert "upload@1" in versions[0]
    assert family.json("list", "--graph") == family.json("list")

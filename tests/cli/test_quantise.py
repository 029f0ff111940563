"""``mstore quantise``: fewer bits, and how far that is from what it was."""

from typing import Any

import pytest


def test_json_says_how_far_numbers_moved(stocked: Any) -> None:
    """A dry run and the real one tell the same errors and sizes."""
    words = ("quantise", "lenet", "--to", "int8", "--per-channel", "--exclude", "head")
    plan = stocked.json(*words, "--dry-run")
    done = stocked.json(*words)
    assert (plan["version"], plan["number"], plan["dry_run"]) == (None, None, True)
    assert (done["name"], done["number"], done["source"]) == ("lenet-int8", 1, "lenet@3")
    assert plan["tensors"] == done["tensors"]
    assert [tensor["name"] for tensor in done["tensors"]] == ["body"]
    assert done["max_error"] == done["tensors"][0]["error"] > 0
    assert done["bytes_after"] == stocked.json("show", "lenet-int8")["version"]["size"]


def test_text_names_the_greatest_error(stocked: Any) -> None:
    """The version, the sizes and the greatest errors stand on lines of their own."""
    lines = stocked.lines("quantise", "lenet@1", "--to", "fixed8", "--name", "small")
    assert lines[0].startswith("small@1 ")
    assert lines[1] == "2 tensors of lenet@1 to fixed8"
    assert " before, " in lines[2]
    assert lines[2].endswith(" stored")
    assert lines[3].startswith("greatest error ")
    assert "% " in lines[4].replace(",", " ")
    again = stocked.lines("quantise", "lenet@1", "--to", "fixed8", "--name", "small")
    assert again[1] == "unchanged: no new version was made"
    dry = stocked.lines("quantise", "lenet@1", "--to", "int4", "--dry-run")
    assert dry[0] == "lenet@1 would become a version of lenet-int4"


def test_the_graph_shows_the_lineage(stocked: Any) -> None:
    """Log and show name the version that it was quantised from."""
    stocked("quantise", "lenet", "--to", "fp16")
    assert "quantised" in stocked("log", "lenet-fp16", "--graph").stdout
    shown = stocked.json("show", "lenet-fp16")
    assert shown["parents"][0]["relation"] == "quantised"


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "int3"),
        ("--to", "fp16", "--codebook", "random"),
        ("--to", "int8", "--seed", "-1"),
        (),
    ],
)
def test_what_is_no_scheme_is_a_usage_error(stocked: Any, words: tuple[str, ...]) -> None:
    """A scheme that there is not, or an option that it has no use for, exits with 2."""
    stocked("quantise", "lenet", *words, code=2)
    assert len(stocked.json("list")["models"]) == 1

"""Planes on the command line: ``archive --planes``, ``get --bits``, ``cat --bits``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file


@pytest.fixture
def large(mstore: Any) -> Any:
    """The command beside a store with a model of which one tensor is worth cutting."""
    mstore("init")
    mstore("put", mstore.write_model("lenet.safetensors", 1, rows=4096))
    return mstore


def test_archive_planes_as_json(large: Any) -> None:
    """A dry run foresees what is cut, the run cuts it, and another finds it done."""
    foreseen = large.json("archive", "--planes", "8,16", "--dry-run")
    assert (foreseen["tensors"], foreseen["written_bytes"], foreseen["dry_run"]) == (1, 0, True)
    made = large.json("archive", "lenet", "--planes", "8,16")
    assert (made["levels"], made["tensors"], made["tensors_total"]) == ([8, 16], 1, 1)
    assert made["leading_bytes"] < made["bytes_after"] / 3
    assert large.json("archive", "--planes", "8,16")["tensors"] == 0


def test_archive_planes_as_text(large: Any) -> None:
    """People are told how many tensors were cut and what their first bits take."""
    assert (
        "1 would be cut after 8, 16 bits"
        in large("archive", "--planes", "8,16", "--dry-run").stdout
    )


@pytest.mark.parametrize("words", [("--planes", "8,x"), ("--planes", "16,8"), ("--planes", "")])
def test_levels_that_are_none_are_refused(large: Any, words: tuple[str, ...]) -> None:
    """Levels are ascending numbers with commas between them: anything else is wrong usage."""
    large.json("archive", *words, code=2)


def test_planes_are_not_planned(large: Any) -> None:
    """With ``--planes`` an option of the planner is refused, as it would do nothing."""
    error = large.json("archive", "--planes", "8", "--alpha", "2", code=2)["error"]
    assert "give --planes alone" in error["message"]


def test_get_with_bits(large: Any) -> None:
    """The file has the middle of every float and says so; the answer says what was read."""
    large("archive", "--planes", "8,16")
    large("gc", "--now")
    got = large.json("get", "lenet", "rough.safetensors", "--bits", "8")
    assert got["bits"] == 8
    assert 0 < got["bytes_read"] < got["stored_bytes"] / 2
    with safe_open("rough.safetensors", "numpy") as file:
        assert file.metadata()["mstore_bits"] == "8"
    exact, rough = load_file("lenet.safetensors"), load_file("rough.safetensors")
    assert list(rough) == list(exact)
    assert (np.signbit(rough["body"]) == np.signbit(exact["body"])).all()
    text = large("get", "lenet", "again.safetensors", "--bits", "16").stdout
    assert "16 leading bits of each float: read " in text
    assert Path("again.safetensors").stat().st_size == Path("rough.safetensors").stat().st_size
    plain = large.json("get", "lenet", "exact.safetensors")
    assert (plain["bits"], plain["bytes_read"], plain["stored_bytes"]) == (None, None, None)


def test_cat_with_bits(large: Any) -> None:
    """Rows of a tensor come as the middle of what their leading bits allow."""
    place = "lenet:lenet.safetensors#body[0]"
    assert large.json("cat", place, "--bits", "64") == large.json("cat", place)
    assert large.json("cat", place, "--bits", "9") != large.json("cat", place)
    failed = large.json("cat", "lenet:lenet.safetensors", "--bits", "9", code=2)
    assert "is no tensor" in failed["error"]["message"]


@pytest.mark.parametrize("bits", ["0", "65", "x"])
def test_bits_that_no_number_has_are_refused(large: Any, bits: str) -> None:
    """Bits are 1 to 64."""
    large.json("get", "lenet", "--bits", bits, code=2)

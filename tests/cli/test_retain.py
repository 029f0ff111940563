"""``mstore retain``: which versions of a run stay."""

from typing import Any

import numpy as np
import pytest

import mstore as library


@pytest.fixture
def run(mstore: Any) -> Any:
    """The command beside a store with a run of four steps, each with an optimizer state."""
    mstore("init")
    with library.open(".mstore") as store:
        for step in range(10, 50, 10):
            words = {"optimizer": {"m": np.full(9, step)}, "metrics": {"loss": 1 / step}}
            store.checkpoint({"w": np.full(9, step)}, "run", step, **words)
    return mstore


def test_json_says_what_stays_and_goes(run: Any) -> None:
    """The dry run and the real one say the same, bytes aside."""
    words = ("retain", "run", "--last", 1, "--every", 20, "--keep-optimizer-last", 1)
    plan = run.json(*words, "--dry-run")
    done = run.json(*words)
    assert plan["freed_bytes"] > 0
    assert {**plan, "dry_run": False, "freed_bytes": None} == done
    assert [(row["label"], row["step"]) for row in done["kept"]] == [
        ("run@2", 20),
        ("run@4", 40),
        ("run/optimizer@4", 40),
    ]
    assert done["kept"][1]["reasons"] == ["every 20", "last 1"]
    assert len(done["removed"]) == 5


def test_text_says_why(run: Any) -> None:
    """Each version that stays says why, each that goes stands on a line of its own."""
    lines = run.lines("retain", "run", "--best", "loss:min", "--dry-run")
    assert lines[0].split() == ["KEPT", "STEP", "WHY"]
    assert "best loss (min 0.025)" in lines[1]
    assert "would be stripped run@1" in lines
    assert lines[-1].startswith("gc could then free")
    assert run.lines("retain", "run", "--best", "loss:min")[-1].startswith("run 'mstore gc'")
    assert run.lines("retain", "run", "--best", "loss:min")[-1] == "every version stays"


def test_forget_deletes(run: Any) -> None:
    """With --forget the versions are deleted."""
    assert run.json("retain", "run", "--last", 3, "--forget")["fate"] == "deleted"
    assert run.json("log", "run")["versions"][-1]["state"] == "deleted"


@pytest.mark.parametrize("words", [(), ("--best", "loss"), ("--last", "0")])
def test_unclear_rules_are_usage_errors(run: Any, words: tuple[str, ...]) -> None:
    """Rules that say nothing, or not clearly what, exit with 2 and change nothing."""
    run("retain", "run", *words, code=2)
    assert all(row["state"] == "kept" for row in run.json("log", "run")["versions"])

"""The garbage-collection protocol holds, and every one of its rules is needed."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load_model() -> ModuleType:
    path = Path(__file__).with_name("gc_model.py")
    spec = importlib.util.spec_from_file_location("gc_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gc_model"] = module
    spec.loader.exec_module(module)
    return module


gc_model = _load_model()
A, B = gc_model.A, gc_model.B
Rules = gc_model.Rules
OF_BASES = {"gc_marks_bases", "base_live_only", "dedupe_follows_bases"}
"""The rules without which differences lose their bases."""

CASES = {"a writer and a tagger, two runs": ((A, A), (1,), 2)}
if os.environ.get("MSTORE_THOROUGH"):  # two minutes
    CASES["two writers, two runs"] = ((A, A | B), (), 2)
    CASES["three writers, one run"] = ((A, A | B, A), (2,), 1)


@pytest.mark.parametrize(("needs", "taggers", "runs"), CASES.values(), ids=CASES)
def test_protocol_is_safe(needs: tuple[int, ...], taggers: tuple[int, ...], runs: int) -> None:
    """In no reachable state does a visible ref need an object that is gone."""
    verdict = gc_model.explore(gc_model.Model(Rules(), needs, taggers, runs))
    assert verdict.trace == ()


@pytest.mark.parametrize(
    ("needs", "taggers", "runs", "recodings"),
    [((B,), (), 2, 2), ((B, B), (), 1, 1), ((B, B), (1,), 1, 1)],
    ids=["a writer, two runs", "two writers, one run", "a writer and a tagger, one run"],
)
def test_differences_are_safe(
    needs: tuple[int, ...], taggers: tuple[int, ...], runs: int, recodings: int
) -> None:
    """The same when writers store differences from what may be deleted, and forms change."""
    model = gc_model.Model(Rules(), needs, taggers, runs, recodings, deltas=True)
    assert gc_model.explore(model).trace == ()


def test_exploration_is_exhaustive() -> None:
    """The number of states is that of a full exploration, so no rule was lost by a slip."""
    verdict = gc_model.explore(gc_model.Model(Rules(), (A, A), (1,), 2))
    assert verdict.states == 130_988
    verdict = gc_model.explore(gc_model.Model(Rules(), (B,), (), 2, 2, deltas=True))
    assert verdict.states == 76_198


@pytest.mark.parametrize("rule", Rules._fields)
def test_every_rule_is_needed(rule: str) -> None:
    """Without any single rule some order of steps loses an object that a visible ref needs."""
    rules = Rules(**{rule: False})
    if rule in OF_BASES:
        model = gc_model.Model(rules, (B,), (), 2, 2, deltas=True)
    else:
        model = gc_model.Model(rules, (A, A), (1,), 2)
    assert gc_model.explore(model).trace

"""The garbage-collection protocol holds, and every one of its rules is needed."""

import importlib.util
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


@pytest.mark.parametrize(
    ("needs", "taggers", "runs"),
    [((A, A | B), (), 2), ((A, A), (1,), 2), ((A, A | B, A), (2,), 1)],
    ids=["two writers, two runs", "a writer and a tagger, two runs", "three writers, one run"],
)
def test_protocol_is_safe(needs: tuple[int, ...], taggers: tuple[int, ...], runs: int) -> None:
    """In no reachable state does a visible ref need an object that is gone."""
    verdict = gc_model.explore(gc_model.Model(Rules(), needs, taggers, runs))
    assert verdict.trace == ()


def test_exploration_is_exhaustive() -> None:
    """The number of states is that of a full exploration, so no rule was lost by a slip."""
    verdict = gc_model.explore(gc_model.Model(Rules(), (A, A), (1,), 2))
    assert verdict.states == 130_988


@pytest.mark.parametrize("rule", Rules._fields)
def test_every_rule_is_needed(rule: str) -> None:
    """Without any single rule some order of steps loses an object that a visible ref needs."""
    rules = Rules(**{rule: False})
    verdict = gc_model.explore(gc_model.Model(rules, (A, A), (1,), 2))
    assert verdict.trace

"""Live models: pytrees, parents that are known by themselves, what is refused."""

import gc
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mstore
from mstore import InvalidInputError
from mstore.ops import origins
from mstore.ops.put import PutResult
from mstore.store import Store


def parents(store: Store, put: PutResult) -> list[tuple[bytes, str]]:
    """Give the parents of a version with their relations."""
    return [(parent.id, parent.relation) for parent in store.parts.odb.version(put.version).parents]


@pytest.fixture
def first(store: Store) -> PutResult:
    """Store a module as ``lenet``."""
    torch.manual_seed(0)
    return store.put(nn.Sequential(nn.Linear(3, 4)), "lenet")


def _dict(store: Store) -> Any:
    loaded = store.load("lenet", "torch")
    loaded["0.bias"] = loaded["0.bias"] + 1
    return loaded


def _module(store: Store) -> Any:
    model = store.load("lenet", into=nn.Sequential(nn.Linear(3, 4)))
    torch.nn.init.ones_(model[0].bias)
    return model


def _arrays(store: Store) -> Any:
    return store.load("lenet")


def _tensors(store: Store) -> Any:
    return store.load("lenet", "torch")


CASES = {
    "a dict": (_dict, lambda loaded: loaded),
    "a module": (_module, lambda model: model),
    "a module that moved": (_module, lambda model: model.double().float()),
    "its state dict": (_module, lambda model: model.state_dict()),
    "a plain dict": (_arrays, dict),
    "views": (_tensors, lambda loaded: {n: t.view(t.shape) for n, t in loaded.items()}),
}
"""How something is loaded, and what is made of it while it lives."""


@pytest.mark.parametrize("case", CASES)
def test_what_was_loaded_is_the_parent(store: Store, first: PutResult, case: str) -> None:
    """Dicts that load gave, filled modules and their state dicts know where they came from."""
    load, make = CASES[case]
    loaded = load(store)
    put = store.put(make(loaded), "tuned")
    assert parents(store, put) == [(bytes(first.version), "fine-tuned")]


def test_an_older_version_is_the_parent_of_what_was_made_of_it(
    store: Store, first: PutResult
) -> None:
    """The parent is what was loaded, not what happens to be newest."""
    old = store.load("lenet@1")
    second = store.put({"0.weight": np.ones((4, 3)), "0.bias": np.zeros(4)}, "lenet")
    put = store.put({**old, "0.bias": old["0.bias"] * 2}, "lenet")
    assert parents(store, put) == [(bytes(second.version), "derived")]
    old["0.bias"] = old["0.bias"] * 2
    put = store.put(old, "lenet", always=True)
    assert parents(store, put) == [(bytes(first.version), "fine-tuned")]


def test_other_tensors_are_derived(store: Store, first: PutResult) -> None:
    """A model with other names or shapes than it was loaded with is not called fine-tuned."""
    loaded = store.load("lenet")
    loaded["head"] = np.ones(3)
    put = store.put(loaded, "grown")
    assert parents(store, put) == [(bytes(first.version), "derived")]


def test_what_is_said_wins(store: Store, first: PutResult) -> None:
    """Parents and relation that are given are taken as given."""
    loaded = store.load("lenet")
    assert parents(store, store.put(loaded, "alone", parents=[])) == []
    put = store.put(loaded, "merged", relation="merged")
    assert parents(store, put) == [(bytes(first.version), "merged")]


def test_a_mixture_has_no_parent(store: Store, first: PutResult) -> None:
    """A dict of arrays from several versions, or from none, came from nowhere in particular."""
    store.put({"w": np.ones(3)}, "other")
    mixed = {**store.load("lenet"), **store.load("other")}
    assert parents(store, store.put(mixed, "mixed")) == []
    assert parents(store, store.put({"a": np.ones(2)}, "new")) == []
    assert first.number == 1


def test_another_store_knows_nothing(store: Store, first: PutResult, tmp_path: Any) -> None:
    """A model that was loaded from a store has no parent in one that lacks the version."""
    loaded = store.load("lenet")
    elsewhere, _ = mstore.init(tmp_path / "elsewhere")
    assert parents(elsewhere, elsewhere.put(loaded, "lenet")) == []
    assert first.number == 1


def test_a_run_begins_where_its_model_was_loaded_from(store: Store, first: PutResult) -> None:
    """The first step of a run is fine-tuned from what was loaded, each other follows the last."""
    model = _module(store)
    for step in range(3):
        store.checkpoint(model.state_dict(), "run", step)
        torch.nn.init.constant_(model[0].bias, step)
    store.close()
    found = [store.resolve(f"run@{number}").version for number in (1, 2, 3)]
    named = [store.parts.odb.version(version).parents for version in found]
    assert [(parent.id, parent.relation) for (parent,) in named] == [
        (bytes(first.version), "fine-tuned"),
        (bytes(found[0]), "derived"),
        (bytes(found[1]), "derived"),
    ]


@pytest.mark.parametrize("collected", [False, True])
def test_a_deleted_version_is_no_hindrance(
    store: Store, first: PutResult, *, collected: bool
) -> None:
    """A model whose version was deleted meanwhile is stored, with its parent while there is one."""
    loaded = store.load("lenet")
    store.delete("lenet")
    if collected:
        store.gc(now=True)
        store.gc(now=True)
    put = store.put(loaded, "again")
    expected = [] if collected else [(bytes(first.version), "fine-tuned")]
    assert parents(store, put) == expected
    assert (store.load("again")["0.bias"] == loaded["0.bias"]).all()


def test_nothing_is_kept_alive(store: Store, first: PutResult) -> None:
    """Remembering where a model came from does not hold its memory."""
    model = store.load("lenet", into=nn.Sequential(nn.Linear(3, 4)))
    versions = [version for _, version in origins._VERSIONS.values()]
    assert versions.count(first.version) == 3
    del model
    gc.collect()
    assert first.version not in [version for _, version in origins._VERSIONS.values()]


def test_a_nested_dict_is_flattened_by_path(store: Store) -> None:
    """Nested dicts and lists of arrays are tensors with paths as names, in any framework."""
    tree = {"encoder": [{"w": np.ones((2, 3)), "b": np.zeros(3)}], "head": torch.ones(2)}
    put = store.put(tree, "tree")
    assert sorted(store.load("tree")) == ["encoder/0/b", "encoder/0/w", "head"]
    assert put.files == 2
    flat = store.put(dict(store.load("tree")), "flat")
    versions = [store.parts.odb.version(found.version) for found in (put, flat)]
    assert versions[0].model_hash == versions[1].model_hash


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {0: np.ones(1)}}, "key 0 in 'a'"),
        ({"a": {"b": 3}}, "'a/b' is a int"),
        ({"a": {"b/c": np.ones(1), "b": {"c": np.ones(1)}}}, "have the path 'a/b/c'"),
    ],
)
def test_what_a_pytree_cannot_hold(store: Store, tree: Any, message: str) -> None:
    """Keys that are no text, leaves that are no arrays and ambiguous paths are named."""
    with pytest.raises(InvalidInputError, match=message):
        store.put(tree, "tree")
    assert store.models() == []


def test_a_tree_without_an_end_is_refused(store: Store) -> None:
    """A dict that holds itself is nested too deeply."""
    tree: dict[str, Any] = {}
    tree["a"] = tree
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        store.put(tree, "tree")


@pytest.mark.parametrize("source", [7, None, object(), [np.ones(2)], b"path"])
def test_what_is_neither_model_nor_path_is_refused(store: Store, source: Any) -> None:
    """Anything else than a model, a dict or paths is named by its type."""
    with pytest.raises(InvalidInputError, match=type(source).__name__):
        store.put(source, "model")


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_what_cannot_be_filled_is_refused(store: Store, first: PutResult, framework: str) -> None:
    """A list is nothing to load into."""
    with pytest.raises(InvalidInputError, match="list"):
        store.load("lenet", framework, into=[])
    assert first.number == 1


@pytest.mark.parametrize(
    "value",
    [
        np.ones(2, np.complex128),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.array([object()]),
        np.array(["text"]),
        np.array(["2026-01-01"], "M8[D]"),
        np.ma.masked_array(np.ones(2), [0, 1]),
        np.ones(2, np.longdouble),
    ],
    ids=["complex128", "structured", "objects", "text", "dates", "masked", "longdouble"],
)
def test_arrays_that_are_no_tensors_are_refused(store: Store, value: Any) -> None:
    """What no dtype of SPEC §6.2 can hold is named, and nothing is stored."""
    with pytest.raises(InvalidInputError, match="'w'"):
        store.put({"w": value}, "w")
    assert store.models() == []


def test_numbers_with_the_big_end_first_are_turned(store: Store) -> None:
    """An array of the other byte order is the same tensor."""
    values = np.arange(5, dtype=">f4")
    big, little = store.put({"w": values}, "w"), store.put({"w": values.astype("<f4")}, "w")
    assert little.unchanged
    assert big.tensors == 1
    assert (store.load("w")["w"] == values).all()

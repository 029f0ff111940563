"""Parents recovered from weights: of networks that were really fine-tuned, nothing recorded."""

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.unit.provenance.family import STRANGER, TREE, State, family

import mstore
from mstore.errors import InvalidInputError
from mstore.provenance.infer import TOPIC, Inferred
from mstore.store import Store

EDGES = {frozenset((name, parent)) for name, parent in TREE.items() if parent is not None}


@pytest.fixture(scope="module")
def networks() -> dict[str, State]:
    """The weights of a family of twelve and of a stranger."""
    return family()


def stored(path: Path, weights: Mapping[str, State], seed: int = 0) -> Store:
    """A store of models in an order that says nothing, without any metadata."""
    names = sorted(weights)
    random.Random(seed).shuffle(names)
    store, _ = mstore.init(path)
    for name in names:
        store.put(weights[name], name=name)
    return store


def edges(inferred: Inferred) -> set[frozenset[str]]:
    """Who was joined with whom, by the names of models."""
    return {
        frozenset(label.partition("@")[0] for label in (edge.label, edge.parent_label))
        for edge in inferred.parents
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_a_tree_is_recovered(tmp_path: Path, networks: dict[str, State], seed: int) -> None:
    """Of eleven edges at least ten are found, none leads to the stranger, the upload is named."""
    weights = {**networks, "upload": networks["owls"]}
    found = stored(tmp_path / "store", weights, seed).infer_parents()
    assert len(edges(found) & EDGES) >= len(EDGES) - 1
    assert not any(STRANGER in edge for edge in edges(found))
    (duplicate,) = found.duplicates
    assert set(duplicate.names) == {"owls@1", "upload@1"}
    assert all(0 < edge.confidence < 1 for edge in found.parents)


def test_renamed_layers_do_not_hide_a_parent(tmp_path: Path, networks: dict[str, State]) -> None:
    """A prefix on all names of a fine-tune is looked through."""
    renamed = {f"model.{name}": array for name, array in networks["birds"].items()}
    weights = {"base": networks["animals"], "tuned": renamed, "other": networks[STRANGER]}
    found = stored(tmp_path / "store", weights).infer_parents()
    assert edges(found) == {frozenset(("base", "tuned"))}


def test_fewer_bits_came_later(tmp_path: Path, networks: dict[str, State]) -> None:
    """A version in half of the bits was made from the whole one, although it was stored before."""
    store, _ = mstore.init(tmp_path / "store")
    half = {name: array.astype(np.float16) for name, array in networks["base"].items()}
    store.put(half, name="half")
    store.put(networks["base"], name="whole")
    (edge,) = store.infer_parents().parents
    assert (edge.label, edge.parent_label) == ("half@1", "whole@1")
    assert "has fewer bits than its parent" in edge.reason


def test_what_was_recorded_stands(tmp_path: Path, networks: dict[str, State]) -> None:
    """A version whose parent is known gets no other one."""
    store, _ = mstore.init(tmp_path / "store")
    store.put(networks["base"], name="base")
    store.put(networks["plants"], name="plants", parents=["base"], relation="fine-tuned")
    store.put(networks["trees"], name="trees")
    assert edges(store.infer_parents()) == {frozenset(("trees", "plants"))}
    assert store.infer_parents("plants").parents == ()


def test_only_what_was_asked_for(tmp_path: Path, networks: dict[str, State]) -> None:
    """With a revision only its parent is told, found among all models."""
    store = stored(tmp_path / "store", networks)
    found = store.infer_parents("oaks")
    assert [edge.label for edge in found.parents] == ["oaks@1"]
    assert found.considered == len(networks)


def test_recording_adds_a_note_once(tmp_path: Path, networks: dict[str, State]) -> None:
    """Nothing is written but on request, and then a note that says it was inferred."""
    weights = {name: networks[name] for name in ("base", "plants")}
    store = stored(tmp_path / "store", weights)
    (guess,) = store.infer_parents().parents
    assert store.notes(guess.label) == []
    for _ in range(2):
        (edge,) = store.infer_parents(record=True, author="Tester").parents
        assert edge.recorded
    (row,) = store.notes(guess.label)
    assert (row.note.topic, row.note.author) == (TOPIC, "Tester")
    assert row.note.metadata["parent"] == str(guess.parent)
    assert row.note.metadata["confidence"] == guess.confidence
    assert store.show(guess.label).parents == ()


def test_sketches_are_enough(
    tmp_path: Path, networks: dict[str, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is too much to read whole, sketches recover nearly all of the tree."""
    monkeypatch.setattr("mstore.provenance.infer.MAX_EXACT", 0)
    found = stored(tmp_path / "store", networks).infer_parents()
    assert not any(edge.exact for edge in found.parents)
    assert len(edges(found) & EDGES) >= len(EDGES) - 2


def test_nothing_to_compare(tmp_path: Path) -> None:
    """A version without tensors has nothing to infer from; an empty store infers nothing."""
    store, _ = mstore.init(tmp_path / "store")
    assert store.infer_parents() == Inferred((), (), 0, 0)
    path = tmp_path / "notes.txt"
    path.write_text("no weights", encoding="utf-8")
    store.put(path, name="notes")
    with pytest.raises(InvalidInputError, match="'notes'"):
        store.infer_parents("notes")


def test_stripped_versions_are_compared_by_their_sketches(
    tmp_path: Path, networks: dict[str, State]
) -> None:
    """What the store still knows of a stripped version is enough, where it keeps a sketch."""
    large = {"w": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)}
    moved = {"w": large["w"] * np.float32(1.001)}
    store = stored(tmp_path / "store", {"large": large, "moved": moved, "base": networks["base"]})
    store.strip(["moved"])
    assert edges(store.infer_parents()) == {frozenset(("large", "moved"))}

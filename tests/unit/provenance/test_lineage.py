"""What versions came from, and what was made of them."""

from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.errors import InvalidInputError, NotFoundError
from mstore.schema import SCHEMA_MODEL
from mstore.store import Store


def put(store: Store, name: str, seed: int, **given: object) -> str:
    """Store one tensor under a name; the label of the version."""
    array = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32)
    done = store.put({"w": array}, name=name, **given)  # type: ignore[arg-type]  # put's own options
    return f"{done.name}@{done.number}"


@pytest.fixture
def family(store: Store) -> Store:
    """``base`` twice; ``left`` and ``right`` from it, merged to ``both``; a ``stranger``."""
    put(store, "base", 0, datasets=["cats"])
    put(store, "base", 1, datasets=["dogs"])
    put(store, "left", 2, parents=["base@1"], relation="fine-tuned")
    put(store, "right", 3, parents=["base@2"], relation="quantised")
    put(store, "both", 4, parents=["left", "right"], relation="merged")
    put(store, "stranger", 5)
    return store


def steps(store: Store, revision: str, **given: object) -> dict[str, int]:
    """The versions of a lineage by name, and how far they are."""
    rows = store.lineage(revision, **given).versions  # type: ignore[arg-type]  # its own options
    return {row.names[0]: row.steps for row in rows}


def test_ancestors_and_descendants(family: Store) -> None:
    """Up leads to all ancestors, down to all descendants, across models."""
    up = steps(family, "both", down=False)
    assert up == {"both@1": 0, "left@1": -1, "right@1": -1, "base@1": -2, "base@2": -2}
    down = steps(family, "base@2", up=False)
    assert down == {"base@2": 0, "right@1": 1, "both@1": 2}
    assert steps(family, "right") == {"both@1": 1, "right@1": 0, "base@2": -1, "base@1": -2}


def test_depth_is_counted_in_steps(family: Store) -> None:
    """With a depth nothing further away is told."""
    assert steps(family, "both", depth=1) == {"both@1": 0, "left@1": -1, "right@1": -1}
    assert steps(family, "both", depth=0) == {"both@1": 0}


def test_no_parent_stands_before_its_child(family: Store) -> None:
    """Rows are newest first, and a merge comes before both of its parents."""
    rows = family.history().versions
    places = {row.id: at for at, row in enumerate(rows)}
    assert len(rows) == 6
    for row in rows:
        assert all(places[parent.id] > places[row.id] for parent in row.parents)
    (both,) = [row for row in rows if row.names == ("both@1",)]
    assert [(p.relation, p.label) for p in both.parents] == [
        ("merged", "left@1"),
        ("merged", "right@1"),
    ]


def test_everything_made_from_a_data_set(family: Store) -> None:
    """Those that name it, and all that descend from these, whatever they name themselves."""
    found = {row.names[0]: row.names_dataset for row in family.made_from("dogs").versions}
    assert found == {"base@2": True, "right@1": False, "both@1": False}
    everything = {row.names[0] for row in family.made_from("cats").versions}
    assert everything == {"base@1", "base@2", "left@1", "right@1", "both@1"}
    with pytest.raises(NotFoundError, match="'birds'"):
        family.made_from("birds")
    with pytest.raises(InvalidInputError):
        family.made_from("")


def test_deleted_parents_are_still_there(family: Store) -> None:
    """A version that no model has any more is told as long as others came from it."""
    family.delete("left@1")
    rows = {row.id: row for row in family.lineage("both").versions}
    (gone,) = [row for row in rows.values() if row.state == "deleted"]
    assert gone.names == ()
    assert [parent.label for parent in gone.parents] == ["base@1"]


def test_duplicates_are_pointed_out(family: Store) -> None:
    """The same weights under the names of two models are told, those of one model are not."""
    put(family, "upload", 2)
    put(family, "stranger", 5, always=True)
    (duplicate,) = family.lineage("base").duplicates + family.lineage("left").duplicates
    assert duplicate.names == ("left@1", "upload@1")
    assert family.history().duplicates == (duplicate,)


def test_what_has_no_name_has_no_lineage(family: Store, tmp_path: Path) -> None:
    """A version that nothing names and nothing came from is not found."""
    version = family.resolve("stranger").version
    family.delete("stranger")
    with pytest.raises(NotFoundError):
        family.lineage(f"blake3:{version}")
    assert mstore.init(tmp_path / "empty")[0].history().versions == ()


def test_the_schema_is_no_model(family: Store, tmp_path: Path) -> None:
    """The team's schema, which is stored as a model, is not drawn among the models."""
    path = tmp_path / "schema.toml"
    path.write_text("", encoding="utf-8")
    family.put(path, name=SCHEMA_MODEL)
    assert len(family.history().versions) == 6

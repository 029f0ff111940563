"""``mstore import``: folders of Hugging Face with what their cards say."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

CARD = """---
license: apache-2.0
tags: [text, tiny]
language: en
datasets:
  - imdb
pipeline_tag: text-classification
base_model: google/bert-tiny
base_model_relation: {relation}
model-index:
  - name: tuned
    results:
      - task: {{type: text-classification}}
        dataset: {{name: imdb, type: imdb, split: test}}
        metrics:
          - {{type: accuracy, value: 0.91}}
          - {{type: loss, value: 0.3}}
---
# A tuned model
"""


def write_folder(mstore: Any, folder: str, seed: int, card: str) -> Path:
    """Write a folder as ``save_pretrained`` leaves it, with a card."""
    mstore.write_model(f"{folder}/model.safetensors", seed)
    place = Path(folder)
    config = {"model_type": "bert", "hidden_size": 8, "id2label": {"0": "bad"}, "_name": "x"}
    (place / "config.json").write_text(json.dumps(config))
    (place / "tokenizer.json").write_text("{}")
    (place / "README.md").write_text(card)
    return place


@pytest.fixture
def tuned(mstore: Any) -> Any:
    """A store beside a base model and one that was tuned from it."""
    mstore("init")
    write_folder(mstore, "bert-tiny", 1, "# No front matter\n")
    write_folder(mstore, "tuned", 2, CARD.format(relation="finetune"))
    return mstore


def test_a_folder_comes_with_its_card(tuned: Any) -> None:
    """Licence, tags, data sets, results and task are kept; the base model is the parent."""
    assert tuned.lines("import", "bert-tiny")[0] == "imported 1 version"
    report = tuned.json("import", "tuned", "--name", "team/tuned")
    assert report["remarks"] == []
    shown = tuned.json("show", "team/tuned")
    version = shown["version"]
    assert version["task"] == "text-classification"
    assert version["datasets"] == ["imdb"]
    assert version["metrics"] == {"imdb/test/accuracy": 0.91, "imdb/test/loss": 0.3}
    assert version["parameters"] == {"model_type": "bert", "hidden_size": 8}
    assert version["metadata"]["card"]["license"] == "apache-2.0"
    assert version["metadata"]["card"]["tags"] == ["text", "tiny"]
    parent = tuned.json("show", "bert-tiny")["id"]
    assert version["parents"] == [{"id": parent, "relation": "fine-tuned"}]
    tuned("get", "team/tuned", "back")
    for path in Path("tuned").iterdir():
        assert (Path("back") / path.name).read_bytes() == path.read_bytes()


def test_a_base_model_that_is_not_there_is_metadata(tuned: Any) -> None:
    """The name is kept, and the text says that the store does not have it."""
    lines = tuned.lines("import", "tuned")
    assert lines[-1].startswith("note: base model 'google/bert-tiny' is not in the store")
    version = tuned.json("show", "tuned")["version"]
    assert version["metadata"]["card"]["base_model"] == "google/bert-tiny"
    assert version["parents"] == []


def test_importing_again_makes_nothing(tuned: Any) -> None:
    """The same folder is there; a dry run stores nothing."""
    assert tuned.lines("import", "tuned", "--dry-run")[0] == "would import 1 version"
    assert tuned.json("list")["models"] == []
    tuned("import", "tuned")
    assert tuned.json("import", "tuned")["versions"][0]["state"] == "there"
    assert tuned.json("show", "tuned")["names"] == ["tuned@1"]


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("---\na: &a [x]\nb: *a\n---\n", "alias"),
        ("---\na: [\n---\n", "not YAML"),
        (f"---\na: {'x' * 300_000}\n---\n", "bytes"),
        ("---\n!!python/object/apply:os.system ['touch canary']\n---\n", "not YAML"),
    ],
)
def test_a_bad_card_is_refused(mstore: Any, card: str, reason: str) -> None:
    """Aliases, broken text, too much of it and code are named, and nothing is stored."""
    mstore("init")
    write_folder(mstore, "evil", 1, card)
    assert reason in mstore.json("import", "evil", code=2)["error"]["message"]
    assert mstore.json("list")["models"] == []
    assert not Path("canary").exists()


def test_what_is_neither_is_refused(mstore: Any) -> None:
    """A place that is not there, and one that nobody knows, are told apart."""
    mstore("init")
    mstore("import", "nowhere", code=3)
    Path("some").mkdir()
    os.mkfifo("pipe")
    mstore("import", "pipe", code=2)
    assert "adopt" in mstore.json("import", "some", code=2)["error"]["hint"]


def test_other_databases_are_left_as_they_are(mstore: Any) -> None:
    """A database that is broken or not MLflow's is refused, and nothing is made in it."""
    mstore("init")
    broken, other = Path("broken.db"), Path("other.db")
    broken.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE runs (id)")
        database.commit()
    before = other.read_bytes()
    assert "cannot be read" in mstore.json("import", broken, code=2)["error"]["message"]
    assert "neither" in mstore.json("import", other, code=2)["error"]["message"]
    assert other.read_bytes() == before

"""Data sets by what is in them, hashed once."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.errors import InvalidInputError, NotFoundError
from mstore.ops import datasets
from mstore.ops.datasets import hash_datasets, split_dataset
from mstore.ops.ids_only import hash_source
from mstore.ops.sources import scan_paths


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder of two old files, one of them in a folder of its own."""
    folder = tmp_path / "digits"
    (folder / "part").mkdir(parents=True)
    (folder / "a.csv").write_text("1,2\n", encoding="utf-8")
    (folder / "part/b.csv").write_text("3,4\n", encoding="utf-8")
    return folder


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is hashed from now on."""
    seen: list[Any] = []
    hash_source = datasets.hash_source

    def watch(source: Any, progress: Any = None) -> Any:
        seen.append(source.name)
        return hash_source(source, progress)

    monkeypatch.setattr(datasets, "hash_source", watch)
    monkeypatch.setattr(datasets, "SETTLED_SECONDS", -60.0)
    return seen


def test_the_hash_is_that_of_put(store: Any, digits: Path) -> None:
    """A folder's hash is the id of its tree, a file's that of the file: what put gives them."""
    found = hash_datasets(store.parts, {"train": digits, "file": digits / "a.csv", "far": None})
    assert found.names == ("train", "file", "far")
    put = store.put(digits, "data")
    assert bytes(found.ids["train"]) == store.parts.odb.version(put.version).tree
    assert found.ids["file"] == next(f.id for f in store.show("data").files if f.path == "a.csv")
    assert "far" not in found.ids


def test_data_is_hashed_once(store: Any, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged files are not read again; changed, new and renamed ones are."""
    seen = reads(monkeypatch)
    first = hash_datasets(store.parts, {"train": digits}).ids
    assert hash_datasets(store.parts, {"train": digits}).ids == first
    assert seen == ["digits"]
    os.utime(digits / "a.csv", ns=(1, 1))
    assert hash_datasets(store.parts, {"train": digits}).ids == first
    (digits / "new").mkdir()
    assert hash_datasets(store.parts, {"train": digits}).ids != first
    assert len(seen) == 3


def test_young_files_are_read_again(store: Any, digits: Path) -> None:
    """What changed a moment ago is not trusted to be unchanged."""
    hash_datasets(store.parts, {"train": digits})
    assert list(store.parts.backend.list(datasets.PREFIX)) == []


def test_a_damaged_cache_is_no_matter(
    store: Any, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry of the cache that is damaged, of others or cut is not believed."""
    seen = reads(monkeypatch)
    first = hash_datasets(store.parts, {"train": digits}).ids
    (item,) = store.parts.backend.list(datasets.PREFIX)
    content = store.parts.backend.read(item.key)
    for damaged in (b"", content[:40], content[:-1] + b"x", bytes(len(content))):
        store.parts.backend.replace_cache(item.key, damaged)
        assert hash_datasets(store.parts, {"train": digits}).ids == first
    assert len(seen) == 5


def test_the_same_data_is_recognised(
    store: Any, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that was hashed under another name, in another place, is said to be the same."""
    reads(monkeypatch)
    hash_datasets(store.parts, {"digits": digits})
    copy = tmp_path / "copy"
    digits.rename(copy)
    found = hash_datasets(store.parts, {"train": copy})
    assert found.remarks == ("data set 'train' is the same data as 'digits'",)


def test_put_keeps_them(store: Any, digits: Path) -> None:
    """A version has the names of its data sets, and the hashes of those at hand."""
    weights = {"w": np.zeros(3, np.float32)}
    put = store.put(weights, "lenet", datasets={"train": digits, "imagenet": None})
    version = store.parts.odb.version(put.version)
    assert version.datasets == ("train", "imagenet")
    assert version.dataset_ids == {"train": bytes(hash_source(scan_paths([digits])).id)}
    again = store.put(weights, "lenet", datasets={"train": digits, "imagenet": None})
    assert again.unchanged
    (digits / "a.csv").write_text("5,6\n", encoding="utf-8")
    assert not store.put(weights, "lenet", datasets={"train": digits}).unchanged


def test_words_of_the_command_line(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME=PATH, a path and a name are told apart; a path with nothing there is a mistake."""
    monkeypatch.chdir(digits.parent)
    assert split_dataset("train=digits") == ("train", Path("digits"))
    assert split_dataset("digits/") == ("digits", Path("digits"))
    assert split_dataset("imagenet") == ("imagenet", None)
    assert split_dataset("train=imagenet") == ("train=imagenet", None)
    with pytest.raises(NotFoundError, match="data set 'train': no file or folder 'data/mnist'"):
        split_dataset("train=data/mnist")
    for text in ("", "=digits", "train="):
        with pytest.raises(InvalidInputError, match="not of the form"):
            split_dataset(text)

"""Naming stray files: exactly, or by what is nearest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mstore.errors import CorruptError, NotFoundError
from mstore.ids import ObjectId
from mstore.ops.identify import Nearest, identify
from mstore.store import Store

Writer = Callable[..., Path]


@pytest.fixture
def known(store: Store, write_model: Writer, weights: dict[str, np.ndarray]) -> Store:
    """Two versions of one model and a folder with a shard, a tokenizer and a configuration."""
    store.put(write_model(weights), "lenet")
    store.put(write_model({**weights, "fc.bias": np.ones(64, np.float32)}), "lenet")
    folder = write_model({"a": np.ones(9), "b": np.ones(8)}, "team/model.safetensors").parent
    (folder / "tokenizer.json").write_text('{"tokens": {}}')
    store.put(folder, "team")
    return store


def labels(store: Store, path: Path) -> list[tuple[str, str]]:
    """What a path is exactly, and how that was found."""
    return [(match.label, match.how) for match in identify(store.parts, path).exact]


def test_same_bytes(known: Store, tmp_path: Path) -> None:
    """A file that came out of the store is named by its version."""
    known.get("lenet@1", tmp_path / "stray.safetensors")
    assert labels(known, tmp_path / "stray.safetensors") == [("lenet@1", "bytes")]


def test_same_tensors_after_saving_again(
    known: Store, weights: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Other metadata and another order make other bytes of the same model."""
    save_file(dict(reversed(weights.items())), tmp_path / "s.safetensors", metadata={"a": "b"})
    assert labels(known, tmp_path / "s.safetensors") == [("lenet@1", "tensors")]


def test_same_tensors_in_shards(
    known: Store, weights: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """A model that was split over two files is the same model."""
    names = sorted(weights)
    folder = tmp_path / "sharded"
    folder.mkdir()
    for number, part in enumerate((names[:2], names[2:])):
        save_file({name: weights[name] for name in part}, folder / f"{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    assert labels(known, folder) == [("lenet@1", "tensors")]


def test_same_folder(known: Store, tmp_path: Path) -> None:
    """A folder that came out of the store is named by its version."""
    known.get("team", tmp_path / "stray")
    assert labels(known, tmp_path / "stray") == [("team@1", "bytes")]


def test_one_file_of_a_folder(known: Store, tmp_path: Path) -> None:
    """One file of several is named with its path, whatever kind of file it is."""
    known.get("team", tmp_path / "stray")
    found = labels(known, tmp_path / "stray" / "tokenizer.json")
    assert found == [("team@1:tokenizer.json", "bytes")]


def test_every_name_of_a_version_is_given(known: Store, tmp_path: Path) -> None:
    """A version with two names matches under both."""
    known.rename("team", "group")
    known.put(known.load("lenet@1"), "copy")
    known.get("copy", tmp_path / "stray.safetensors")
    assert ("copy@1", "bytes") in labels(known, tmp_path / "stray.safetensors")
    assert ("lenet@1", "tensors") in labels(known, tmp_path / "stray.safetensors")


def test_nearest_version(known: Store, weights: dict[str, np.ndarray], write_model: Writer) -> None:
    """What is no version is nearest to the one that has most of its tensors."""
    stray = {**weights, "fc.bias": np.ones(64, np.float32), "step": np.array(99)}
    found = identify(known.parts, write_model(stray, "stray.safetensors"))
    assert found.exact == ()
    assert found.nearest == Nearest("lenet@2", 4, 5, known.resolve("lenet@2").version)


def test_nothing_in_common(known: Store, write_model: Writer) -> None:
    """Without one equal tensor there is no nearest version."""
    found = identify(known.parts, write_model({"x": np.full(7, 3.0)}, "stray.safetensors"))
    assert (found.exact, found.nearest) == ((), None)


def test_model_hash_is_that_of_the_version(known: Store, tmp_path: Path) -> None:
    """The hash that is told is the one that ``put`` noted."""
    known.get("lenet@1", tmp_path / "stray.safetensors")
    found = identify(known.parts, tmp_path / "stray.safetensors")
    assert found.model_hash == ObjectId(known.show("lenet@1").version.model_hash or b"")


def test_unknown_text_file(known: Store, tmp_path: Path) -> None:
    """A file without tensors has no model hash and no nearest version."""
    (tmp_path / "notes.txt").write_text("words")
    found = identify(known.parts, tmp_path / "notes.txt")
    assert (found.exact, found.model_hash, found.nearest) == ((), None, None)


def test_nothing_is_written(known: Store, write_model: Writer) -> None:
    """Looking makes no pack and no lease."""
    files = sorted(path for path in Path(known.path).rglob("*") if "cache" not in path.parts)
    identify(known.parts, write_model({"x": np.full(7, 3.0)}, "stray.safetensors"))
    again = sorted(path for path in Path(known.path).rglob("*") if "cache" not in path.parts)
    assert again == files


def test_broken_header_is_named(known: Store, tmp_path: Path) -> None:
    """A safetensors file that breaks a rule is refused with its name."""
    (tmp_path / "bad.safetensors").write_bytes(b'\x05\x00\x00\x00\x00\x00\x00\x00{"a"}')
    with pytest.raises(CorruptError, match=r"bad\.safetensors"):
        identify(known.parts, tmp_path / "bad.safetensors")


def test_missing_path(known: Store, tmp_path: Path) -> None:
    """A path where nothing is, is not found."""
    with pytest.raises(NotFoundError):
        identify(known.parts, tmp_path / "none")


def test_loaded_again(known: Store, tmp_path: Path) -> None:
    """A file written from what ``load`` gave is recognised."""
    save_file(dict(known.load("lenet@2")), tmp_path / "again.safetensors")
    assert labels(known, tmp_path / "again.safetensors")[0][0] == "lenet@2"
    assert sorted(load_file(tmp_path / "again.safetensors")) == sorted(known.load("lenet@2"))

"""Every model file that people have goes in and comes out bit for bit."""

import json
import os
import random
from pathlib import Path

import pytest

from mstore.format.dtypes import DTYPE_BITS
from mstore.format.safetensors import build_header
from mstore.ops.encoding import POLICIES, Policy
from mstore.store import Store


def stored_and_back(store: Store, path: Path, tmp_path: Path) -> bytes:
    """What ``get`` gives after ``put``."""
    store.put(path, "m")
    return store.get("m", tmp_path / "back").path.read_bytes()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_every_dtype(store: Store, tmp_path: Path, dtype: str, policy: Policy) -> None:
    """Matrices, a vector, an empty tensor and all bit patterns of a dtype, under any codec.

    The second version is a difference from the first wherever that is smaller.
    """
    shapes = [("matrix", (64, 48)), ("vector", (16,)), ("empty", (0, 7)), ("cube", (2, 4, 8))]
    if DTYPE_BITS[dtype] % 8 == 0:
        shapes.append(("scalar", ()))
    header = build_header([(name, dtype, shape) for name, shape in shapes], {"dtype": dtype})
    counts = [64 * 48, 16, 0, 64] + [1] * (DTYPE_BITS[dtype] % 8 == 0)
    size = sum(count * DTYPE_BITS[dtype] // 8 for count in counts)
    path = tmp_path / "model.safetensors"
    body = bytes(i * 37 % 256 for i in range(size))
    for content in (body, body[:-8] + bytes(8), body[::-1]):
        path.write_bytes(header + content)
        store.put(path, "m", codec=policy)
        got = store.get("m", tmp_path / "back", force=True).path
        assert got.read_bytes() == path.read_bytes()
    assert {row.dtype for row in store.tensors("m")} == {dtype}


def header_bytes(fields: object, padding: int = 0) -> bytes:
    """A safetensors header of any JSON, padded with spaces."""
    text = json.dumps(fields).encode() + b" " * padding
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("padding", [0, 1, 7, 100])
def test_any_order_padding_and_metadata(store: Store, tmp_path: Path, padding: int) -> None:
    """Keys in another order than the bytes, odd padding and odd metadata are kept."""
    fields = {
        "z": {"shape": [2], "data_offsets": [8, 16], "dtype": "F32"},
        "__metadata__": {"": "empty key", "ключ": "значение\n\t\u0001", "format": "pt"},
        "a": {"dtype": "I64", "data_offsets": [0, 8], "shape": []},
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(header_bytes(fields, padding) + os.urandom(16))
    assert stored_and_back(store, path, tmp_path) == path.read_bytes()


def test_sharded_folder_with_its_index(store: Store, tmp_path: Path) -> None:
    """Shards, their index and a tokenizer come back, and the shards are one model."""
    folder = tmp_path / "m"
    folder.mkdir()
    for number in (1, 2):
        fields = {f"layer{number}": {"dtype": "F16", "shape": [500], "data_offsets": [0, 1000]}}
        content = header_bytes(fields) + os.urandom(1000)
        (folder / f"model-0000{number}-of-00002.safetensors").write_bytes(content)
    index = {"weight_map": {f"layer{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "tokenizer.json").write_text(json.dumps({"vocab": list(range(5000))}))
    store.put(folder)
    store.get("m", tmp_path / "back")
    for path in folder.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    assert store.read("m", "torch").keys() == ["layer1", "layer2"]


def test_folder_of_two_thousand_files(store: Store, tmp_path: Path) -> None:
    """Many small files come back, in a handful of files of the store."""
    folder = tmp_path / "m"
    rng = random.Random(0)
    for number in range(2000):
        path = folder / f"d{number % 20}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(300)))
    store.put(folder)
    store.get("m", tmp_path / "back")
    for path in folder.rglob("f*"):
        assert (tmp_path / "back" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert len(list(Path(store.path, "objects").iterdir())) == 1


@pytest.mark.parametrize("name", ["weights.pt", "model.bin", "model.gguf", "short", "empty"])
def test_unknown_files_are_bytes(store: Store, tmp_path: Path, name: str) -> None:
    """Pickles, GGUF and anything else are stored as they are and never loaded."""
    content = {"short": b"\x05\x00", "empty": b""}.get(name, b"\x80\x02cos\nsystem\n" * 40000)
    path = tmp_path / name
    path.write_bytes(content)
    assert stored_and_back(store, path, tmp_path) == content
    assert store.tensors("m") == []


def test_safetensors_under_another_name_is_still_tensors(store: Store, tmp_path: Path) -> None:
    """A file is known by its bytes: without its ending it shares its tensors all the same."""
    fields = {"w": {"dtype": "F32", "shape": [100000], "data_offsets": [0, 400000]}}
    content = header_bytes(fields) + os.urandom(400000)
    (tmp_path / "a.safetensors").write_bytes(content)
    (tmp_path / "0123abcd").write_bytes(content)
    store.put(tmp_path / "a.safetensors", "m")
    assert store.put(tmp_path / "0123abcd", "n").new_bytes < 2000

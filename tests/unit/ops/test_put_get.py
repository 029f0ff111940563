"""Putting and getting back: the same bytes, and what is shared."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)
from mstore.format.objects import encode_object
from mstore.format.safetensors import build_header
from mstore.ids import hash_chunk
from mstore.objects import OpaqueFile, TensorFile, Tree, TreeEntry, Version
from mstore.ops.encoding import POLICIES
from mstore.ops.sources import FileSource
from mstore.parts import Transaction
from mstore.store import Store

Weights = dict[str, np.ndarray]
WriteModel = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and every empty folder as None."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
        elif not any(path.iterdir()):
            found[str(path.relative_to(folder))] = b"(folder)"
    return found


def test_file_comes_back_bit_for_bit(
    store: Store, write_model: WriteModel, weights: Weights, tmp_path: Path
) -> None:
    """A safetensors file put and got is the same file."""
    path = write_model(weights, epoch="3")
    result = store.put(path)
    assert (result.name, result.number, result.tensors) == ("lenet", 1, 5)
    assert result.size_bytes == path.stat().st_size
    got = store.get("lenet", tmp_path / "out.safetensors")
    assert got.path.read_bytes() == path.read_bytes()


def test_get_into_a_folder_keeps_the_file_name(
    store: Store, write_model: WriteModel, weights: Weights, tmp_path: Path
) -> None:
    """A version of one file got into an existing folder lands inside it, under its own name."""
    path = write_model(weights)
    store.put(path)
    (tmp_path / "out").mkdir()
    assert store.get("lenet", tmp_path / "out").path == tmp_path / "out" / "lenet.safetensors"


def test_folder_comes_back_whole(
    store: Store, write_model: WriteModel, weights: Weights, tmp_path: Path
) -> None:
    """A folder with weights, text, an empty file, an empty folder and a script comes back."""
    model = tmp_path / "model"
    (model / "sub" / "empty").mkdir(parents=True)
    shutil.copy(write_model(weights), model / "model.safetensors")
    (model / "config.json").write_text('{"layers": 2}')
    (model / "sub" / "nothing").write_bytes(b"")
    (model / "weights.pt").write_bytes(os.urandom(1 << 20))
    script = model / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    store.put(model)
    store.get("model", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)
    assert os.access(tmp_path / "back" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "back" / "config.json", os.X_OK)


def test_growth_is_what_is_on_the_disk(store: Store, weights: Weights, tmp_path: Path) -> None:
    """The bytes that a put says it stored are those by which the packs grew."""
    before = 0
    for policy in POLICIES:
        scaled = {name: array * 2 for name, array in weights.items()}
        weights = {name: scaled[name].astype(weights[name].dtype) for name in weights}
        result = store.put(weights, "lenet", codec=policy)
        now = sum(path.stat().st_size for path in (tmp_path / "store" / "objects").iterdir())
        assert result.stored_bytes == now - before
        before = now


def test_folder_of_many_kinds_of_files_is_encoded_in_order(store: Store, tmp_path: Path) -> None:
    """Large and small, text and weights, all in threads: each file gets its own bytes back."""
    folder = tmp_path / "m"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        big = rng.standard_normal((1500 + number, 1000), dtype=np.float32)
        tensors = {"big": big, "small": big[:3].copy(), "tiny": big[0, :7].copy()}
        save_file(tensors, folder / f"{number}.safetensors")
        (folder / f"{number}.txt").write_text("line of text\n" * 200_000)
        (folder / f"{number}.bin").write_bytes(os.urandom(3 << 20))
    seen: list[tuple[int, int, int]] = []
    store.put(folder, progress=lambda *counts: seen.append(counts))
    store.get("m", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(folder)
    assert seen == sorted(seen)
    assert seen[-1][0] <= seen[-1][1] == sum(path.stat().st_size for path in folder.iterdir())


def test_unchanged_model_makes_no_new_version(
    store: Store, write_model: WriteModel, weights: Weights
) -> None:
    """The same files again are the same version, unless a new one is asked for."""
    path = write_model(weights)
    first = store.put(path)
    again = store.put(path)
    assert again.unchanged
    assert (again.number, again.version, again.new_bytes) == (1, first.version, 0)
    assert store.put(path, always=True).number == 2


def test_new_metric_makes_a_new_version_of_unchanged_files(
    store: Store, write_model: WriteModel, weights: Weights
) -> None:
    """The same files with something new to say of them are a new version."""
    path = write_model(weights)
    store.put(path)
    assert store.put(path, metrics={"val/accuracy": 0.9}).number == 2


@pytest.mark.parametrize("change", ["rename", "metadata", "reshard", "add"])
def test_rearranging_costs_about_nothing(store: Store, tmp_path: Path, change: str) -> None:
    """Renamed tensors, other metadata, other shards or one more tensor cost under 1 %."""
    rng = np.random.default_rng(1)
    big = {f"layer{i}": rng.standard_normal((512, 512), dtype=np.float32) for i in range(8)}
    folder = tmp_path / "m"
    folder.mkdir()
    save_file(big, folder / "a.safetensors")
    first = store.put(folder)
    (folder / "a.safetensors").unlink()
    if change == "rename":
        save_file({f"model.{k}": v for k, v in big.items()}, folder / "a.safetensors")
    elif change == "metadata":
        save_file(big, folder / "a.safetensors", metadata={"epoch": "2"})
    elif change == "reshard":
        save_file({k: big[k] for k in list(big)[:3]}, folder / "a-1.safetensors")
        save_file({k: big[k] for k in list(big)[3:]}, folder / "a-2.safetensors")
    else:
        save_file(big | {"bias": np.zeros(4, np.float32)}, folder / "a.safetensors")
    second = store.put(folder)
    assert second.number == 2
    assert second.stored_bytes < first.stored_bytes / 100


def test_model_hash_does_not_depend_on_shards(
    store: Store, tmp_path: Path, weights: Weights
) -> None:
    """The same tensors in one file and in two have one model hash."""
    save_file(weights, tmp_path / "one.safetensors")
    shards = tmp_path / "two"
    shards.mkdir()
    save_file({k: weights[k] for k in ("fc.weight", "step")}, shards / "1.safetensors")
    save_file(
        {k: v for k, v in weights.items() if k not in ("fc.weight", "step")},
        shards / "2.safetensors",
    )
    one = store.show(f"{store.put(tmp_path / 'one.safetensors').name}")
    two = store.show(f"{store.put(shards, 'two').name}")
    assert one.version.model_hash == two.version.model_hash


def test_state_dict_is_stored_and_loaded(store: Store, weights: Weights) -> None:
    """Arrays put as a dict are loaded equal, with their dtypes and shapes."""
    store.put(weights, "lenet", params={"lr": 0.1}, metrics={"loss": 1.5})
    loaded = store.load("lenet")
    assert set(loaded) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)


def test_state_dict_comes_back_as_a_safetensors_file(
    store: Store, weights: Weights, tmp_path: Path
) -> None:
    """What was put as arrays is got as a file that the safetensors library reads."""
    store.put(weights, "lenet")
    loaded = load_file(store.get("lenet", tmp_path / "w.safetensors").path)
    np.testing.assert_array_equal(loaded["fc.weight"], weights["fc.weight"])


def test_existing_target_is_kept_without_force(
    store: Store, write_model: WriteModel, weights: Weights, tmp_path: Path
) -> None:
    """What stands at the destination is only replaced with force."""
    store.put(write_model(weights))
    target = tmp_path / "mine"
    target.write_text("precious")
    with pytest.raises(ExistsError):
        store.get("lenet", target)
    assert target.read_text() == "precious"
    store.get("lenet", target, force=True)
    assert target.read_bytes() == write_model(weights).read_bytes()


def test_broken_safetensors_is_refused_and_nothing_stored(store: Store, tmp_path: Path) -> None:
    """A .safetensors file that breaks a rule is named, and the store stays as it was."""
    path = tmp_path / "bad.safetensors"
    path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(CorruptError, match=r"bad\.safetensors"):
        store.put(path)
    assert store.models() == []
    assert list(Path(store.path, "objects").iterdir()) == []
    assert list(Path(store.path, "tmp").iterdir()) == []


def test_a_dtype_of_tomorrow_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    """A dtype that is not known is refused in a .safetensors file, which is named.

    Under any other name such a file is kept as the bytes that it is.
    """
    header = b'{"a":{"dtype":"F2","shape":[4],"data_offsets":[0,1]}}'
    path = tmp_path / "new.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    with pytest.raises(UnsupportedError, match=r"new\.safetensors.*tensor 'a'.*F2"):
        store.put(path)
    assert store.models() == []
    assert store.put(path.rename(tmp_path / "new.dat")).tensors == 0
    assert store.get("new", tmp_path / "back").path.read_bytes().endswith(header + b"x")


def test_symbolic_link_is_refused_unless_followed(store: Store, tmp_path: Path) -> None:
    """A link in a folder is refused; with ``follow`` what it points to is stored."""
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "real").write_text("x")
    (folder / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InvalidInputError, match="symbolic link"):
        store.put(folder)
    store.put(folder, follow=True)
    store.get("m", tmp_path / "back")
    assert (tmp_path / "back" / "link").read_text() == "x"


def test_device_is_refused(store: Store, tmp_path: Path) -> None:
    """A pipe in a folder is refused without being opened."""
    folder = tmp_path / "m"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        store.put(folder)


def test_case_twins_are_refused(store: Store, tmp_path: Path) -> None:
    """Two names that differ only in case are refused."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "Config.json").write_text("1")
    (folder / "config.json").write_text("2")
    with pytest.raises(InvalidInputError, match=r"[Cc]onfig.json"):
        store.put(folder)


def test_missing_path_is_not_found(store: Store, tmp_path: Path) -> None:
    """A path that is not there is said to be missing."""
    with pytest.raises(NotFoundError, match="nowhere"):
        store.put(tmp_path / "nowhere")


def test_file_that_changes_while_read_is_refused(tmp_path: Path) -> None:
    """A file written to between opening and finishing is a conflict."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)
    with FileSource(path) as source:
        path.write_bytes(b"y" * 100)
        with pytest.raises(ConflictError, match="changed while"):
            source.finish()
    with FileSource(path) as source:
        path.write_bytes(b"")
        with pytest.raises(ConflictError, match="changed while"):
            source.read_into(0, memoryview(bytearray(10)))


def test_same_large_opaque_file_with_an_insertion_shares_most(store: Store, tmp_path: Path) -> None:
    """Bytes inserted near the start of an opaque file cost a few chunks, not the file."""
    content = os.urandom(8 << 20)
    (tmp_path / "a.pt").write_bytes(content)
    (tmp_path / "b.pt").write_bytes(content[:1000] + b"inserted" + content[1000:])
    store.put(tmp_path / "a.pt", "x")
    assert store.put(tmp_path / "b.pt", "x").new_bytes < 1 << 20
    store.get("x", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "b.pt").read_bytes()


def add_version(store: Store, *entries: TreeEntry, single: bool = False) -> str:
    """A version with a tree of our own making; gives its id in hex."""
    with Transaction(store.parts) as transaction:
        tree = transaction.writer.add_object(Tree(entries))
        version = Version(tree=bytes(tree), size=0, time=0, single=single)
        oid = transaction.writer.add_object(version)
        transaction.publish()
    return str(oid)


def add_file(store: Store, file: OpaqueFile | TensorFile, *chunks: bytes) -> bytes:
    """A file object of our own making, and chunks."""
    with Transaction(store.parts) as transaction:
        for chunk in chunks:
            transaction.writer.add_chunk(hash_chunk(chunk), chunk)
        oid = transaction.writer.add_object(file)
        transaction.publish()
    return bytes(oid)


def test_get_refuses_a_single_file_that_is_none(store: Store, tmp_path: Path) -> None:
    """A version that says it is one file must have the tree of one; nothing is written."""
    empty = add_file(store, OpaqueFile(0))
    two = TreeEntry("a", "file", empty), TreeEntry("b", "file", empty)
    for entries in ((), two):
        with pytest.raises(CorruptError, match="single file"):
            store.get(add_version(store, *entries, single=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_get_refuses_a_file_that_is_not_as_long_as_it_says(store: Store, tmp_path: Path) -> None:
    """What is written is what the file's size said."""
    header = build_header([("x", "U8", (3,))])
    lie = TensorFile("safetensors", len(header) + 3, header)
    version = add_version(store, TreeEntry("a", "file", add_file(store, lie)))
    with pytest.raises(CorruptError, match=f"has {len(header)} bytes, not {len(header) + 3}"):
        store.get(version, tmp_path / "out")


@pytest.mark.parametrize("size", [2, 4])
def test_get_refuses_a_chunk_of_another_size(store: Store, tmp_path: Path, size: int) -> None:
    """A chunk has as many bytes as the file says."""
    lie = OpaqueFile(size, (size,), bytes(hash_chunk(b"abc")))
    version = add_version(store, TreeEntry("a", "file", add_file(store, lie, b"abc")))
    with pytest.raises(CorruptError, match="chunk of 3 bytes, not a chunk of"):
        store.get(version, tmp_path / "out")


def test_get_refuses_an_object_of_another_kind_as_a_chunk(store: Store, tmp_path: Path) -> None:
    """The payload of a file object is not the bytes of a file."""
    inner = add_file(store, OpaqueFile(0))
    _, payload = encode_object(OpaqueFile(0))
    lie = OpaqueFile(len(payload), (len(payload),), inner)
    version = add_version(store, TreeEntry("a", "file", add_file(store, lie)))
    with pytest.raises(CorruptError, match="is a file of"):
        store.get(version, tmp_path / "out")

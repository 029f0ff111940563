"""Comparing models: structure, what is read for it, and numbers across the pieces of a tensor."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file as save_torch

from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, InvalidInputError, NotFoundError
from mstore.objects import CHUNK_SIZE
from mstore.ops.diff import Comparison, Diff, TensorChange, diff
from mstore.ops.diff_sides import open_side
from mstore.parts import open_parts
from mstore.store import Store

Write = Callable[..., Path]


def one(found: Diff) -> Comparison:
    """The only comparison."""
    (comparison,) = found.others
    return comparison


def tensors(found: Diff) -> Mapping[str, TensorChange]:
    """Its tensors by name."""
    return {tensor.key: tensor for tensor in one(found).tensors}


def test_every_state(write_model: Write) -> None:
    """Added, removed, resized, retyped, changed and identical tensors are told apart."""
    rng = np.random.default_rng(0)
    same, moved = rng.standard_normal((2, 4, 4)).astype(np.float32)
    first = write_model(
        {"same": same, "moved": moved, "old": same[0], "size": same, "type": moved},
        "a.safetensors",
    )
    second = write_model(
        {
            "same": same,
            "moved": moved + 1,
            "new": np.zeros((0, 3), np.float32),
            "size": same[:2],
            "type": moved.astype(np.float16),
        },
        "b.safetensors",
    )
    found = diff(None, str(first), str(second))
    states = {key: tensor.state for key, tensor in tensors(found).items()}
    assert states == {
        "same": "identical",
        "moved": "changed",
        "new": "added",
        "size": "resized",
        "type": "retyped",
        "old": "removed",
    }
    counts = one(found).counts
    assert (counts.identical, counts.changed, counts.retyped, counts.resized) == (1, 1, 1, 1)
    assert (counts.added, counts.removed, counts.renamed, counts.moved) == (1, 1, 0, 0)
    assert tensors(found)["size"].figures is None
    assert tensors(found)["old"].dtype is None


def test_identical_tensors_are_not_read(store: Store, weights: Mapping[str, np.ndarray]) -> None:
    """Of two versions that share a tensor no chunk of it is read, of the other both are."""
    store.put(weights, name="a")
    tuned = {**weights, "fc.bias": weights["fc.bias"] + 1}
    store.put(tuned, name="b")
    parts = open_parts(LocalBackend(Path(store.path)))
    asked: list[bytes] = []
    read_into = parts.odb.read_into

    def watch(oid: bytes, buffer: bytearray | memoryview) -> None:
        asked.append(oid)
        read_into(oid, buffer)

    parts.odb.read_into = watch  # type: ignore[method-assign]  # watched, and then done
    found = diff(parts, "a", "b")
    assert len(asked) == 2
    assert found.bytes_read == 2 * weights["fc.bias"].nbytes
    bias = tensors(found)["fc.bias"].figures
    assert bias is not None
    assert bias.changed == 64
    assert one(found).counts.identical == 4
    assert diff(parts, "a", "a").bytes_read == 0
    assert len(asked) == 2


def test_no_chunk_of_identical_versions_is_needed(
    store: Store, weights: Mapping[str, np.ndarray]
) -> None:
    """Two stripped versions with the same weights are compared although no byte is here."""
    store.put(weights, name="a")
    store.put({f"model.{name}": array for name, array in weights.items()}, name="b")
    store.put({"other": weights["fc.bias"]}, name="kept")
    store.strip(["kept"])
    store.gc(now=True)
    found = store.diff("a", "b")
    assert one(found).counts.renamed == len(weights)
    assert one(found).counts.identical == len(weights)
    assert found.bytes_read == 0
    with pytest.raises(NotFoundError, match="stripped"):
        store.load("a")


def test_a_tensor_of_several_chunks(tmp_path: Path, store: Store) -> None:
    """A bf16 tensor longer than two chunks has the figures that torch finds of it whole."""
    torch.manual_seed(0)
    rows = 2 * CHUNK_SIZE // (2 * 1024) + 100
    base = torch.randn(rows, 1024)
    tuned = base + 0.01 * torch.randn(rows, 1)
    # One chunk stays as it is: only one side of it needs to be read.
    tuned[: CHUNK_SIZE // 2048] = base[: CHUNK_SIZE // 2048]
    sides = [side.to(torch.bfloat16) for side in (base, tuned)]
    for number, side in enumerate(sides):
        save_torch({"w": side}, tmp_path / f"{number}.safetensors")
        store.put(tmp_path / f"{number}.safetensors", name="m")
    found = store.diff("m@1", "m@2")
    figures = tensors(found)["w"].figures
    x, y = (side.double() for side in sides)
    assert figures is not None
    assert figures.changed == int((x != y).sum())
    assert figures.relative_l2 == pytest.approx(float((y - x).norm() / x.norm()), rel=1e-12)
    cosine = torch.nn.functional.cosine_similarity(x.reshape(-1), y.reshape(-1), dim=0)
    assert figures.cosine == pytest.approx(float(cosine), abs=1e-12)
    assert figures.max_change == float((y - x).abs().max())
    assert figures.rank_sampled
    assert found.bytes_read == 2 * sides[0].nbytes - CHUNK_SIZE
    assert one(found).total == one(store.diff("m@1", str(tmp_path / "1.safetensors"))).total


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(7),
        torch.zeros(0, 4),
        torch.tensor([True, False, True]),
        torch.tensor([1 + 2j, 3 - 4j]),
        torch.tensor([2**62, -5]),
        torch.tensor([1.0, float("nan"), float("inf")]),
        torch.zeros(6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    ],
    ids=["scalar", "empty", "bool", "complex", "int64", "not finite", "float4"],
)
def test_any_tensor(tmp_path: Path, tensor: torch.Tensor) -> None:
    """Tensors of every shape and kind are compared, with themselves and with others."""
    other = tensor.clone()
    other.reshape(-1).view(torch.uint8)[:1] ^= 1
    paths = []
    for name, side in (("a", tensor), ("b", other)):
        paths.append(f"{tmp_path}/{name}.safetensors")
        save_torch({"t": side}, paths[-1])
    same = tensors(diff(None, paths[0], paths[0]))["t"]
    found = tensors(diff(None, *paths))["t"]
    assert same.state == "identical"
    assert found.state == ("changed" if tensor.numel() else "identical")
    assert found.figures is not None
    assert found.figures.changed == bool(tensor.numel())


def test_renamed_by_id(write_model: Write) -> None:
    """A tensor with another name but the same id was renamed, also among many of the same id."""
    zeros = np.zeros(5, np.float32)
    first = write_model({"a.1.bias": zeros, "a.2.bias": zeros, "a.10.bias": zeros}, "a.safetensors")
    second = write_model({"b.1.b": zeros, "b.2.b": zeros, "b.10.b": zeros}, "b.safetensors")
    found = tensors(diff(None, str(first), str(second)))
    assert {key: tensor.base_key for key, tensor in found.items()} == {
        "b.1.b": "a.1.bias",
        "b.2.b": "a.2.bias",
        "b.10.b": "a.10.bias",
    }
    assert all(tensor.renamed and tensor.state == "identical" for tensor in found.values())


def test_renamed_and_changed(write_model: Write, weights: Mapping[str, np.ndarray]) -> None:
    """A fine-tune whose names all have another prefix is paired by what follows it."""
    first = write_model({f"old.{name}": array for name, array in weights.items()}, "a.safetensors")
    tuned = {f"a.b.{name}": np.asarray(array + 1, array.dtype) for name, array in weights.items()}
    second = write_model(tuned, "b.safetensors")
    counts = one(diff(None, str(first), str(second))).counts
    assert (counts.renamed, counts.added, counts.removed) == (len(weights), 0, 0)


def test_sharded_is_moved(tmp_path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """The same tensors in other files have moved, and no more."""
    parts = [dict(list(weights.items())[:2]), dict(list(weights.items())[2:])]
    for folder, files in (("one", {"model": weights}), ("two", {"1": parts[0], "2": parts[1]})):
        (tmp_path / folder).mkdir()
        for name, arrays in files.items():
            tensors_of = {key: torch.tensor(value) for key, value in arrays.items()}
            save_torch(tensors_of, tmp_path / folder / f"{name}.safetensors")
    found = one(diff(None, str(tmp_path / "one"), str(tmp_path / "two")))
    assert (found.counts.moved, found.counts.identical) == (len(weights), len(weights))
    assert [(file.state, file.path or file.base_path) for file in found.files] == [
        ("added", "1.safetensors"),
        ("added", "2.safetensors"),
        ("removed", "model.safetensors"),
    ]


def test_a_name_in_two_files(tmp_path: Path) -> None:
    """A name that occurs in two files is told with its path."""
    for number in (1, 2):
        path = tmp_path / "m" / f"{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_torch({"w": torch.full((2,), float(number))}, path)
    side = open_side(None, str(tmp_path / "m"))
    assert list(side.tensors) == ["1.safetensors#w", "2.safetensors#w"]
    side.close()


def test_settings_are_compared_by_key(store: Store, tmp_path: Path) -> None:
    """Nested keys of JSON files, metadata of safetensors files and what is said of versions."""
    for number, text in ((1, '{"a": {"b": 1, "c": true}}'), (2, '{"a": {"b": 1.0, "d": NaN}}')):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text(text, encoding="utf-8")
        (folder / "broken.json").write_text("{" * number, encoding="utf-8")
        deep = '{"a": ' * 500 + str(number) + "}" * 500
        (folder / "deep.json").write_text(deep, encoding="utf-8")
        metadata = {"step": str(number)}
        save_torch({"w": torch.zeros(2)}, folder / "model.safetensors", metadata=metadata)
        store.put(folder, name="m", task=f"task {number}", params={"lr": {"x": number}})
    store.note("m@2", metrics={"acc": 0.5}, tags=("good",))
    found = {
        (value.subject, value.key): (value.state, value.before, value.after)
        for value in one(store.diff("m@1", "m@2")).values
    }
    assert found["config.json", "a.b"] == ("changed", 1, 1.0)
    assert found["config.json", "a.c"] == ("removed", True, None)
    assert found["config.json", "a.d"][0] == "added"
    assert found["model.safetensors metadata", "step"] == ("changed", "1", "2")
    assert found["task", "task"] == ("changed", "task 1", "task 2")
    assert found["parameters", "lr.x"] == ("changed", 1, 2)
    assert found["metrics", "acc"] == ("added", None, 0.5)
    assert found["tags", "good"] == ("added", None, "good")
    assert {subject for subject, _ in found}.isdisjoint({"broken.json", "deep.json"})


def test_only_leading_planes_are_read(tmp_path: Path, store: Store) -> None:
    """Of a version in planes no more is read than its leading bits take, and the bounds hold."""
    torch.manual_seed(0)
    base = torch.randn(512, 512)
    save_torch({"w": base}, tmp_path / "a.safetensors")
    save_torch({"w": base + 0.01 * torch.randn(512, 512)}, tmp_path / "b.safetensors")
    store.put(tmp_path / "a.safetensors", name="a")
    store.put(tmp_path / "b.safetensors", name="b", parents=[])
    exact = one(store.diff("a", "b")).total
    store.archive_planes(["a", "b"], levels=(8, 16))
    found = store.diff("a", "b", bits=16)
    total = one(found).total
    assert exact is not None
    assert total is not None
    assert total.bounds is not None
    assert 0 < found.bytes_read < 0.5 * found.bytes_in_all
    for name in ("relative_l2", "cosine", "max_change", "changed", "changed_bits"):
        interval = getattr(total.bounds, name)
        assert interval.low <= getattr(exact, name) <= interval.high
    assert total.bounds.relative_l2 is not None
    assert total.bounds.relative_l2.high < 0.03


def test_integers_are_compared_by_all_bits(store: Store) -> None:
    """With leading bits the figures of integers are exact, their bounds are one number."""
    store.put({"w": np.arange(100)}, name="a")
    store.put({"w": np.arange(100) + 1}, name="b")
    figures = tensors(store.diff("a", "b", bits=8))["w"].figures
    assert figures is not None
    assert figures.bounds is not None
    assert figures.bounds.changed == (100, 100)
    assert figures.bounds.max_change == (1, 1)


def test_a_file_of_a_version(store: Store, tmp_path: Path) -> None:
    """One file of a version is compared with one on disk; a part of a file is refused."""
    for name in ("x", "y"):
        path = tmp_path / "m" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_torch({name: torch.zeros(2)}, path)
    store.put(tmp_path / "m", name="m")
    found = store.diff("m:x.safetensors", tmp_path / "m" / "x.safetensors")
    assert [tensor.state for tensor in one(found).tensors] == ["identical"]
    assert one(found).files == ()
    with pytest.raises(NotFoundError, match="no file 'z'"):
        store.diff("m:z", "m")
    with pytest.raises(InvalidInputError, match="part of a file"):
        store.diff("m:x.safetensors#x", "m")


def test_a_model_and_a_folder_of_one_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word means the model; with ./ before it, what lies on disk."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    save_torch({"w": torch.zeros(2)}, tmp_path / "m" / "w.safetensors")
    store.put({"w": np.ones(2, np.float32)}, name="m")
    found = store.diff("m", "./m")
    assert found.base.place is None
    assert one(found).side.place == str(tmp_path / "m")


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    """What changes on disk while it is compared is a conflict, not an answer."""
    path = tmp_path / "a.safetensors"
    save_torch({"w": torch.zeros(4)}, path)
    side = open_side(None, str(path))
    buffer = memoryview(bytearray(16))
    side.read(side.tensors["w"], 0, buffer)
    save_torch({"w": torch.ones(4)}, path)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    path.touch()
    with pytest.raises(ConflictError, match="changed while it was read"):
        side.close()


def test_progress_reaches_the_end(store: Store) -> None:
    """A caller hears of every byte that is compared."""
    store.put({"w": np.zeros(100, np.float32)}, name="a")
    store.put({"w": np.ones(100, np.float32)}, name="b")
    heard: list[tuple[int, int, int]] = []
    store.diff("a", "b", progress=lambda *numbers: heard.append(numbers))
    assert heard[-1] == (400, 400, 0)


def test_other_files_of_tensors(tmp_path: Path) -> None:
    """A NumPy archive and a safetensors file with the same tensors differ in their files alone."""
    arrays = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(3, np.float32)}
    np.savez(tmp_path / "a.npz", **arrays)
    tensors_of = {name: torch.tensor(array) for name, array in arrays.items()}
    save_torch({**tensors_of, "b": tensors_of["b"] + 1}, tmp_path / "b.safetensors")
    found = tensors(diff(None, str(tmp_path / "a.npz"), str(tmp_path / "b.safetensors")))
    assert {key: tensor.state for key, tensor in found.items()} == {
        "b": "changed",
        "w": "identical",
    }
    assert found["b"].figures is not None
    assert found["b"].figures.max_change == 1

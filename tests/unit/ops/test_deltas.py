"""Versions stored as differences: from which tensor, and that they always come back."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mstore
from mstore.errors import MstoreError
from mstore.format.layout import Span
from mstore.ids import ObjectId
from mstore.objects import CHUNK_SIZE, Tensor
from mstore.ops.bases import MAX_DEPTH, Bases, fit
from mstore.ops.walk import split_ids, walk_files
from mstore.store import Store

Weights = dict[str, np.ndarray]
WriteModel = Callable[..., Path]


def normal(shape: tuple[int, ...], seed: int = 0, scale: float = 0.05) -> np.ndarray:
    """Weights from a seed."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def moved(array: np.ndarray, seed: int, by: float = 1e-6) -> np.ndarray:
    """The array after one small step."""
    step: np.ndarray = array + normal(array.shape, seed, by)
    return step


def chunks(store: Store, revision: str) -> list[ObjectId]:
    """Every chunk of the tensors of a version."""
    tree = store.parts.odb.version(store.resolve(revision).version).tree
    return [
        chunk
        for found in walk_files(store.parts.odb, tree)
        for _, oid in found.file.tensors  # type: ignore[union-attr] # arrays make one such file
        for chunk in split_ids(store.parts.odb.tensor(ObjectId(oid)).chunks)
    ]


def bases(store: Store, revision: str) -> list[ObjectId | None]:
    """The base of every chunk of a version."""
    found = (store.parts.odb.find(oid) for oid in chunks(store, revision))
    return [location.entry.base for location in found if location]


def same(store: Store, revision: str, weights: Weights) -> bool:
    """Whether a version loads as these weights, bit for bit."""
    loaded = store.load(revision)
    return loaded.keys() == weights.keys() and all(
        loaded[name].tobytes() == array.tobytes() and loaded[name].shape == array.shape
        for name, array in weights.items()
    )


def test_next_version_is_stored_as_differences(store: Store) -> None:
    """A tensor of several chunks starts from the same tensor of the version before, by chunk."""
    first = {"a": normal((1500, 1000)), "b": normal((100, 100), 1)}
    second = {name: moved(array, 3) for name, array in first.items()}
    alone = store.put(first, "m")
    delta = store.put(second, "m")
    assert (alone.deltas, delta.deltas) == (0, 2)
    assert delta.stored_bytes < alone.stored_bytes / 2
    assert bases(store, "m@2") == chunks(store, "m@1")
    assert same(store, "m@2", second)


def test_declared_parent_comes_first(store: Store) -> None:
    """With --parent the base is that version's tensor, under whatever name it is put."""
    origin = {"w": normal((200, 200))}
    store.put(origin, "origin")
    store.put({"w": moved(origin["w"], 5, 1e-3)}, "other")
    store.put({"w": moved(origin["w"], 6)}, "other", parents=["origin"])
    assert bases(store, "other@2") == chunks(store, "origin")


def test_second_parent_serves_where_the_first_does_not(store: Store) -> None:
    """Each tensor takes the first parent that it resembles."""
    left, right = {"x": normal((99, 99), 1)}, {"x": normal((99, 99), 2)}
    store.put(left, "left")
    store.put(right, "right")
    store.put({"x": moved(right["x"], 3)}, "merged", parents=["left", "right"])
    assert bases(store, "merged") == chunks(store, "right")


def test_name_alone_is_enough_when_files_change(store: Store, tmp_path: Path) -> None:
    """Tensors that moved to another shard still find themselves in the version before."""
    weights = {f"l{n}": normal((80, 80), n) for n in range(4)}
    save_file(weights, tmp_path / "m.safetensors")
    store.put(tmp_path / "m.safetensors", "m")
    shards = tmp_path / "shards"
    shards.mkdir()
    for n in range(2):
        part = {name: moved(weights[name], 7) for name in list(weights)[2 * n : 2 * n + 2]}
        save_file(part, shards / f"{n}.safetensors")
    assert store.put(shards, "m").deltas == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((500, 64), (520, 64)),
        ((520, 64), (500, 64)),
        ((300, 64), (300, 68)),
        ((64, 16, 3, 3), (64, 20, 3, 3)),
        ((2000,), (2100,)),
        ((1200, 1000), (1300, 1000)),
    ],
)
def test_resized_tensors_share_what_they_have_in_common(
    store: Store, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """A tensor that grew or shrank costs less than half of what it would alone."""
    old, new = normal(before), normal(after, 9)
    common = tuple(slice(min(a, b)) for a, b in zip(before, after, strict=True))
    new[common] = moved(old[common], 2, 1e-8)
    store.put({"w": old}, "m")
    result = store.put({"w": new}, "m")
    assert result.deltas == 1
    assert same(store, "m", {"w": new})
    assert result.stored_bytes < new.nbytes * 0.5 + 2000


def test_retrained_from_another_seed_is_not_larger_than_alone(tmp_path: Path) -> None:
    """A model that only shares its names with the version before is stored as if alone."""
    first, second = ({f"w{n}": normal((150, 150), s + n) for n in range(3)} for s in (10, 20))
    with_parent, _ = mstore.init(tmp_path / "a")
    with_parent.put(first, "m")
    alone, _ = mstore.init(tmp_path / "b")
    sizes = with_parent.put(second, "m"), alone.put(second, "m")
    assert sizes[0].deltas == 0
    assert sizes[0].stored_bytes <= sizes[1].stored_bytes + 100


def test_chains_stay_short(store: Store) -> None:
    """However many versions follow one another, none needs more than eight others to be read."""
    weights = normal((60, 60))
    depths = []
    for step in range(2 * MAX_DEPTH + 4):
        weights = moved(weights, step)
        store.put({"w": weights}, "m")
        depths.append(store.parts.odb.depth(chunks(store, "m")[0]))
    assert max(depths) == MAX_DEPTH
    assert depths[MAX_DEPTH + 1] == 1
    assert same(store, "m", {"w": weights})


def test_same_chunk_is_not_stored_again(store: Store) -> None:
    """A tensor that did not change is found, not encoded; a changed one beside it is a delta."""
    first = {"still": normal((300, 300)), "moves": normal((50, 50), 1)}
    store.put(first, "m")
    result = store.put(first | {"moves": moved(first["moves"], 2)}, "m")
    assert result.deltas == 1
    assert result.new_bytes < 50 * 50 * 4 + 3000


def test_damaged_base_is_not_used(store: Store) -> None:
    """Where the base's bytes are broken, the new tensor is stored alone and comes back."""
    first = {"w": normal((300, 300))}
    store.put(first, "m")
    location = store.parts.odb.find(chunks(store, "m")[0])
    assert location is not None
    path = Path(store.path, location.pack_key)
    content = bytearray(path.read_bytes())
    content[location.entry.offset + 1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    second = {"w": moved(first["w"], 1)}
    with pytest.raises(MstoreError):
        store.load("m@1")
    assert store.put(second, "m").deltas == 0
    assert same(store, "m@2", second)


def test_chunk_is_never_based_on_itself(store: Store) -> None:
    """Neither a chunk nor one that was made from it is offered to it as a base."""
    weights = normal((60, 60))
    for step in range(3):
        store.put({"w": weights}, "m")
        weights = moved(weights, step)
    bases_of = Bases(store.parts.odb, [store.resolve("m@3").version])
    (base,) = bases_of.named("model.safetensors", span("F32", (60, 60)))
    own = [chunks(store, f"m@{number}")[0] for number in (1, 2, 3)]
    assert base.chunk(0) == own[2]
    for oid in own:
        with bases_of.chunk(base, 0, oid) as offered:
            assert offered is None
    with bases_of.chunk(base, 0, ObjectId(bytes(32))) as offered:
        assert offered is not None
        assert offered.id == own[2]


def test_stripped_parent_is_no_base(store: Store, tmp_path: Path) -> None:
    """A version whose bytes are gone serves nobody as a base."""
    weights = {"w": normal((100, 100))}
    store.put(weights, "m")
    store.put({"v": normal((10, 10))}, "m")
    store.strip(["m@2"], to=tmp_path / "stripped")
    stripped = mstore.open(tmp_path / "stripped")
    result = stripped.put({"w": moved(weights["w"], 1)}, "n", parents=["m@1"])
    assert result.deltas == 0
    assert same(stripped, "n", {"w": moved(weights["w"], 1)})


def test_tied_tensors_are_stored_once(store: Store) -> None:
    """Equal tensors of one file take the space of one, as differences too."""
    shared = normal((400, 400))
    store.put({"embed": shared, "head": shared}, "m")
    again = moved(shared, 1)
    result = store.put({"embed": again, "head": again}, "m")
    assert result.new_bytes < again.nbytes + 5000
    assert same(store, "m", {"embed": again, "head": again})


def test_file_of_deltas_comes_back_bit_for_bit(
    store: Store, write_model: WriteModel, tmp_path: Path
) -> None:
    """A safetensors file of many dtypes, put as a fine-tune, is got as the same file."""
    old = {
        "f32": normal((500, 500)),
        "f16": normal((300, 300), 1).astype(np.float16),
        "f64": normal((100, 100), 2).astype(np.float64),
        "i64": np.arange(5000),
        "u8": np.frombuffer(os.urandom(3000), np.uint8),
        "big": normal((1100, 1000), 3),
        "odd": normal((CHUNK_SIZE // 4 + 3,), 4),
        "none": np.zeros((0, 4), np.float32),
        "scalar": np.array(3.0, np.float32),
    }
    new = {name: np.asarray(array * 1.0001).astype(array.dtype) for name, array in old.items()}
    store.put(write_model(old, "a.safetensors"), "m")
    path = write_model(new, "b.safetensors")
    store.put(path, "m")
    got = store.get("m", tmp_path / "back.safetensors").path
    assert got.read_bytes() == path.read_bytes()
    assert load_file(got).keys() == new.keys()
    assert store.fsck(full=True).findings == []


@pytest.mark.parametrize("policy", ["raw", "auto", "small"])
def test_every_policy_gives_the_same_version(store: Store, policy: str) -> None:
    """How bytes are stored changes no id, and a policy may change from version to version."""
    first = {"w": normal((200, 200))}
    second = {"w": moved(first["w"], 1)}
    store.put(first, "m", codec=policy)  # type: ignore[arg-type] # one of the three
    store.put(second, "m", codec="auto")
    assert same(store, "m@1", first)
    assert same(store, "m@2", second)
    assert store.show("m@1").version.model_hash == store.show("m@1").version.model_hash


def test_raw_is_mapped_and_auto_is_not(store: Store) -> None:
    """Only tensors that were put raw lie in the store as they are."""
    weights = {"w": normal((200, 200))}
    for name, policy in (("auto", "auto"), ("raw", "raw")):
        store.put({"w": moved(weights["w"], len(name))}, name, codec=policy)  # type: ignore[arg-type] # one of the three
    odb = store.parts.odb
    assert odb.extent(chunks(store, "raw")) is not None
    assert odb.extent(chunks(store, "auto")) is None


def span(dtype: str, shape: tuple[int, ...]) -> Span:
    """A tensor of a file."""
    size = int(np.prod(shape)) * {"F32": 4, "F4": 1, "BF16": 2}[dtype]
    return Span("w", dtype, shape, 100, 100 + size)


@pytest.mark.parametrize(
    ("dtype", "shape", "other", "rows"),
    [
        ("F32", (4, 5), (4, 5), (0, 0)),
        ("F32", (4, 5), (9, 5), (0, 0)),
        ("F32", (20,), (4, 5), (0, 0)),
        ("F32", (5, 4), (4, 5), (0, 0)),
        ("F32", (4, 6), (4, 5), (24, 20)),
        ("F32", (4, 6), (9, 5), (24, 20)),
        ("BF16", (4, 6, 3), (4, 5, 3), (36, 30)),
        ("BF16", (4, 3, 6), (4, 3, 5), (12, 10)),
        ("BF16", (4, 3, 6), (4, 2, 5), None),
        ("F32", (4, 5, 1), (4, 6), None),
        ("F32", (1200, 1000), (1200, 1001), None),
    ],
)
def test_bases_line_up(
    dtype: str, shape: tuple[int, ...], other: tuple[int, ...], rows: tuple[int, int] | None
) -> None:
    """Which shapes may be differences of one another, and how their rows correspond."""
    base = fit(span(dtype, shape), Tensor(dtype, other, bytes(32)))
    assert (base.rows if base else None) == rows
    assert fit(span(dtype, shape), Tensor("F16", other, bytes(32))) is None

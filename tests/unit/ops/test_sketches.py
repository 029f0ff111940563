"""Finding the base of a tensor whose origin nobody stated."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from mstore.format.layout import Span
from mstore.ids import ObjectId
from mstore.ops.sketches import (
    ELEMENTS,
    MAX_SEGMENTS,
    PREFIX,
    UNSEEN,
    Segment,
    SketchIndex,
    decode_segment,
    sketch,
)
from mstore.ops.walk import split_ids, walk_files
from mstore.store import Store, init_store

Weights = dict[str, np.ndarray]
SHAPES = {"embed": (300, 64), "layer.weight": (64, 64), "head": (10, 64), "bias": (64,)}


def model(seed: int) -> Weights:
    """A small model of its own."""
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 0.05, s).astype(np.float32) for n, s in SHAPES.items()}


def tuned(weights: Weights, seed: int) -> Weights:
    """The same model after a little more training."""
    rng = np.random.default_rng(seed)
    return {n: w + rng.normal(0, 1e-5, w.shape).astype(np.float32) for n, w in weights.items()}


def first_chunks(store: Store, revision: str) -> list[ObjectId]:
    """The first chunk of every tensor of a version."""
    tree = store.parts.odb.version(store.resolve(revision).version).tree
    return [
        split_ids(store.parts.odb.tensor(ObjectId(oid)).chunks)[0]
        for found in walk_files(store.parts.odb, tree)
        for _, oid in found.file.tensors  # type: ignore[union-attr] # arrays make one such file
    ]


def bases(store: Store, revision: str) -> set[ObjectId]:
    """The chunks that those of a version are stored as differences from."""
    found = (store.parts.odb.find(oid) for oid in first_chunks(store, revision))
    return {location.entry.base for location in found if location and location.entry.base}


def test_five_of_five_fine_tunes_find_their_base(store: Store) -> None:
    """In a shuffled set of models under names that say nothing, each fine-tune finds its base."""
    origins = {f"origin-{seed}": model(seed) for seed in range(12)}
    names = random.Random(3).sample(sorted(origins), 5)
    pairs = {f"child-{n}": name for n, name in enumerate(names)}
    order = [*origins, *pairs]
    random.Random(4).shuffle(order)
    for name in sorted(order, key=lambda name: name in pairs):
        weights = origins[name] if name in origins else tuned(origins[pairs[name]], len(name))
        store.put({f"{name}.{key}": value for key, value in weights.items()}, name)
    for child, origin in pairs.items():
        assert bases(store, child)
        assert bases(store, child) <= set(first_chunks(store, origin))
    for name in origins:
        assert not bases(store, name)


@pytest.mark.parametrize("cache", ["kept", "deleted", "torn", "foreign"])
def test_cache_is_made_again(store: Store, tmp_path: Path, cache: str) -> None:
    """Without the sketches, or with broken ones, a base is found all the same."""
    store.put(model(1), "one")
    store.put(model(2), "two")
    folder = tmp_path / "store" / PREFIX
    if cache == "deleted":
        shutil.rmtree(folder)
    for path in folder.glob("*"):
        content = path.read_bytes()
        if cache == "torn":
            path.write_bytes(content[:-5])
        elif cache == "foreign":
            path.write_bytes(b"something else")
    store.put({f"x.{k}": v for k, v in tuned(model(1), 7).items()}, "three")
    assert bases(store, "three") <= set(first_chunks(store, "one"))
    assert bases(store, "three")
    assert store.fsck(full=True).findings == []


def test_models_that_were_put_raw_are_found(store: Store) -> None:
    """What was stored without sketches is sketched when it is first wanted, and then kept."""
    store.put(model(1), "one", codec="raw")
    assert not list(Path(store.path, "cache").rglob("sketches/*"))
    assert store.put({"w": tuned(model(1), 2)["embed"]}, "two").deltas == 1
    index = SketchIndex(store.parts)
    index.nearest(Span("w", "F32", (1, 1), 0, 4), bytes(2 * ELEMENTS))
    version = bytes(store.resolve("one").version)
    assert any(version in segment.versions for segment in segments(store))


@pytest.mark.parametrize("came", ["put raw", "pulled", "lost"])
def test_tensors_without_a_sketch_are_found(store: Store, tmp_path: Path, came: str) -> None:
    """Also where others have sketches, one that came without or lost its own is a base."""
    store.put(model(2), "other")
    if came == "put raw":
        store.put(model(1), "one", codec="raw")
    elif came == "pulled":
        sender, _ = init_store(tmp_path / "sender")
        sender.put(model(1), "one")
        store.pull(tmp_path / "sender")
    else:
        kept = set(Path(store.path, PREFIX).iterdir())
        store.put(model(1), "one")
        (mine,) = set(Path(store.path, PREFIX).iterdir()) - kept
        mine.write_bytes(mine.read_bytes()[:-1])
    assert store.put({"w": tuned(model(1), 2)["embed"]}, "two").deltas == 1


def test_looking_for_tensors_without_a_sketch_is_done_once(store: Store) -> None:
    """Once all have one, nothing asks for it any more."""
    store.put(model(2), "other")
    store.put(model(1), "one", codec="raw")
    assert UNSEEN in segments(store)
    store.put({"w": tuned(model(1), 2)["embed"]}, "two")
    assert UNSEEN not in segments(store)


def segments(store: Store) -> list[Segment]:
    """What is kept of a store's sketches."""
    files = Path(store.path, PREFIX).iterdir()
    found = [decode_segment(path.read_bytes()) for path in files]
    return [segment for segment in found if segment is not None]


def test_sketches_of_what_is_gone_hide_nothing(store: Store) -> None:
    """Tensors that gc took away leave sketches behind, and the ones that are there are found."""
    for step in range(4):
        store.put({"w": tuned(model(1), step)["embed"]}, f"gone{step}", codec="raw")
        store.put({"v": tuned(model(1), step)["embed"]}, f"gone{step}", always=True)
    store.put({"w": model(1)["embed"] * np.float32(1.0001)}, "stays", parents=[])
    for step in range(4):
        store.delete(f"gone{step}")
    store.gc(now=True)
    assert store.put({"x": model(1)["embed"]}, "new").deltas == 1


def test_segments_are_merged(store: Store) -> None:
    """However many models are put, there are few files of sketches, and none is lost."""
    for seed in range(MAX_SEGMENTS * 2 + 3):
        store.put({"w": model(seed)["embed"]}, f"m{seed}")
    assert len(segments(store)) <= MAX_SEGMENTS
    rows = sum(len(segment.rows) for segment in segments(store))
    assert rows == (MAX_SEGMENTS * 2 + 3) * (8 + 32 + 2 * ELEMENTS)


def test_unchanged_models_write_no_sketches(store: Store) -> None:
    """Only something new is worth a file."""
    store.put(model(1), "m")
    before = sorted(Path(store.path, PREFIX).iterdir())
    store.put(model(1), "m", always=True)
    assert sorted(Path(store.path, PREFIX).iterdir()) == before


def test_named_bases_need_no_sketches(store: Store) -> None:
    """With a parent that fits, the sketches of other models are not even read."""
    store.put(model(1), "m")
    for path in Path(store.path, PREFIX).iterdir():
        path.chmod(0)
        path.write_bytes(b"torn")
    store.put(tuned(model(1), 2), "m")
    assert b"torn" in [path.read_bytes() for path in Path(store.path, PREFIX).iterdir()]


@pytest.mark.parametrize("dtype", ["U8", "BF16", "F32", "F64", "F4"])
def test_sketch_has_its_size_for_any_content(dtype: str) -> None:
    """A sketch is 256 values, of one element as of many, and the same each time."""
    for size in (8, 4096, 100_001):
        content = random.Random(size).randbytes(size)
        found = sketch(dtype, content)
        assert len(found) == 2 * ELEMENTS
        assert found == sketch(dtype, memoryview(content))


def test_segment_survives_its_encoding() -> None:
    """A segment reads back as it was; any flipped bit makes it worth nothing."""
    segment = Segment(frozenset({b"v" * 32, b"w" * 32}), bytes(552) * 3)
    content = segment.encode()
    assert decode_segment(content) == segment
    for at in range(0, len(content), 50):
        broken = bytearray(content)
        broken[at] ^= 4
        assert decode_segment(bytes(broken)) is None
    assert decode_segment(content[:20]) is None
    assert decode_segment(b"") is None

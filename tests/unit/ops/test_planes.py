"""Tensors stored in planes: exact as ever, read in part, and kept by gc, fsck and transfers."""

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

import mstore
from mstore.codecs import PLANES, SPLIT_FLOAT, Layout, planes, split_float
from mstore.errors import CorruptError, InvalidInputError, MstoreError, NotFoundError
from mstore.format.pack import Entry
from mstore.ids import ObjectId
from mstore.ops.leading import steps_of
from mstore.ops.walk import split_ids
from mstore.store import Store, open_store
from mstore.testing.filesystems import FaultyFileSystem

Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    """Floats of three widths, one of several chunks, integers, and little ones."""
    rng = np.random.default_rng(5)
    return {
        "big": rng.normal(0, 0.02, (1200, 1000)).astype("<f4"),
        "half": rng.normal(0, 1, (300, 200)).astype("<f2"),
        "wide": rng.normal(0, 1, 20_001),
        "odd": np.array([np.nan, np.inf, -np.inf, -0.0, 1e-40] * 5000, "<f4"),
        "places": np.arange(40_000),
        "bias": rng.normal(0, 1, 10).astype("<f4"),
    }


@pytest.fixture
def cut(store: Store, arrays: Arrays) -> Store:
    """A store whose only model is in planes, what it was before gone."""
    store.put(arrays, "m")
    store.archive_planes([], (8, 16))
    store.gc(now=True)
    return store


def steps(store: Store, name: str) -> list[list[Entry]]:
    """The entries of each chunk of a tensor: the leading bits, then what is below them."""
    ids = [row.id for row in store.tensors("m") if row.name == name]
    chunks = split_ids(store.parts.odb.tensor(ids[0]).chunks)
    return [[place.entry for place in steps_of(store.parts.odb, oid)] for oid in chunks]


def same(found: Arrays, arrays: Arrays) -> bool:
    """Whether arrays have the very same bytes."""
    return all(found[name].tobytes() == arrays[name].tobytes() for name in arrays)


def test_a_model_in_planes_is_exact(cut: Store, arrays: Arrays, tmp_path: Path) -> None:
    """Loading and getting give every bit back, and full checking finds no fault."""
    assert same(cut.load("m"), arrays)
    cut.get("m", tmp_path / "m.safetensors")
    assert same(load_file(tmp_path / "m.safetensors"), arrays)
    assert cut.fsck(full=True).findings == []


def test_floats_are_cut_after_each_level(cut: Store) -> None:
    """Chunks of large float tensors have a step for each level below their width, and a rest."""
    for entries in steps(cut, "big"):
        first, second, rest = entries
        assert (first.codec, second.codec) == (PLANES, PLANES)
        assert rest.base is None
        assert (second.raw_size, rest.raw_size) == (first.raw_size * 3 // 4, first.raw_size // 2)
    assert [len(entries) for entries in steps(cut, "half")] == [2]
    assert [len(entries) for entries in steps(cut, "wide")] == [3]
    for name in ("places", "bias"):
        assert all(entry.codec != PLANES for entries in steps(cut, name) for entry in entries)


def test_leading_entries_lie_together(cut: Store) -> None:
    """The leading bits of all tensors are in one run of a pack, before and behind the others."""
    found = [
        e for n in ("big", "half", "wide", "odd") for chunk in steps(cut, n) for e in chunk[:1]
    ]
    start = min(entry.offset for entry in found)
    stop = max(entry.offset + entry.stored_size for entry in found)
    assert stop - start < sum(entry.stored_size for entry in found) + 64 * len(found)


@pytest.mark.parametrize("bits", [1, 5, 8, 9, 12, 16, 17, 31, 32, 40, 64])
def test_what_comes_out_does_not_depend_on_how_it_is_stored(
    store: Store, arrays: Arrays, bits: int
) -> None:
    """The middle and the bounds are the same before and after, and with other levels."""
    store.put(arrays, "m")
    middle, bounds = store.load("m", bits=bits), store.bounds("m", bits)
    for levels in ((8, 16), (3, 13, 30)):
        store.archive_planes([], levels)
        assert same(store.load("m", bits=bits), middle)
        again = store.bounds("m", bits)
        for name, (low, high) in bounds.items():
            assert again[name][0].tobytes() == low.tobytes()
            assert again[name][1].tobytes() == high.tobytes()


@pytest.mark.parametrize("bits", [1, 8, 11, 16, 24])
def test_every_number_lies_within_its_bounds(cut: Store, arrays: Arrays, bits: int) -> None:
    """Whatever is a number lies between the two arrays, and integers are exact."""
    for name, (low, high) in cut.bounds("m", bits).items():
        exact = arrays[name][~np.isnan(arrays[name])]
        assert (low[~np.isnan(arrays[name])] <= exact).all()
        assert (exact <= high[~np.isnan(arrays[name])]).all()
    assert np.array_equal(cut.load("m", bits=bits)["places"], arrays["places"])


def test_leading_bits_are_read_alone(cut: Store, arrays: Arrays) -> None:
    """8 of 32 bits take less than a quarter of the bytes, 16 less than half, all of them all."""
    reader = cut.read("m", bits=8)
    reader.get_tensor("big")
    assert 0 < reader.bytes_read < arrays["big"].nbytes / 4
    reader = cut.read("m", bits=16)
    reader.get_tensor("big")
    assert arrays["big"].nbytes / 4 < reader.bytes_read < arrays["big"].nbytes / 2
    reader = cut.read("m", bits=64)
    assert same(reader.load(), arrays)
    assert reader.bytes_read == reader.stored_bytes


def test_rows_are_read_from_leading_bits(cut: Store) -> None:
    """A slice of rows is that slice of the middle, and touches its own chunks only."""
    whole = cut.load("m", bits=8)["big"]
    reader = cut.read("m", bits=8)
    assert np.array_equal(reader["big"][3:5], whole[3:5])
    one = reader.bytes_read
    assert np.array_equal(reader["big"][-1], whole[-1])
    assert one < sum(entries[0].stored_size for entries in steps(cut, "big"))


def test_torch_takes_bfloat16(store: Store) -> None:
    """The leading bits of bf16 numbers come as bf16 tensors with bounds of their own."""
    exact = torch.randn(300, 200, dtype=torch.bfloat16)
    store.put({"w": exact}, "m")
    store.archive_planes(["m"], [8])
    found = store.load("m", "torch", bits=10)["w"]
    low, high = store.bounds("m", 10, "torch")["w"]
    assert found.dtype == torch.bfloat16
    assert bool((low <= exact).all())
    assert bool((exact <= high).all())
    assert bool((low <= found).all())
    assert bool((found <= high).all())
    assert torch.equal(store.load("m", "torch")["w"], exact)


def test_a_file_of_leading_bits_says_so(cut: Store, tmp_path: Path) -> None:
    """``get`` with bits writes the middle of every float, and how many bits it was made of."""
    path = tmp_path / "rough.safetensors"
    result = cut.get("m", path, bits=8)
    assert same(load_file(path), cut.load("m", bits=8))
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"mstore_bits": "8"}
    assert (result.bits, result.size_bytes) == (8, path.stat().st_size)
    assert result.bytes_read is not None
    assert result.stored_bytes is not None
    assert result.bytes_read < result.stored_bytes / 2
    assert cut.identify(path).exact == ()


def test_cat_gives_leading_bits_of_tensors_alone(cut: Store) -> None:
    """``cat`` with bits gives a tensor's middle, and refuses a file."""
    found = bytearray()
    cut.cat("m:model.safetensors#half[0:2]", found.extend, bits=9)
    assert bytes(found) == cut.load("m", bits=9)["half"][:2].tobytes()
    with pytest.raises(InvalidInputError, match="is no tensor"):
        cut.cat("m:model.safetensors", found.extend, bits=9)


@pytest.mark.parametrize("bits", [0, -1, 65])
def test_bits_that_no_number_has_are_refused(cut: Store, bits: int) -> None:
    """Less than 1 and more than 64 bits are refused."""
    with pytest.raises(InvalidInputError, match="leading bits"):
        cut.load("m", bits=bits)


@pytest.mark.parametrize("levels", [(), (0,), (8, 8), (16, 8), (64,)])
def test_levels_that_do_not_ascend_are_refused(store: Store, levels: tuple[int, ...]) -> None:
    """Levels go up, from 1 to 63."""
    with pytest.raises(InvalidInputError, match="ascending"):
        store.archive_planes([], levels)


def test_too_many_levels_are_refused(store: Store) -> None:
    """Each level is a base below the others, and their chain stays short."""
    with pytest.raises(InvalidInputError, match="9 levels are too many"):
        store.archive_planes([], range(1, 10))


def test_planes_are_made_once(cut: Store) -> None:
    """Asked again for the same levels nothing is written; for others it is cut anew."""
    assert cut.archive_planes([], (8, 16)).tensors == 0
    report = cut.archive_planes([], (12,))
    assert report.tensors == report.tensors_total == 4
    assert [len(entries) for entries in steps(cut, "half")] == [2]


def test_a_dry_run_writes_nothing(store: Store, arrays: Arrays) -> None:
    """A dry run says what would be cut and leaves every pack as it is."""
    store.put(arrays, "m")
    packs = store.parts.odb.packs()
    assert store.archive_planes(["m"], dry_run=True).tensors == 4
    store.parts.odb.refresh()
    assert store.parts.odb.packs() == packs


def test_differences_stay_unless_their_version_is_named(store: Store, tuned: list[Arrays]) -> None:
    """Without a version what is stored as a difference is left; named, it is cut too."""
    for arrays in tuned:
        store.put(arrays, "lenet")
    assert store.archive_planes([]).tensors == 1
    assert store.archive_planes(["lenet"]).tensors == 1
    for number, arrays in enumerate(tuned, 1):
        assert same(store.load(f"lenet@{number}"), arrays)
    store.gc(now=True)
    assert store.fsck(full=True).findings == []
    for number, arrays in enumerate(tuned, 1):
        assert same(store.load(f"lenet@{number}"), arrays)


@pytest.mark.parametrize(
    ("revision", "names"),
    [
        ("m:#b*", {"big"}),
        ("m:#*", {"big", "half", "wide", "odd"}),
        ("m:#half", {"half"}),
        ("m:model.safetensors#wide", {"wide"}),
        ("m@1:model.safetensors", {"big", "half", "wide", "odd"}),
    ],
)
def test_tensors_are_chosen_by_name_and_file(
    store: Store, arrays: Arrays, revision: str, names: set[str]
) -> None:
    """A pattern, or a file of the version, says which tensors are cut; the others stay."""
    store.put(arrays, "m")
    report = store.archive_planes([revision], (8,))
    assert report.tensors_total == len(names)
    cut = {name for name in arrays if any(e[0].codec == PLANES for e in steps(store, name))}
    assert cut == names
    assert same(store.load("m"), arrays)


def test_a_pattern_that_names_nothing_is_told(store: Store, arrays: Arrays) -> None:
    """No tensor of the name, no such file, and rows are errors, and nothing is written."""
    store.put(arrays, "m")
    before = sorted(Path(store.path).glob("objects/*"))
    for revision in ("m:#fc*", "m:other.safetensors"):
        with pytest.raises(NotFoundError, match="names no tensor"):
            store.archive_planes([revision])
    with pytest.raises(InvalidInputError, match="rows of a tensor"):
        store.archive_planes(["m:#big[0:2]"])
    assert sorted(Path(store.path).glob("objects/*")) == before


def test_clone_and_push_keep_planes(cut: Store, arrays: Arrays, tmp_path: Path) -> None:
    """What is sent elsewhere is cut there too, exact and without a fault."""
    clone, _ = mstore.clone(cut.path, tmp_path / "clone")
    pushed, _ = mstore.init(tmp_path / "pushed")
    cut.push(pushed.path)
    for other in (clone, mstore.open(tmp_path / "pushed")):
        assert same(other.load("m"), arrays)
        assert other.fsck(full=True).findings == []
        assert [len(entries) for entries in steps(other, "big")] == [3, 3]


def test_materialize_undoes_it(cut: Store, arrays: Arrays) -> None:
    """Made raw, the model has no planes any more, and gc frees the low chunks."""
    cut.materialize(["m"])
    cut.gc(now=True)
    assert same(cut.load("m"), arrays)
    assert cut.fsck(full=True).findings == []
    assert [len(entries) for entries in steps(cut, "big")] == [1, 1]


def damage(store: Store, oid: ObjectId) -> None:
    """Flip one bit in the middle of every copy of a chunk."""
    for place in store.parts.odb.copies(oid):
        path = Path(store.path) / place.pack_key
        content = bytearray(path.read_bytes())
        content[place.entry.offset + place.entry.stored_size // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)


def test_damage_below_hurts_only_who_reads_so_far(cut: Store, arrays: Arrays) -> None:
    """With a damaged rest the leading bits still come; the exact numbers are refused."""
    damage(cut, steps(cut, "big")[0][-1].id)
    again = mstore.open(cut.path)
    assert again.load("m", bits=16)["big"].shape == arrays["big"].shape
    with pytest.raises(CorruptError):
        again.load("m")
    assert again.fsck(full=True).findings


def test_damaged_leading_bits_are_noticed(cut: Store) -> None:
    """A flipped bit in the leading entry is refused, with bits and without."""
    damage(cut, steps(cut, "big")[0][0].id)
    again = mstore.open(cut.path)
    for bits in (8, None):
        with pytest.raises(CorruptError, match="does not match its check"):
            again.load("m", bits=bits)


def test_a_stripped_version_has_no_leading_bits(cut: Store) -> None:
    """Bits of a version whose bytes were stripped are not found."""
    cut.put({"other": np.ones(1000, "<f4")}, "m")
    cut.strip(["m@2"])
    cut.gc(now=True)
    with pytest.raises(NotFoundError):
        cut.load("m@1", bits=8)


def test_planes_take_no_more_than_the_split_of_floats() -> None:
    """All steps together take hardly more than the same weights coded whole."""
    raw = np.random.default_rng(5).normal(0, 0.02, 1 << 20).astype("<f4").tobytes()
    stored, low = planes.split(raw, 4, 8)
    alone = split_float.encode(raw, Layout(4))
    assert split_float.CODE == SPLIT_FLOAT
    assert alone is not None
    assert len(stored) + len(low) < 1.01 * len(alone)


def test_a_full_disk_takes_nothing(store: Store, arrays: Arrays, tmp_path: Path) -> None:
    """A write that fails condemns nothing and leaves every bit readable, wherever it happens."""
    store.put({"big": arrays["big"]}, "m")
    failures = 0
    for at in range(1, 60, 3):
        place = tmp_path / f"full-{at}"
        shutil.copytree(store.path, place)
        files = FaultyFileSystem("write", at, 28)
        with suppress(MstoreError):
            open_store(place, files=files).archive_planes()
        if not files.failed:
            break
        failures += 1
        again = mstore.open(place)
        assert again.parts.odb.packs(condemned=True) == []
        assert same(again.load("m"), {"big": arrays["big"]})
        assert again.archive_planes().tensors == 1
        assert same(again.load("m"), {"big": arrays["big"]})
    assert failures > 2


def test_reading_goes_on_while_gc_moves_packs(cut: Store, arrays: Arrays) -> None:
    """A reader that has found the leading bits finds them again when their pack was moved."""
    reader = cut.read("m", bits=8)
    before = reader.get_tensor("big")
    other = mstore.open(cut.path)
    other.archive_planes([], (4, 20))
    other.gc(now=True)
    assert np.array_equal(reader.get_tensor("big"), before)
    assert same(cut.read("m", bits=64).load(), arrays)


def test_a_plan_leaves_planes_as_they_are(cut: Store, arrays: Arrays) -> None:
    """Archiving without planes afterwards changes nothing that is in planes."""
    before = [[entry.id for entry in entries] for entries in steps(cut, "big")]
    cut.put({**arrays, "extra": arrays["big"] + 1}, "m2", codec="raw")
    cut.archive()
    cut.gc(now=True)
    assert [[entry.id for entry in entries] for entries in steps(cut, "big")] == before
    assert same(cut.load("m"), arrays)

"""Archive: fewer bytes within bounds on reading, and no version changes by a bit."""

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.codecs import PLANES
from mstore.errors import (
    ConflictError,
    ExistsError,
    InvalidInputError,
    MstoreError,
    NotFoundError,
    StorageError,
)
from mstore.ids import ObjectId
from mstore.ops.archive import ArchiveReport, Terms, archive
from mstore.ops.archive_forms import Form, require_ends
from mstore.ops.bases import MAX_DEPTH
from mstore.ops.calibrate import KEY, rates
from mstore.ops.check import check
from mstore.ops.encoding import Method
from mstore.ops.reads import note_read, reads
from mstore.ops.strip import strip
from mstore.ops.walk import split_ids
from mstore.parts import Parts, open_parts
from mstore.planner import check_plan, from_json
from mstore.store import Store
from mstore.testing.filesystems import FaultyFileSystem, KillingFileSystem

Arrays = dict[str, np.ndarray]
BYTES = Terms(measure="bytes")
"""The same on every machine."""


@pytest.fixture
def source(store: Store, tuned: list[Arrays]) -> Store:
    """Four versions of one model, each a fine-tune of the one before, all of them raw."""
    for arrays in tuned:
        store.put(arrays, "lenet", codec="raw")
    return store


def chunks(store: Store, revision: str) -> list[ObjectId]:
    """The chunks of a version's tensors."""
    tensors = (store.parts.odb.tensor(row.id) for row in store.tensors(revision))
    return [oid for tensor in tensors for oid in split_ids(tensor.chunks)]


def live_copies(parts: Parts, oid: ObjectId) -> int:
    """In how many live packs an object is."""
    parts.odb.refresh()
    return sum(entry.id == oid for key in parts.odb.packs() for entry in parts.odb.entries(key))


def assert_whole(store: Store, versions: list[Arrays], name: str = "lenet") -> None:
    """Every version has the very bits that were put, and the store is sound."""
    for number, arrays in enumerate(versions, 1):
        found = store.load(f"{name}@{number}")
        assert found.keys() == arrays.keys()
        assert all(found[key].tobytes() == array.tobytes() for key, array in arrays.items())
    found_kinds = {finding.kind for finding in check(store.parts, full=True).findings}
    assert found_kinds <= {"leftover"}


def files(store: Store) -> set[str]:
    """The keys of all packs."""
    store.parts.odb.refresh()
    return {*store.parts.odb.packs(), *store.parts.odb.packs(condemned=True)}


def costs(report: ArchiveReport) -> list[float]:
    """What reading each version costs."""
    return [row.cost_after for row in report.versions]


def test_fewer_bytes_and_the_same_bits(source: Store, tuned: list[Arrays], tmp_path: Path) -> None:
    """Raw fine-tunes take less, each version is within its bound and every file is what it was."""
    before = [tmp_path / f"before-{number}" for number in (1, 2, 3, 4)]
    for number, path in enumerate(before, 1):
        source.get(f"lenet@{number}", path)
    report = archive(source.parts, terms=Terms(alpha=3, measure="bytes"))
    assert report.is_changed
    assert report.bytes_after < 0.75 * report.bytes_before
    assert report.bytes_after == pytest.approx(report.bytes_foreseen, rel=0.1)
    assert report.tensors_delta > 0
    assert all(row.cost_after <= row.bound * 1.1 for row in report.versions)
    assert_whole(source, tuned)
    source.gc(now=True)
    assert_whole(source, tuned)
    for number, path in enumerate(before, 1):
        source.get(f"lenet@{number}", tmp_path / f"after-{number}")
        assert path.read_bytes() == (tmp_path / f"after-{number}").read_bytes()


def test_the_old_copies_go(source: Store) -> None:
    """One live copy of each chunk is left, over no more bases than allowed."""
    archive(source.parts, terms=Terms(alpha=8, measure="bytes"))
    for number in (1, 2, 3, 4):
        for oid in chunks(source, f"lenet@{number}"):
            assert live_copies(source.parts, oid) == 1
            assert source.parts.odb.depth(oid) <= MAX_DEPTH


def test_more_room_takes_no_more_bytes(source: Store, tuned: list[Arrays]) -> None:
    """Over rising alpha the plans take fewer and fewer bytes, from all alone to the least."""
    alphas = (1, 1.1, 1.3, 1.6, 2, 3, 8)
    plans = [
        archive(
            source.parts, terms=Terms(alpha=alpha, measure="bytes"), dry_run=True
        ).bytes_foreseen
        for alpha in alphas
    ]
    assert all(more <= less * 1.001 for less, more in pairwise(plans))
    assert plans[0] > 1.5 * plans[-1]
    assert_whole(source, tuned)


def test_a_dry_run_changes_nothing(source: Store) -> None:
    """A dry run says what would be and touches no pack."""
    packs = files(source)
    report = archive(source.parts, terms=Terms(alpha=3, measure="bytes"), dry_run=True)
    assert report.dry_run
    assert report.is_changed
    assert report.written_bytes > 0
    assert (report.condemned, files(source)) == ((), packs)


def test_again_changes_nothing(source: Store) -> None:
    """What is as the plan has it is left alone, and the report says so."""
    archive(source.parts, terms=BYTES)
    packs = files(source)
    report = archive(source.parts, terms=BYTES)
    assert not report.is_changed
    assert (report.chunks_changed, report.written_bytes) == (0, 0)
    assert report.bytes_after == report.bytes_before
    assert costs(report) == [row.cost_before for row in report.versions]
    assert files(source) == packs


def test_tight_bounds_undo_deltas(store: Store, tuned: list[Arrays]) -> None:
    """Versions over their bound are made quicker, though that takes more bytes."""
    for arrays in tuned:
        store.put(arrays, "lenet")
    report = archive(store.parts, terms=Terms(alpha=1, measure="bytes"))
    assert report.is_changed
    assert report.bytes_after > report.bytes_before
    assert report.tensors_delta == 0
    assert_whole(store, tuned)


@pytest.mark.parametrize("scheme", ["independent", "parallel", "reusable"])
def test_every_scheme(source: Store, tuned: list[Arrays], scheme: str) -> None:
    """Each way of counting gives a plan that can be carried out."""
    terms = Terms(alpha=2, scheme=scheme)  # type: ignore[arg-type]  # one of the three
    report = archive(source.parts, terms=terms)
    assert report.scheme == scheme
    assert all(row.cost_after <= row.bound * 1.1 for row in report.versions)
    assert_whole(source, tuned)


def test_milliseconds(source: Store) -> None:
    """A bound in milliseconds is one for all versions, and the plan keeps it."""
    loose = archive(source.parts, terms=Terms(alpha=1), dry_run=True)
    within = 1.5 * max(costs(loose))
    report = archive(source.parts, terms=Terms(within=within))
    assert {row.bound for row in report.versions} == {within}
    assert max(costs(report)) <= 1.1 * within


def test_no_plan_is_quick_enough(source: Store) -> None:
    """A bound that nothing keeps is refused with the least that can be, and nothing is changed."""
    packs = files(source)
    with pytest.raises(
        InvalidInputError, match=r"'lenet@1' within 1e-06 ms, at least [0-9.]+ ms"
    ) as got:
        archive(source.parts, terms=Terms(within=1e-6))
    assert got.value.kind == "infeasible"
    assert files(source) == packs


@pytest.mark.parametrize(
    "terms",
    [
        Terms(alpha=0.9),
        Terms(within=0),
        Terms(disk=-1),
        Terms(within=5, measure="bytes"),
        Terms(scheme="all"),  # type: ignore[arg-type]  # that is the test
    ],
)
def test_terms_out_of_range(source: Store, terms: Terms) -> None:
    """Bounds below the least, and words that mean nothing, are the caller's mistake."""
    with pytest.raises(InvalidInputError):
        archive(source.parts, terms=terms)


def test_what_is_read_often_gets_quicker(source: Store) -> None:
    """A hundred reads of an old version tighten its bound, and its cost drops."""
    before = archive(source.parts, terms=Terms(alpha=3, measure="bytes")).versions[1]
    for _ in range(100):
        note_read(source.parts.backend, source.resolve("lenet@2").version)
    after = archive(source.parts, terms=Terms(alpha=3, measure="bytes")).versions[1]
    assert (before.reads, after.reads) == (0, 100)
    assert after.bound < 0.6 * before.bound
    assert after.cost_after < before.cost_after


def test_the_newest_and_tags_get_a_tighter_bound(source: Store) -> None:
    """The newest version and one with a tag are held to less than the others."""
    source.tag("lenet@2", "prod")
    rows = archive(source.parts, terms=Terms(alpha=3), dry_run=True).versions
    assert [row.weight for row in rows] == [1.0, 4.0, 1.0, 4.0]
    assert max(rows[1].bound, rows[3].bound) < min(rows[0].bound, rows[2].bound)


def test_reads_are_counted(source: Store, tmp_path: Path) -> None:
    """Loading and getting a version count; a count that was changed or cannot be kept is none."""
    version = source.resolve("lenet@3").version
    source.load("lenet@3")
    source.get("lenet@3", tmp_path / "out")
    assert reads(source.parts.backend, version) == 2
    (Path(source.path) / "cache" / "reads" / str(version)).write_bytes(b"99 0123456789abcdef")
    assert reads(source.parts.backend, version) == 0
    (Path(source.path) / "cache" / "reads" / str(version)).write_bytes(b"\xff\x00")
    assert reads(source.parts.backend, version) == 0


def test_uncounted_reads_succeed(source: Store, tuned: list[Arrays]) -> None:
    """Where the count cannot be written, reading goes on as ever."""
    backend = LocalBackend(Path(source.path), FaultyFileSystem("open_new", 1, 30, sticky=True))
    found = Store(open_parts(backend)).load("lenet@1")
    assert found["fc.weight"].tobytes() == tuned[0]["fc.weight"].tobytes()


def test_some_versions_only(source: Store, tuned: list[Arrays]) -> None:
    """Versions that were not named keep the form of what they do not share."""
    packed = {oid: source.parts.odb.find(oid) for oid in chunks(source, "lenet@4")}
    report = archive(source.parts, ["lenet@1", "lenet@2"], Terms(alpha=3))
    assert [row.label for row in report.versions] == ["lenet@1", "lenet@2"]
    source.parts.odb.refresh()
    for oid, place in packed.items():
        found = source.parts.odb.find(oid)
        assert found is not None
        assert place is not None
        assert found.entry.codec == place.entry.codec
    assert_whole(source, tuned)


def test_one_version_over_others(store: Store, tuned: list[Arrays]) -> None:
    """A version whose bases were not named can stay as it is, where that is quick enough."""
    for arrays in tuned:
        store.put(arrays, "lenet")
    report = archive(store.parts, ["lenet@4"], Terms(alpha=20))
    assert report.tensors_kept > 0
    assert not report.is_changed
    archive(store.parts, ["lenet@2"], Terms(alpha=1))
    assert_whole(store, tuned)


def test_long_chains_are_cut(store: Store) -> None:
    """Twelve versions in a row are never over more than eight bases, whatever is not planned."""
    rng = np.random.default_rng(5)
    arrays = {"w": rng.standard_normal((64, 256), dtype=np.float32)}
    versions = []
    for _ in range(12):
        versions.append(arrays)
        store.put(arrays, "run")
        step = rng.standard_normal((64, 256), dtype=np.float32) * np.float32(1e-5)
        arrays = {"w": arrays["w"] + step}
    archive(store.parts, [f"run@{number}" for number in (1, 2, 3, 4, 9)], Terms(alpha=50))
    for number in range(1, 13):
        assert all(
            store.parts.odb.depth(oid) <= MAX_DEPTH for oid in chunks(store, f"run@{number}")
        )
    archive(store.parts, terms=Terms(alpha=50))
    for number in range(1, 13):
        assert all(
            store.parts.odb.depth(oid) <= MAX_DEPTH for oid in chunks(store, f"run@{number}")
        )
    assert_whole(store, versions, "run")


def test_shared_chunks_have_one_form(store: Store) -> None:
    """A chunk that two tensors of different bases share is kept once, and both read well."""
    rng = np.random.default_rng(6)
    body = rng.standard_normal((2 << 20) // 2, dtype=np.float32)
    first = {"w": body, "grown": np.concatenate([body, body[: 1 << 10]])}
    noise = rng.standard_normal(len(body), dtype=np.float32) * np.float32(1e-5)
    second = {"w": body + noise, "grown": np.concatenate([body + noise, body[: 2 << 10]])}
    for arrays in (first, second):
        store.put(arrays, "lenet", codec="raw")
    archive(store.parts, terms=Terms(alpha=4))
    assert_whole(store, [first, second])


def test_many_dtypes(store: Store) -> None:
    """Floats, integers, booleans and text files come through; what does not gain stays raw."""
    rng = np.random.default_rng(7)
    arrays: Arrays = {
        "half": rng.standard_normal((80, 80)).astype(np.float16),
        "double": rng.standard_normal((40, 40)),
        "int": rng.integers(0, 9, (60, 60), dtype=np.int64),
        "bytes": rng.integers(0, 255, (90, 90), dtype=np.uint8),
        "mask": rng.integers(0, 2, (90, 90)).astype(bool),
        "nan": np.full((50, 50), np.nan, np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    changed = {name: array[::-1].copy() for name, array in arrays.items()}
    for version in (arrays, changed):
        store.put(version, "lenet", codec="raw")
    archive(store.parts, terms=Terms(alpha=5))
    assert_whole(store, [arrays, changed])


def test_stripped_versions_are_left_out(source: Store, tuned: list[Arrays]) -> None:
    """Versions without bytes are not planned, and naming one says where its bytes may be."""
    strip(source.parts, ["lenet@3", "lenet@4"])
    report = archive(source.parts, terms=Terms(alpha=3))
    assert [row.label for row in report.versions] == ["lenet@3", "lenet@4"]
    assert source.load("lenet@3")["head"].tobytes() == tuned[2]["head"].tobytes()
    with pytest.raises(NotFoundError) as caught:
        archive(source.parts, ["lenet@1"])
    assert caught.value.kind == "stripped"


def test_planes_stay(store: Store, tuned: list[Arrays]) -> None:
    """What was stored in planes is left alone, whatever else is planned."""
    for arrays in tuned:
        store.put(arrays, "lenet", codec="raw")
    store.archive_planes(["lenet@2"])
    report = archive(store.parts, terms=BYTES)
    assert report.tensors == 7
    store.parts.odb.refresh()
    found = [store.parts.odb.find(oid) for oid in chunks(store, "lenet@2")]
    assert any(place is not None and place.entry.codec == PLANES for place in found)
    assert_whole(store, tuned)


def test_an_empty_store(store: Store) -> None:
    """A store without versions, or with tiny tensors only, has nothing to gain."""
    assert not archive(store.parts).is_changed
    store.put({"bias": np.zeros(8, np.float32)}, "tiny")
    assert not archive(store.parts).is_changed


def test_one_at_a_time(source: Store) -> None:
    """While a gc runs, forms are not changed."""
    with source.parts.backend.exclusive("gc"), pytest.raises(ConflictError):
        archive(source.parts, terms=Terms(alpha=3))


def test_the_export_is_a_plan(source: Store, tmp_path: Path) -> None:
    """The graph names tensors as revisions do, is written once, and its plan is a plan of it."""
    path = tmp_path / "graph.json"
    packs = files(source)
    source.plan(path, terms=Terms(alpha=2))
    graph, plan = from_json(json.loads(path.read_text(encoding="utf-8")))
    check_plan(graph, plan)
    assert "lenet@3:model.safetensors#fc.weight" in graph.vertices
    assert [group.name for group in graph.groups] == [f"lenet@{n}" for n in (1, 2, 3, 4)]
    assert {edge.label for edge in graph.edges} >= {"raw", "split-float", "delta"}
    assert files(source) == packs
    with pytest.raises(ExistsError):
        source.plan(path)
    source.plan(path, force=True)


def test_bases_before_what_needs_them() -> None:
    """Forms in a circle are refused before anything is written."""
    one, two = ObjectId(bytes(32)), ObjectId(b"\1" * 32)
    form = Form(8, 8.0, Method(), None, 0, is_now=False)
    forms = {one: form._replace(base=two, depth=1), two: form._replace(base=one, depth=1)}
    with pytest.raises(MstoreError, match="would not come after its base"):
        require_ends(forms)


def test_calibration_is_kept(source: Store) -> None:
    """Rates are measured once; a file that was changed is not believed; both can be overruled."""
    first = rates(source.parts)
    assert rates(source.parts) == first
    path = Path(source.path) / KEY
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert rates(source.parts).read > 0
    assert path.read_bytes() != content
    assert rates(source.parts, disk=1e9).read == pytest.approx(1e-6)
    assert rates(source.parts, again=True).decode.keys() == first.decode.keys()


def test_loading_is_within_the_bound(store: Store) -> None:
    """What was archived loads within a few times the bound by the clock: rates mean something."""
    rng = np.random.default_rng(8)
    arrays = {"w": rng.standard_normal((1024, 2048), dtype=np.float32)}
    for _ in range(3):
        store.put(arrays, "lenet")
        step = rng.standard_normal((1024, 2048), dtype=np.float32) * np.float32(1e-5)
        arrays = {"w": arrays["w"] + step}
    report = archive(store.parts, terms=Terms(alpha=3))
    took = []
    for _ in range(5):
        start = time.perf_counter()
        store.load("lenet@1")
        took.append(time.perf_counter() - start)
    assert min(took) * 1000 < 5 * report.versions[0].bound


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a forked child that does ``work``."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def archive_killed(place: Path, step: int) -> None:
    """Archive a store whose disk kills this program at a step."""
    archive(open_parts(LocalBackend(place, KillingFileSystem(step))), terms=BYTES)


def test_killed_anywhere(source: Store, tuned: list[Arrays], tmp_path: Path) -> None:
    """Killed at any step, every version reads as before, and archiving again ends it."""
    killed = 0
    for step in count(1, 3):
        place = tmp_path / f"killed-{step}"
        mstore.clone(source.path, place)
        if not os.WIFSIGNALED(in_child(partial(archive_killed, place, step))):
            break
        killed += 1
        again = mstore.open(place)
        assert_whole(again, tuned)
        archive(again.parts, terms=BYTES)
        ids = {oid for number in (1, 2, 3, 4) for oid in chunks(again, f"lenet@{number}")}
        assert all(live_copies(again.parts, oid) == 1 for oid in ids)
        again.gc(now=True)
        assert_whole(again, tuned)
    assert killed > 10


def test_a_full_disk_takes_nothing(source: Store, tuned: list[Arrays], tmp_path: Path) -> None:
    """A write that fails condemns nothing, wherever it happens."""
    for at in range(1, 60, 4):
        place = tmp_path / f"full-{at}"
        mstore.clone(source.path, place)
        disk = FaultyFileSystem("write", at, 28, sticky=True)
        with suppress(MstoreError):
            archive(open_parts(LocalBackend(place, disk)), terms=BYTES)
        if not disk.failed:
            break
        again = mstore.open(place)
        assert again.parts.odb.packs(condemned=True) == []
        assert_whole(again, tuned)


class _NearlyFull(FileSystem):
    def free_bytes(self, path: str) -> int:
        """Say that next to nothing is free, of any disk."""
        return min(1000, super().free_bytes(path))


@pytest.mark.parametrize("change", ["archive", "materialize", "planes"])
def test_no_room_is_told_before_anything_is_written(
    store: Store, tuned: list[Arrays], change: str
) -> None:
    """Where new forms do not fit, the error says how much they need, and nothing was written."""
    for arrays in tuned:
        store.put({"w": np.tile(arrays["fc.weight"], (2, 1))}, "m")
    before = sorted(Path(store.path).glob("objects/*"))
    full = Store(open_parts(LocalBackend(Path(store.path), _NearlyFull())))
    changes = {
        "archive": lambda: full.archive(terms=Terms(alpha=1, measure="bytes")),
        "materialize": lambda: full.materialize(["m@2"]),
        "planes": lambda: full.archive_planes(["m@1"], (8,)),
    }
    with pytest.raises(StorageError, match="has 1000 bytes free, the new forms need about"):
        changes[change]()
    assert sorted(Path(store.path).glob("objects/*")) == before
    assert full.load("m@2")["w"].shape == (512, 256)


def test_puts_beside_it_are_safe(source: Store, tuned: list[Arrays]) -> None:
    """Versions put while it runs, as differences from what it changes, are what was put."""
    rng = np.random.default_rng(9)
    put: list[Arrays] = []

    def keep_putting() -> None:
        beside = mstore.open(source.path)
        arrays = tuned[3]
        for _ in range(6):
            arrays = {
                name: array + rng.standard_normal(array.shape, dtype=np.float32) * np.float32(1e-5)
                for name, array in arrays.items()
            }
            beside.put(arrays, "beside", parents=["lenet@4"])
            put.append(arrays)

    thread = threading.Thread(target=keep_putting)
    thread.start()
    for alpha in (3.0, 1.0, 3.0):
        with suppress(ConflictError):
            archive(
                source.parts, [f"lenet@{number}" for number in (1, 2, 3, 4)], Terms(alpha=alpha)
            )
    thread.join()
    source.gc(now=True)
    again = mstore.open(source.path)
    assert_whole(again, tuned)
    assert len(put) == 6
    assert_whole(again, put, "beside")

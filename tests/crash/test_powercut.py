"""A real power cut, at any call of any command, loses nothing that was acknowledged."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests.crash.commands import checkouts_through, digest_of, make_world, numbers, open_at
from tests.crash.mounts import KEEP_NAMES, LOSE_ALL, PowerlessDisk
from tests.crash.powercut import CuttingFileSystem, ForgetfulFileSystem, cut_often

import mstore
from mstore.errors import StorageError
from mstore.ops.get import get
from mstore.store import clone_store

CUTS = 120


@pytest.fixture
def disk() -> Iterator[PowerlessDisk]:
    """A disk whose power can be cut."""
    with PowerlessDisk(4) as made:
        yield made


def write_unsynced(folder: Path) -> Path:
    """A file that nobody made durable."""
    path = folder / "unsynced"
    path.write_bytes(b"x" * 5000)
    return path


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost(seed: int) -> None:
    """Every store opens after the cut, holds all that was acknowledged, and goes on working."""
    report = cut_often(CUTS, seed)
    print(report)  # noqa: T201 - the counts
    assert report.violations == []
    assert report.cuts == CUTS
    assert report.at_once >= 20
    assert min(report.keep_names, report.lose_all) > CUTS / 4


def test_a_store_without_fsync_is_caught() -> None:
    """Without fsync power cuts break stores and lose what was acknowledged."""
    violations = "\n".join(cut_often(60, 3, ForgetfulFileSystem()).violations)
    assert "not one of" in violations
    assert "fsck" in violations or "CorruptError" in violations


def test_a_cut_loses_what_is_not_durable(disk: PowerlessDisk) -> None:
    """Without any fsync a new file is gone after a cut that loses everything."""
    path = write_unsynced(disk.folder)
    disk.cut(LOSE_ALL)
    disk.start_again()
    assert not path.exists()


def test_a_cut_may_keep_names_without_bytes(disk: PowerlessDisk) -> None:
    """Without any fsync a new file is empty after a cut that keeps names."""
    path = write_unsynced(disk.folder)
    disk.cut(KEEP_NAMES)
    disk.start_again()
    assert path.read_bytes().strip(b"\0") == b""


def test_a_cut_keeps_what_is_durable(disk: PowerlessDisk) -> None:
    """What was made durable is there after either cut."""
    path = write_unsynced(disk.folder)
    for flag in (KEEP_NAMES, LOSE_ALL):
        disk.settle()
        disk.cut(flag)
        disk.start_again()
        assert path.read_bytes() == b"x" * 5000


@pytest.mark.parametrize("flag", [KEEP_NAMES, LOSE_ALL])
def test_a_synced_get_is_whole_or_not_there(disk: PowerlessDisk, tmp_path: Path, flag: int) -> None:
    """A power cut at any step of ``get --sync`` leaves the whole file or none, and once done it."""
    store = open_at(make_world(tmp_path / "world") / "store")
    out = disk.folder / "out"
    for at in itertools.count(1):
        files = CuttingFileSystem(at, lambda: disk.cut(flag))
        with checkouts_through(files), suppress(StorageError):
            get(store.parts, "lenet@1", out, sync=True)
        if not files.is_cut:
            disk.cut(flag)
        disk.start_again()
        if out.exists() or not files.is_cut:
            assert digest_of(load_file(out)) == digest_of(numbers(1))
            out.unlink()
            disk.settle()
        if not files.is_cut:
            break
    assert at > 5


def clone(world: Path, place: Path) -> None:
    """Copy a whole store."""
    clone_store(world / "store", place / "made")


def strip_to(world: Path, place: Path) -> None:
    """Make a slim store."""
    open_at(world / "store").strip(["lenet@1"], to=place / "made")


def push(world: Path, place: Path) -> None:
    """Send models to a new store."""
    mstore.init(place / "made")
    open_at(world / "store").push(place / "made")


def bundle(world: Path, place: Path) -> None:
    """Write all of a store into one file."""
    open_at(world / "store").bundle(place / "bundle")


def unbundle(world: Path, place: Path) -> None:
    """Bring in what a bundle holds."""
    open_at(world / "store").bundle(world / "bundle")
    mstore.init(place / "made")[0].unbundle(world / "bundle")


@pytest.mark.parametrize("flag", [KEEP_NAMES, LOSE_ALL])
@pytest.mark.parametrize("command", [clone, strip_to, push, bundle, unbundle])
def test_what_is_made_elsewhere_is_durable(
    disk: PowerlessDisk, tmp_path: Path, command: Callable[[Path, Path], None], flag: int
) -> None:
    """A store or bundle that was made is there, and whole, after a power cut right afterwards."""
    world = make_world(tmp_path / "world")
    command(world, disk.folder)
    disk.cut(flag)
    disk.start_again()
    if command is bundle:
        mstore.init(disk.folder / "made")[0].unbundle(disk.folder / "bundle")
    made = mstore.open(disk.folder / "made")
    assert made.fsck(full=True).clean
    assert digest_of(made.load("lenet@1")) == digest_of(numbers(1))

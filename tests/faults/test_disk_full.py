"""A full disk, or one that takes no writes: a clear error, nothing lost, no repair needed."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from gc import collect as collect_garbage
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file
from tests.crash.commands import (
    AT_ONCE,
    COMMANDS,
    Oracle,
    all_faults,
    copy_world,
    make_world,
    numbers,
    run_command,
)
from tests.crash.mounts import SmallDisk

import mstore
from mstore.errors import StorageError
from mstore.store import Store
from mstore_cli.main import cli

PAGE = 4096
ROOM = 64 << 20
MODEL = 64 << 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk with plenty of room, at first."""
    with SmallDisk(tmp_path / "small", ROOM) as made:
        yield made


def bulky(seed: int) -> dict[str, np.ndarray]:
    """A model of 64 KiB that shares nothing with others."""
    return {"weight": np.random.default_rng(seed).standard_normal(MODEL // 8)}


def used(folder: Path) -> int:
    """Bytes that a disk has in use."""
    return shutil.disk_usage(folder).used


def squeeze(disk: SmallDisk, pages: int) -> None:
    """Leave so many pages free."""
    disk.resize(used(disk.folder) + pages * PAGE)


def rehearse(template: Path, world: Path, name: str) -> Oracle:
    """What a command does where there is room."""
    copy_world(template, world)
    oracle = Oracle()
    oracle.learn(world / "store")
    run_command(COMMANDS[name], world)
    oracle.learn(world / "store")
    return oracle


def refusal(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    """Put a model; what a full disk says to that, empty when it fits."""
    try:
        mstore.open(folder).put(arrays, "more")
    except StorageError as error:
        return f"{error} ({error.hint})"
    return ""


def check_rest(store: Store) -> None:
    """What was put before is whole, and reads on the full disk."""
    assert store.fsck(full=True).clean
    for seed in (1, 2):
        found = store.load(f"lenet@{seed}")["weight"]
        assert np.array_equal(found, bulky(seed)["weight"])


def test_a_put_that_does_not_fit(disk: SmallDisk) -> None:
    """At each size of the disk a put works or says why not, and works once there is room."""
    store = mstore.init(disk.folder / "store")[0]
    for seed in (1, 2):
        store.put(bulky(seed), "lenet")
    said = []
    for pages in range(40):
        squeeze(disk, pages)
        said.append(refusal(disk.folder / "store", bulky(100 + pages)))
        check_rest(mstore.open(disk.folder / "store"))
        disk.resize(ROOM)
        again = mstore.open(disk.folder / "store").put(bulky(100 + pages), "more")
        assert (again.number, again.unchanged) == (pages + 1, not said[-1])
        assert mstore.open(disk.folder / "store").fsck(full=True).clean
    refused = [text for text in said if text]
    assert 16 <= len(refused) <= 36
    assert all("no space left" in text and "free some space" in text for text in refused)


def test_a_put_without_inodes(disk: SmallDisk) -> None:
    """The same where not the bytes run out but the number of files."""
    store = mstore.init(disk.folder / "store")[0]
    for seed in (1, 2):
        store.put(bulky(seed), "lenet")
    names = 2 + sum(1 for _ in disk.folder.rglob("*"))
    refused = 0
    for spare in range(6):
        disk.resize(ROOM, names + spare)
        try:
            mstore.open(disk.folder / "store").put(bulky(3), "more", always=True)
        except StorageError:
            refused += 1
            check_rest(mstore.open(disk.folder / "store"))
        disk.resize(ROOM, 10_000)
    mstore.open(disk.folder / "store").put(bulky(3), "more", always=True)
    assert mstore.open(disk.folder / "store").fsck(full=True).clean
    assert refused >= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_on_a_full_disk(disk: SmallDisk, tmp_path: Path, name: str) -> None:
    """Whatever is done while the disk is full, all stays readable, and it works with room."""
    template = make_world(tmp_path / "template")
    oracle = rehearse(template, tmp_path / "rehearsal", name)
    for pages in (0, 1, 2, 4, 8):
        world = copy_world(template, disk.folder / "world")
        squeeze(disk, pages)
        with suppress(StorageError):
            run_command(COMMANDS[name], world)
        assert all_faults(world / "store", oracle.observed, {}, later=False) == []
        disk.resize(ROOM)
        assert all_faults(world / "store", oracle.observed, oracle.digests) == []
        shutil.rmtree(world)


def test_gc_makes_room_on_a_full_disk(disk: SmallDisk) -> None:
    """A collection needs no free space to give some back."""
    store = mstore.init(disk.folder / "store")[0]
    for seed in (1, 2):
        store.put(bulky(seed), "lenet")
    for seed in range(3, 8):
        store.put(bulky(seed), "old")
    store.delete("old")
    # A pack that a program still has open keeps its room.
    del store
    collect_garbage()
    squeeze(disk, 4)
    before = used(disk.folder)
    mstore.open(disk.folder / "store").gc(now=True, limits=AT_ONCE)
    assert before - used(disk.folder) >= 4 * MODEL
    check_rest(mstore.open(disk.folder / "store"))


def test_the_command_line_on_a_full_disk(disk: SmallDisk, tmp_path: Path) -> None:
    """``mstore put`` ends with exit code 7 and says what to do; later it works."""
    mstore.init(disk.folder / "store")
    save_file(bulky(1), tmp_path / "lenet.safetensors")
    squeeze(disk, 2)
    line = ["--store", str(disk.folder / "store"), "put", str(tmp_path / "lenet.safetensors")]
    failed = CliRunner().invoke(cli, line)
    assert failed.exit_code == 7
    assert "no space left on device" in failed.output
    assert "free some space" in failed.output
    disk.resize(ROOM)
    assert CliRunner().invoke(cli, line).exit_code == 0


def test_a_get_that_does_not_fit(disk: SmallDisk, tmp_path: Path) -> None:
    """A get onto a full disk fails, leaves nothing there, and works with room."""
    store = mstore.init(tmp_path / "store")[0]
    store.put(bulky(1), "lenet")
    for pages in range(1, 18):
        squeeze(disk, pages)
        try:
            store.get("lenet", disk.folder / "out")
        except StorageError:
            assert list(disk.folder.iterdir()) == []
        else:
            assert np.array_equal(load_file(disk.folder / "out")["weight"], bulky(1)["weight"])
            (disk.folder / "out").unlink()
        disk.resize(ROOM)
    store.get("lenet", disk.folder / "out")


def test_a_store_mounted_read_only(disk: SmallDisk, tmp_path: Path) -> None:
    """Listing, loading, writing out and checking work without write access; put says why not."""
    store = mstore.init(disk.folder / "store")[0]
    store.put(numbers(1), "lenet")
    disk.make_read_only()
    store = mstore.open(disk.folder / "store")
    assert [row.name for row in store.models()] == ["lenet"]
    assert np.array_equal(store.load("lenet")["own"], numbers(1)["own"])
    assert store.get("lenet", tmp_path / "out").size_bytes
    assert store.fsck(full=True).clean
    with pytest.raises(StorageError, match="read-only file system") as caught:
        store.put(numbers(2), "lenet")
    assert "read-only" in (caught.value.hint or "")

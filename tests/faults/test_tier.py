"""Giving low planes to another store and taking them back, while either disk fails or all dies."""

import errno
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.crash.commands import AT_ONCE

import mstore
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import MstoreError
from mstore.ops import tier as tier_module
from mstore.parts import open_parts
from mstore.store import Store
from mstore.testing.filesystems import (
    CountingFileSystem,
    FaultyFileSystem,
    KillingFileSystem,
)

WAYS = [("give", "near"), ("give", "far"), ("back", "near")]
"""What is done, and whose disk fails meanwhile; taking back writes nothing there."""
STRIDE = 7
"""Of how many faults one is tried unless MSTORE_THOROUGH asks for all; prime, so all kinds are."""


def weights() -> dict[str, np.ndarray]:
    """A tensor that is just worth cutting, and one that is not."""
    rng = np.random.default_rng(1)
    return {"w": rng.normal(0, 1, (150, 120)).astype("<f4"), "b": np.ones(3, "<f4")}


def make_world(folder: Path, way: str) -> Path:
    """A store in planes beside another one; to take back, they are given to it."""
    near, _ = mstore.init(folder / "near")
    mstore.init(folder / "far")
    near.put(weights(), "m")
    near.archive_planes([], (8, 16))
    near.gc(now=True, limits=AT_ONCE)
    if way == "back":
        near.tier(folder / "far")
        near.gc(now=True, limits=AT_ONCE)
    return folder


def copy_world(template: Path, world: Path) -> Path:
    """A copy that knows where its own other store is."""
    shutil.copytree(template, world, symlinks=True)
    near = mstore.open(world / "near")
    if near.tier().places:
        near.tier(world / "far")
    return world


def work(world: Path, way: str, side: str, files: FileSystem) -> None:
    """Do it, through ``files`` on one of the sides."""
    before = tier_module.open_place
    near = LocalBackend(world / "near", files if side == "near" else None)
    there = LocalBackend(world / "far", files if side == "far" else None)
    tier_module.open_place = lambda _: open_parts(there)
    try:
        store = Store(open_parts(near))
        store.tier(None if way == "back" else world / "far", back=way == "back")
    finally:
        tier_module.open_place = before


def problems(world: Path, way: str, *, done: bool) -> Iterator[str]:
    """What is wrong afterwards, and after doing it again."""
    yield from _problems(world, "at once")
    for name in ("far", "near"):
        mstore.open(world / name).gc(now=True, limits=AT_ONCE)
    yield from _problems(world, "collected")
    places = mstore.open(world / "near").tier().places
    if done and bool(places) != (way == "give"):
        yield f"it was done, and the places are {places}"
    work(world, way, "near", FileSystem())
    mstore.open(world / "near").gc(now=True, limits=AT_ONCE)
    yield from _problems(world, "done again")
    packs = sum(path.stat().st_size for path in (world / "near").glob("objects/*.pack"))
    if (packs < weights()["w"].nbytes / 2) != (way == "give"):
        yield f"done again, {packs} bytes are here"


def _problems(world: Path, when: str) -> Iterator[str]:
    for name in ("near", "far"):
        findings = mstore.open(world / name).fsck(full=True).errors
        yield from (f"{when}, {name}: {finding.message}" for finding in findings)
    try:
        found = mstore.open(world / "near").load("m")
    except MstoreError as error:
        yield f"{when}: {error}"
        return
    if any(not np.array_equal(found[name], array) for name, array in weights().items()):
        yield f"{when}: other numbers"


@pytest.mark.parametrize(("way", "side"), WAYS)
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, way: str, side: str) -> None:
    """Killed before any call that changes a disk, both stores are whole, and it is done again."""
    template = make_world(tmp_path / "template", way)
    counting = KillingFileSystem(0)
    work(copy_world(template, tmp_path / "rehearsal"), way, side, counting)
    assert counting.done > 5
    for step in range(1, counting.done + 1):
        world = copy_world(template, tmp_path / "world")
        child = os.fork()
        if child == 0:
            try:
                work(world, way, side, KillingFileSystem(step))
            finally:
                os._exit(3)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"step {step}: it ended with {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert list(problems(world, way, done=False)) == [], step
        shutil.rmtree(world)


@pytest.mark.parametrize(("way", "side"), WAYS)
def test_a_failing_call_is_told_or_made_good(
    tmp_path: Path, way: str, side: str, *, thorough: bool
) -> None:
    """Whichever call fails, it raises or does its job, and both stores are whole after it."""
    template = make_world(tmp_path / "template", way)
    counting = CountingFileSystem()
    work(copy_world(template, tmp_path / "rehearsal"), way, side, counting)
    faults = [
        (primitive, at, sticky)
        for primitive, count in sorted(counting.counts.items())
        for at in range(1, count + 1)
        for sticky in (False, True)
    ]
    for primitive, at, sticky in faults[:: 1 if thorough else STRIDE]:
        world = copy_world(template, tmp_path / "world")
        done = True
        try:
            work(world, way, side, FaultyFileSystem(primitive, at, errno.EIO, sticky=sticky))
        except MstoreError:
            done = False
        assert list(problems(world, way, done=done)) == [], (primitive, at, sticky)
        shutil.rmtree(world)

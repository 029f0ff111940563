"""Whatever fails while gc runs, nothing that a name needs is lost, and the next gc finishes."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest

import mstore
from mstore.errors import MstoreError
from mstore.ops.check import check
from mstore.store import Store, open_store
from mstore.testing.filesystems import CountingFileSystem, FaultyFileSystem


def numbers(seed: int) -> dict[str, np.ndarray]:
    """The two tensors that worker.py knows for a seed."""
    rng = np.random.default_rng(seed)
    return {
        "shared": np.full(3000, seed % 3, np.float32),
        "own": rng.standard_normal(1500, dtype=np.float32),
    }


@pytest.fixture
def template(store: Store) -> Path:
    """A store with every kind of work for gc: to condemn, repack, resurrect, delete and clear."""
    store.put(numbers(1), "kept")
    store.put(numbers(2) | {"more": numbers(3)["own"]}, "gone")
    store.put(numbers(2), "half")
    store.put(numbers(4), "old")
    store.delete("old")
    store.gc()
    store.delete("gone")
    folder = Path(store.path)
    (folder / "leases" / f"{0:016x}-0123456789abcdef").write_bytes(b"")
    # Condemned though it is needed, as by a gc that crashed before it marked again.
    pack = store.parts.odb.find(store.resolve("kept").version)
    assert pack is not None
    condemned = folder / "condemned" / f"{0:016x}"
    condemned.mkdir(exist_ok=True)
    shutil.move(folder / pack.pack_key, condemned / Path(pack.pack_key).name)
    shutil.rmtree(folder / "cache")
    return folder


def is_whole(store: Store, revision: str, seed: int) -> bool:
    """Whether a version reads back as it was put."""
    found = store.load(revision)
    return all(np.array_equal(found[name], value) for name, value in numbers(seed).items())


def check_survivor(folder: Path) -> None:
    """All is readable, and a gc without faults leaves nothing to do."""
    store = mstore.open(folder)
    assert check(store.parts, full=True).clean
    assert is_whole(store, "kept", 1)
    assert is_whole(store, "half", 2)
    store.gc(now=True)
    rest = store.gc(now=True, dry_run=True)
    assert (rest.plan.dead_bytes, rest.held, rest.condemned) == (0, [], [])
    assert is_whole(store, "kept", 1)
    assert is_whole(store, "half", 2)


READS = {"stat", "fstat", "open_read", "pread", "pread_into", "scan", "lock", "close"}
NEED_ROOM = {"open_new", "open_lock", "write", "link", "rename", "mkdir", "fsync", "allocate"}


def every_fault(
    template: Path, work: Path, error: int, *, thorough: bool
) -> Iterator[tuple[str, int]]:
    """Each primitive that gc calls, with each number of the call; a sample of those that read."""
    counting = CountingFileSystem()
    shutil.copytree(template, work / "counted")
    open_store(work / "counted", files=counting).gc(now=True)
    for name, count in sorted(counting.counts.items()):
        if error == errno.ENOSPC and name not in NEED_ROOM:
            continue
        step = 11 if name in READS and not thorough else 1
        yield from ((name, at) for at in range(1, count + 1, step))


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_failing_calls_lose_nothing(
    template: Path, tmp_path: Path, error: int, *, thorough: bool
) -> None:
    """Each call of gc that fails once, or from then on, leaves a store that is whole."""
    for name, at in every_fault(template, tmp_path, error, thorough=thorough):
        sticky = (at + len(name)) % 2 == 0
        folder = tmp_path / f"{name}-{at}"
        shutil.copytree(template, folder)
        files = FaultyFileSystem(name, at, error, sticky=sticky)
        with suppress(MstoreError):
            open_store(folder, files=files).gc(now=True)
        check_survivor(folder)
        shutil.rmtree(folder)


def test_interrupted_calls_are_repeated(template: Path, tmp_path: Path) -> None:
    """A call that is interrupted is made again, and gc does all its work."""
    for name in ("rename", "link", "unlink", "fsync", "open_new", "pread", "scan", "write"):
        folder = tmp_path / name
        shutil.copytree(template, folder)
        files = FaultyFileSystem(name, 1, errno.EINTR)
        assert open_store(folder, files=files).gc(now=True).deleted
        assert files.failed == 1
        check_survivor(folder)


def test_killed_anywhere(
    template: Path, tmp_path: Path, start: Callable[..., "Popen[str]"]
) -> None:
    """A gc that is killed before any call that changes the disk leaves a store that is whole."""
    worker = start("kill", template, tmp_path / "killed")
    output, errors = worker.communicate()
    assert worker.returncode == 0, errors
    assert json.loads(output) > 20

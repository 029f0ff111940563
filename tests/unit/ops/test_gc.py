"""Garbage collection deletes what no name needs, nothing else, and not before its time."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, CorruptError, NotFoundError, StorageError
from mstore.format.slots import Row
from mstore.ids import hash_chunk
from mstore.ops.check import check
from mstore.ops.gc import KEEP_EPOCHS, Limits, run_gc
from mstore.ops.gc_plan import plan_gc
from mstore.parts import Transaction, open_parts
from mstore.refs import HEADS, Change, current_epoch
from mstore.store import Store, open_store
from mstore.testing.filesystems import FaultyFileSystem, InterceptingFileSystem

DAY = 24 * 3600


def numbers(seed: int, count: int = 2000) -> dict[str, np.ndarray]:
    """A model of one tensor that no other seed has."""
    return {"w": np.random.default_rng(seed).standard_normal(count, dtype=np.float32)}


def files(store: Store) -> dict[str, int]:
    """Every file of a store but its cache, with its size."""
    root = Path(store.path)
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    return {
        name: path.stat().st_size
        for name, path in found.items()
        if path.is_file() and not name.startswith("cache/")
    }


def pass_time(store: Store, seconds: float) -> None:
    """Let epochs, leases and temporary files of a store be older than they are."""
    for folder in ("epoch", "leases", "tmp"):
        for path in (Path(store.path) / folder).iterdir():
            os.utime(path, (time.time() - seconds, path.stat().st_mtime - seconds))


def change_byte(store: Store, key: str, offset: int) -> None:
    """Flip one bit of a file of the store."""
    path = Path(store.path) / key
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def copy_in_reverse(store: Store) -> None:
    """Store the objects of the only pack once more, in another pack."""
    parts = store.parts
    (key,) = parts.odb.packs()
    with Transaction(parts) as transaction:
        for entry in reversed(parts.odb.entries(key)):
            stop = entry.offset + entry.stored_size
            transaction.writer.add_stored(entry, parts.backend.read(key, entry.offset, stop))
        transaction.publish()


@pytest.fixture
def deleted(store: Store) -> Store:
    """A store with one kept and one deleted model."""
    store.put(numbers(1), "kept")
    store.put(numbers(2), "gone")
    store.delete("gone")
    return store


def test_nothing_dead_changes_nothing(store: Store) -> None:
    """A store in which everything is needed is the same after gc, and no epoch is begun."""
    store.put(numbers(1), "lenet")
    before = files(store)
    report = store.gc()
    assert report.plan.freed_bytes == 0
    assert {**files(store), "leases/gc.lock": 0} == {**before, "leases/gc.lock": 0}


def test_condemned_is_still_readable(deleted: Store) -> None:
    """What gc took away can be read and taken back until it is deleted."""
    report = deleted.gc()
    assert len(report.condemned) == len(report.held) == 1
    assert report.deleted == []
    deleted.undo("gone")
    assert np.array_equal(deleted.load("gone")["w"], numbers(2)["w"])
    deleted.gc(now=True)
    assert np.array_equal(deleted.load("gone")["w"], numbers(2)["w"])


def test_deleted_after_a_day(deleted: Store) -> None:
    """A condemned pack is deleted once it was held for a day by the clock of the store's disk."""
    held = deleted.gc().held
    assert deleted.gc().deleted == []
    pass_time(deleted, DAY + 60)
    assert deleted.gc().deleted == [held[0].key]
    assert np.array_equal(deleted.load("kept")["w"], numbers(1)["w"])


def test_now_deletes_at_once(deleted: Store) -> None:
    """With ``now`` nothing is held, and the disk has the bytes back."""
    before = sum(files(deleted).values())
    report = deleted.gc(now=True)
    assert report.deleted_bytes == report.condemned_bytes > 7000
    assert sum(files(deleted).values()) < before - 7000
    with pytest.raises(NotFoundError):
        deleted.undo("gone")


def test_dry_run_writes_nothing(deleted: Store) -> None:
    """``dry_run`` tells what a run would do, whose the bytes are, and leaves every file alone."""
    before = files(deleted)
    planned = deleted.gc(dry_run=True)
    assert files(deleted) == before
    assert [(freed.label, freed.reason) for freed in planned.plan.freed] == [("gone@1", "deleted")]
    assert planned.condemned == deleted.gc().condemned


def test_half_dead_pack_is_written_again(store: Store) -> None:
    """A pack with a quarter of dead bytes is replaced by one that holds only what is needed."""
    store.put(numbers(1) | {"v": numbers(2)["w"]}, "both")
    store.put(numbers(1), "one")
    store.delete("both")
    report = store.gc(now=True)
    assert len(report.repacked) == len(report.deleted) == 1
    assert store.gc(dry_run=True).plan.dead_bytes == 0
    assert np.array_equal(store.load("one")["w"], numbers(1)["w"])
    assert check(store.parts, full=True).clean


def test_a_little_dead_is_left_alone(store: Store) -> None:
    """Below the share of dead bytes that is asked for, a pack stays as it is."""
    store.put(numbers(1, 20_000) | {"v": numbers(2)["w"]}, "both")
    store.put(numbers(1, 20_000), "one")
    store.delete("both")
    assert store.gc(now=True).condemned == []
    assert len(store.gc(now=True, limits=Limits(repack_at=0.05)).repacked) == 1


def test_second_copy_is_dropped(store: Store) -> None:
    """Of two packs with the same needed objects one is condemned as a copy."""
    store.put(numbers(1), "lenet")
    copy_in_reverse(store)
    report = store.gc(now=True)
    assert [freed.label for freed in report.plan.freed] == ["copies"]
    assert len(report.deleted) == 1
    assert np.array_equal(store.load("lenet")["w"], numbers(1)["w"])


def test_damaged_copy_is_not_relied_on(store: Store) -> None:
    """A condemned pack is brought back when the live copy of what it holds is damaged."""
    store.put(numbers(1), "lenet")
    copy_in_reverse(store)
    chunk = hash_chunk(numbers(1)["w"].tobytes())
    home = next(pack.key for pack in plan_gc(store.parts).packs if pack.live_bytes)
    entry = next(entry for entry in store.parts.odb.entries(home) if entry.id == chunk)
    change_byte(store, home, entry.offset)
    report = mstore.open(store.path).gc(now=True)
    assert report.deleted == []
    assert len(report.resurrected) == 1
    assert mstore.open(store.path).parts.odb.read(chunk) == numbers(1)["w"].tobytes()


def test_living_writer_defers_deletion(deleted: Store) -> None:
    """While a writer of an older epoch lives, what it may have seen is not deleted."""
    with deleted.parts.backend.lease(current_epoch(deleted.parts.backend)):
        report = deleted.gc(now=True)
        assert report.deleted == []
        assert len(report.held) == len(report.deferred) == 1
    assert len(deleted.gc(now=True).deleted) == 1


def test_younger_writer_defers_nothing(deleted: Store) -> None:
    """A writer that began after a pack was condemned cannot need it."""
    deleted.gc()
    with deleted.parts.backend.lease(current_epoch(deleted.parts.backend)):
        pass_time(deleted, DAY + 60)
        assert len(deleted.gc(limits=Limits(lease_ttl=100 * DAY)).deleted) == 1


def test_old_lease_is_broken(deleted: Store) -> None:
    """A writer that outlived its lease commits nothing, however long it lived."""
    row = Row(1, deleted.parts.refs.table(HEADS, "gone").rows[1].version, "kept")
    with Transaction(deleted.parts) as transaction:
        report = deleted.gc(now=True, limits=Limits(lease_ttl=-1))
        assert len(report.broken_leases) == 1
        assert len(report.deleted) == 1
        transaction.publish()
        with pytest.raises(ConflictError):
            transaction.commit(HEADS, "again", lambda _: Change((row,), "put"))
    assert deleted.parts.refs.find(HEADS, "again") is None


class CallingFileSystem(InterceptingFileSystem):
    """Calls ``action`` once, just before a name under ``folder`` is given to a file."""

    def __init__(self, folder: str, action: Callable[[], None]) -> None:
        super().__init__(FileSystem())
        self._folder = folder
        self._action: Callable[[], None] | None = action

    def intercept(
        self, name: str, call: Callable[..., object], arguments: dict[str, object]
    ) -> object:
        """Do the call, after the action if this is the one."""
        if name == "link" and f"/{self._folder}/" in str(arguments["target"]) and self._action:
            action, self._action = self._action, None
            action()
        return call(**arguments)


def test_late_commit_is_seen_by_the_second_mark(deleted: Store) -> None:
    """What a writer commits between condemning and the second mark is brought back."""
    row = Row(1, deleted.parts.refs.table(HEADS, "gone").rows[1].version, "kept")
    with Transaction(deleted.parts) as transaction:

        def commit() -> None:
            transaction.publish()
            transaction.commit(HEADS, "again", lambda _: Change((row,), "put"))

        backend = LocalBackend(Path(deleted.path), CallingFileSystem("epoch", commit))
        report = run_gc(open_parts(backend), now=True)
    assert len(report.condemned) == len(report.resurrected) == 1
    assert np.array_equal(mstore.open(deleted.path).load("again")["w"], numbers(2)["w"])


def test_missing_object_stops_it(deleted: Store) -> None:
    """When a pack that a name needs is gone, gc fails and changes nothing."""
    plan = plan_gc(deleted.parts)
    needed = next(pack.key for pack in plan.packs if pack.live_bytes)
    (Path(deleted.path) / needed).rename(Path(deleted.path) / "elsewhere")
    before = files(deleted)
    with pytest.raises(NotFoundError, match="nothing was collected"):
        mstore.open(deleted.path).gc(now=True)
    assert files(deleted) == {**before, "leases/gc.lock": 0}


def test_damaged_description_stops_it(deleted: Store) -> None:
    """When a description that a name needs is damaged, gc fails and changes nothing."""
    parts = deleted.parts
    version = parts.odb.find(deleted.resolve("kept").version)
    assert version is not None
    change_byte(deleted, version.pack_key, version.entry.offset)
    before = files(deleted)
    with pytest.raises(CorruptError, match="nothing was collected"):
        mstore.open(deleted.path).gc(now=True)
    assert files(deleted) == {**before, "leases/gc.lock": 0}


def test_damaged_slot_stops_it(deleted: Store) -> None:
    """When a name cannot be read, gc fails and changes nothing."""
    change_byte(deleted, f"refs/heads/kept/{1:016x}", 20)
    with pytest.raises(CorruptError):
        mstore.open(deleted.path).gc(now=True)
    assert len(deleted.parts.odb.packs()) == 2


def test_unreadable_pack_is_left_alone(deleted: Store) -> None:
    """A file that is no pack of ours is neither needed nor touched."""
    foreign = Path(deleted.path) / "objects" / f"{'0' * 64}.pack"
    foreign.write_bytes(b"not a pack")
    assert len(mstore.open(deleted.path).gc(now=True).deleted) == 1
    assert foreign.read_bytes() == b"not a pack"


def test_old_temporary_files_go(store: Store) -> None:
    """Temporary files go when they are old and nobody who may write to them lives."""
    tmp = Path(store.path) / "tmp"
    with store.parts.backend.lease(0):
        pass_time(store, 3600)
        (tmp / "old").write_bytes(bytes(100))
        pass_time(store, 2 * 3600)
        (tmp / "young").write_bytes(b"")
        assert store.gc(limits=Limits(lease_ttl=DAY)).removed_tmp == []
    assert store.gc().removed_tmp == ["tmp/old"]
    assert [path.name for path in tmp.iterdir()] == ["young"]


def test_one_at_a_time(store: Store) -> None:
    """A second gc is refused while one runs."""
    with store.parts.backend.exclusive("gc"), pytest.raises(ConflictError):
        store.gc()


def test_stripped_and_ancestors_keep_their_description(store: Store) -> None:
    """The parents of a kept version can be described after gc, though they were deleted."""
    store.put(numbers(1), "lenet")
    store.put(numbers(2), "lenet")
    parent = store.resolve("lenet@1").version
    store.delete("lenet@1")
    report = store.gc(now=True)
    assert len(report.repacked) == 1
    assert mstore.open(store.path).parts.odb.version(parent).tensor_count == 1
    assert check(store.parts, full=True).clean


def test_epoch_files_are_bounded(store: Store) -> None:
    """However often gc runs, only so many epoch files stay, and the newest one does."""
    store.put(numbers(0), "kept")
    for seed in range(1, KEEP_EPOCHS + 6):
        store.put(numbers(seed), "gone", always=True)
        store.delete("gone")
        store.gc(now=True)
    epochs = sorted(path.name for path in (Path(store.path) / "epoch").iterdir())
    assert len(epochs) <= KEEP_EPOCHS
    assert int(epochs[-1], 16) == KEEP_EPOCHS + 5


def test_readers_of_an_open_store_go_on(deleted: Store) -> None:
    """A store that was opened before gc repacked still reads what is needed."""
    reader = mstore.open(deleted.path)
    assert len(reader.load("kept")) == 1
    deleted.put(numbers(3) | {"v": numbers(4)["w"]}, "both")
    deleted.put(numbers(3), "one")
    both = mstore.open(deleted.path)
    both.models()
    deleted.delete("both")
    deleted.gc(now=True)
    assert np.array_equal(both.load("one")["w"], numbers(3)["w"])


def test_damaged_twin_goes_to_quarantine(store: Store) -> None:
    """A sound condemned pack replaces a damaged live one of the same name, which is kept aside."""
    store.put(numbers(1), "lenet")
    (key,) = store.parts.odb.packs()
    condemned = Path(store.path) / "condemned" / f"{0:016x}"
    condemned.mkdir()
    (condemned / Path(key).name).write_bytes((Path(store.path) / key).read_bytes())
    found = store.parts.odb.find(hash_chunk(numbers(1)["w"].tobytes()))
    assert found is not None
    change_byte(store, key, found.entry.offset)
    assert len(mstore.open(store.path).gc(now=True).resurrected) == 1
    assert np.array_equal(mstore.open(store.path).load("lenet")["w"], numbers(1)["w"])
    assert len(list((Path(store.path) / "quarantine").iterdir())) == 1


def test_full_disk_still_frees_what_it_can(store: Store) -> None:
    """When there is no room to repack, whole packs are deleted all the same, and it is said."""
    store.put(numbers(1) | {"v": numbers(2)["w"]}, "both")
    store.put(numbers(1), "one")
    store.put(numbers(3), "gone")
    store.delete("both")
    store.delete("gone")
    full = open_store(store.path, files=FaultyFileSystem("write", 1, errno.ENOSPC))
    report = full.gc(now=True)
    assert "nothing was repacked" in report.skipped
    assert (len(report.deleted), report.repacked) == (1, [])
    assert np.array_equal(mstore.open(store.path).load("one")["w"], numbers(1)["w"])


@pytest.mark.parametrize("name", ["ff", "0x00000000000000f", "00000000000000FF", ".DS_Store"])
def test_a_foreign_file_in_the_epochs_stops_writers(deleted: Store, name: str) -> None:
    """What is not an epoch in all its digits is not taken for one: nobody begins."""
    (Path(deleted.path) / "epoch" / name).write_bytes(b"")
    with pytest.raises(StorageError, match="foreign file in 'epoch'"):
        current_epoch(deleted.parts.backend)

"""The order in which a local store touches the disk (SPEC §4.3, §8), seen call by call."""

from pathlib import Path

import pytest

from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, ExistsError
from mstore.testing.filesystems import CHANGES, Operation, RecordingFileSystem

PACK = "objects/1.pack"
SLOT = "refs/heads/lenet/0000000000000001"
NEXT_SLOT = "refs/heads/lenet/0000000000000002"


@pytest.fixture
def fs(tmp_path: Path) -> RecordingFileSystem:
    """A file system that writes down what is done in the store."""
    return RecordingFileSystem(tmp_path)


@pytest.fixture
def backend(tmp_path: Path, fs: RecordingFileSystem) -> LocalBackend:
    """A prepared store of which nothing is written down yet."""
    backend = LocalBackend(tmp_path, fs)
    backend.prepare()
    fs.operations.clear()
    return backend


def changes(fs: RecordingFileSystem) -> list[tuple[str, str]]:
    """The recorded changes: primitive and path, or for a link its target; "tmp" for any in it."""
    wanted = (CHANGES | {"fsync_folder"}) - {"close", "open_lock"}
    return [(done.name, where(done)) for done in fs.operations if done.name in wanted]


def where(done: Operation) -> str:
    """The folder of a file in tmp or leases, else the path."""
    path = done.target or done.path
    folder = path.partition("/")[0]
    return folder if folder in {"tmp", "leases"} else path


def test_publishing(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """A pack is written and fsynced under no name but its temporary one, then linked and synced."""
    with backend.draft() as draft:
        draft.write(b"content")
        draft.publish(PACK)
    backend.sync("objects")
    assert changes(fs) == [
        ("open_new", "tmp"),
        ("write", "tmp"),
        ("fsync", "tmp"),
        ("link", PACK),
        ("unlink", "tmp"),
        ("fsync_folder", "objects"),
    ]


def test_a_pack_is_closed_before_it_is_linked(
    fs: RecordingFileSystem, backend: LocalBackend
) -> None:
    """What ``close`` has to tell is known before the name exists."""
    with backend.draft() as draft:
        draft.publish(PACK)
    assert fs.names("fsync", "close", "link") == ["fsync", "close", "link"]


def test_committing(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """A commit rewrites and fsyncs the lease, links it, and syncs the slot's folders."""
    with backend.lease(0) as lease:
        fs.operations.clear()
        lease.commit(SLOT, b"slot")
        assert changes(fs) == [
            ("truncate", "leases"),
            ("pwrite", "leases"),
            ("fsync", "leases"),
            ("link", SLOT),
            ("mkdir", "refs/heads/lenet"),
            ("fsync_folder", "refs/heads"),
            ("link", SLOT),
            ("fsync_folder", "refs/heads/lenet"),
            ("fsync_folder", "refs/heads"),
        ]
        fs.operations.clear()
    assert changes(fs) == [("unlink", "leases")]


def test_a_lease_is_locked_before_it_is_seen(
    fs: RecordingFileSystem, backend: LocalBackend
) -> None:
    """No moment exists at which a gc could take a new lease for a dead one."""
    backend.lease(0).drop()
    assert fs.names("open_new", "lock", "rename") == ["open_new", "lock", "rename"]


def test_a_lost_race_rewrites_the_same_file(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """The second attempt of a commit writes the file that a gc may have unlinked, not a new one."""
    backend.create(SLOT, b"theirs")
    with backend.lease(0) as lease:
        fs.operations.clear()
        with pytest.raises(ExistsError):
            lease.commit(SLOT, b"ours")
        lease.commit(NEXT_SLOT, b"ours")
        assert fs.names("open_new") == []
        files = {done.file for done in fs.operations if done.name in {"pwrite", "fsync"}}
        assert len(files) == 1


def test_a_broken_lease_makes_no_folder(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """A commit that is refused leaves no trace under refs/."""
    with backend.lease(0) as lease:
        backend.break_lease(lease.name)
        fs.operations.clear()
        with pytest.raises(ConflictError):
            lease.commit(SLOT, b"late")
        assert fs.names("mkdir") == []


def test_a_prefix_is_synced_up_to_a_prepared_folder(
    fs: RecordingFileSystem, backend: LocalBackend
) -> None:
    """Syncing a prefix also makes its own name durable, as far up as ``prepare`` has not."""
    backend.create("refs/votes/a/b/1", b"")
    fs.operations.clear()
    backend.sync("refs/votes/a/b", "objects")
    synced = [done.path for done in fs.operations if done.name == "fsync_folder"]
    assert synced == ["refs/votes/a/b", "refs/votes/a", "refs/votes", "refs", "objects"]


def test_creating_syncs_what_others_created(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """Who is told that a file exists may rely on it: its name is made durable first."""
    backend.create("epoch/0000000000000001", b"")
    fs.operations.clear()
    assert not backend.create("epoch/0000000000000001", b"")
    assert fs.operations[-1].name == "close"
    assert [done.path for done in fs.operations if done.name == "fsync_folder"] == ["epoch"]


def test_cache_files_cost_no_fsync(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """What can be made again is not waited for."""
    backend.replace_cache("cache/index", b"index")
    assert fs.names("fsync", "fsync_folder") == []
    assert fs.names("open_new", "write", "rename") == ["open_new", "write", "rename"]


def test_long_drafts_start_writeback(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """Every 32 MiB are sent on their way, each byte once."""
    with backend.draft() as draft:
        for _ in range(17):
            draft.write(bytes(4 << 20))
    sent = [(d.offset, d.size) for d in fs.operations if d.name == "start_writeback"]
    assert sent == [(0, 32 << 20), (32 << 20, 32 << 20)]


def test_reading_writes_nothing(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """No reading verb changes the disk or takes a lock."""
    backend.create("config", b"{}")
    backend.create(PACK, b"pack")
    fs.operations.clear()
    again = LocalBackend(Path(backend.location), fs)
    again.read("config")
    again.read_into(PACK, 0, bytearray(4))
    again.map(PACK)
    list(again.list("objects"))
    list(again.list_prefixes("refs/heads"))
    assert again.leases() == []
    assert fs.names("lock", *(CHANGES - {"close"})) == []


def test_opening_touches_nothing(fs: RecordingFileSystem, tmp_path: Path) -> None:
    """Making a backend does not even look."""
    LocalBackend(tmp_path, fs)
    assert fs.operations == []


def test_packs_are_opened_once(fs: RecordingFileSystem, backend: LocalBackend) -> None:
    """Reading a pack again opens nothing."""
    backend.create(PACK, b"pack")
    for _ in range(3):
        backend.read_into(PACK, 0, bytearray(4))
    assert fs.names("open_read") == ["open_read"]


def test_few_packs_stay_open(fs: RecordingFileSystem, tmp_path: Path) -> None:
    """Of a hundred packs that were read 64 are open, and none when the backend is gone."""
    backend = LocalBackend(tmp_path, fs)
    for number in range(100):
        backend.create(f"objects/{number}.pack", b"pack")
    fs.operations.clear()
    for number in range(100):
        backend.read(f"objects/{number}.pack")
    assert len(fs.names("open_read")) - len(fs.names("close")) == 64
    del backend
    assert len(fs.names("close")) == 100

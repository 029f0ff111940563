"""Every call of a publish and a commit fails once, or from then on; nothing may ever be a lie."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, MstoreError, StorageError
from mstore.testing.crash import crash_states, read_folder
from mstore.testing.filesystems import (
    CHANGES,
    FaultyFileSystem,
    RecordingFileSystem,
    ShortFileSystem,
)

PACK = "objects/1.pack"
SLOT = "refs/heads/lenet/0000000000000001"
CONTENT = b"pack" * 1000
NAMES = {PACK: CONTENT, SLOT: b"slot"}

PRIMITIVES = sorted(CHANGES - {"open_lock", "allocate", "rename_new", "exchange", "rmdir"})
ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EMFILE]


def put(backend: LocalBackend) -> None:
    """One transaction: a pack, then the slot that names it."""
    with backend.lease(0) as lease:
        with backend.draft() as draft:
            draft.write(CONTENT)
            draft.publish(PACK)
        backend.sync("objects")
        lease.commit(SLOT, NAMES[SLOT])


def is_acknowledged(backend: LocalBackend) -> bool:
    """Whether a ``put`` says that it is done; only StorageError and ConflictError may say not."""
    try:
        put(backend)
    except (StorageError, ConflictError):
        return False
    return True


def prepared(folder: Path) -> Path:
    """An empty store."""
    LocalBackend(folder).prepare()
    return folder


def assert_whole(folder: Path) -> None:
    """What has a final name has all its bytes."""
    found = read_folder(folder).files
    for key, content in found.items():
        if key.startswith(("objects/", "refs/")):
            assert content == NAMES[key]


def assert_lasting(folder: Path, fs: RecordingFileSystem, start: Path) -> None:
    """No power cut, at any moment, could have broken the store or an acknowledged commit."""
    for state in crash_states(read_folder(start), fs.operations):
        for key, content in state.files.items():
            if key.startswith(("objects/", "refs/")):
                assert content == NAMES[key], state.story
        if SLOT in state.files:
            assert PACK in state.files, state.story
        if "acknowledged" in state.marks:
            assert SLOT in state.files, state.story
    assert_whole(folder)


def attempts(folder: Path, primitive: str, error: int, **how: bool) -> Iterator[tuple[Path, bool]]:
    """A ``put`` for each call of the primitive that can fail; gives whether it said it was done."""
    empty = prepared(folder / "empty")
    for at in range(1, 100):
        store = prepared(folder / str(at))
        fs = RecordingFileSystem(store)
        faulty = FaultyFileSystem(primitive, at, error, inner=fs, **how)
        done = is_acknowledged(LocalBackend(store, faulty))
        if done:
            fs.mark("acknowledged")
        assert_lasting(store, fs, empty)
        if not faulty.failed:
            assert done
            return
        yield store, done
    pytest.fail(f"{primitive} is called without end")


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_no_error_leads_to_a_lie(
    tmp_path: Path, primitive: str, error: int, *, sticky: bool
) -> None:
    """A call that fails is told, leaves no half-written name, and a new start finishes the work."""
    for store, _ in attempts(tmp_path, primitive, error, sticky=sticky):
        put_again(LocalBackend(store))
        assert_whole(store)
        assert read_folder(store).files.keys() >= NAMES.keys()


def put_again(backend: LocalBackend) -> None:
    """``put`` for a store in which it may have been done already."""
    try:
        put(backend)
    except MstoreError as error:
        assert error.kind == "exists"  # noqa: PT017 - any other error is not expected


@pytest.mark.parametrize("primitive", ["open_new", "write", "pwrite", "truncate", "fsync"])
def test_a_failed_write_is_never_acknowledged(tmp_path: Path, primitive: str) -> None:
    """Whatever call on the bytes fails, the put fails."""
    assert not any(done for _, done in attempts(tmp_path, primitive, errno.EIO))


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_an_interrupted_call_is_repeated(tmp_path: Path, primitive: str) -> None:
    """A signal at any call goes unnoticed."""
    assert all(done for _, done in attempts(tmp_path, primitive, errno.EINTR))


@pytest.mark.parametrize("primitive", ["link", "rename", "mkdir", "unlink"])
def test_an_interrupted_call_may_have_been_done(tmp_path: Path, primitive: str) -> None:
    """So does one that was interrupted after it had been done."""
    assert all(done for _, done in attempts(tmp_path, primitive, errno.EINTR, after=True))


def test_an_endless_interruption_ends(tmp_path: Path) -> None:
    """A call that is interrupted for ever fails in the end."""
    for _, done in attempts(tmp_path, "fsync", errno.EINTR, sticky=True):
        assert not done


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.ENOENT])
def test_a_link_that_reports_a_false_failure_counts(tmp_path: Path, error: int) -> None:
    """A network file system may do a link and then say that it failed (link(2) on NFS)."""
    assert all(done for _, done in attempts(tmp_path, "link", error, after=True))


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_without_hard_links_names_are_moved(tmp_path: Path, error: int) -> None:
    """Where no file can have two names, an exclusive rename takes the place of link."""
    store = prepared(tmp_path / "store")
    fs = RecordingFileSystem(store)
    backend = LocalBackend(store, FaultyFileSystem("link", 1, error, sticky=True, inner=fs))
    put(backend)
    fs.mark("acknowledged")
    assert_lasting(store, fs, prepared(tmp_path / "empty"))
    with pytest.raises(MstoreError, match="already"), backend.lease(0) as lease:
        lease.commit(SLOT, b"other")
    assert not backend.share(PACK, "objects/2.pack")


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_short_writes_and_reads_are_continued(tmp_path: Path, limit: int) -> None:
    """A disk that takes and gives few bytes at a time is as good as any other."""
    backend = LocalBackend(prepared(tmp_path), ShortFileSystem(limit))
    put(backend)
    buffer = bytearray(len(CONTENT))
    backend.read_into(PACK, 0, buffer)
    assert buffer == CONTENT
    assert backend.read(PACK) == CONTENT


def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    """Without room the draft is removed, the error has a hint, and there is no suspicion."""
    fs = FaultyFileSystem("write", 1, errno.ENOSPC)
    backend = LocalBackend(prepared(tmp_path), fs)
    with pytest.raises(StorageError, match="no space left") as caught:
        put(backend)
    assert "free some space" in str(caught.value.hint)
    assert list(backend.list("tmp")) == []
    put(backend)


class NoProgress(FileSystem):
    """A disk that accepts nothing and says nothing."""

    def write(self, fd: int, content: object) -> int:
        """Write nothing."""
        del fd, content
        return 0


def test_a_disk_that_makes_no_progress_fails(tmp_path: Path) -> None:
    """A write of nothing is an error, not a loop."""
    with pytest.raises(StorageError):
        put(LocalBackend(prepared(tmp_path), NoProgress()))


@pytest.mark.parametrize("primitive", ["fsync", "close"])
def test_after_a_failed_fsync_nothing_is_acknowledged(tmp_path: Path, primitive: str) -> None:
    """The first failure of fsync or close makes the place suspect until the next start."""
    fs = FaultyFileSystem(primitive, 1, errno.EIO)
    backend = LocalBackend(prepared(tmp_path), fs)
    with pytest.raises(StorageError, match="make durable"):
        put(backend)
    calls = fs.count
    for verb in (
        lambda: backend.create("config", b""),
        lambda: backend.sync("objects"),
        lambda: backend.lease(0),
        backend.draft,
    ):
        with pytest.raises(StorageError, match="earlier fsync failed"):
            verb()
    assert fs.count == calls
    assert LocalBackend(tmp_path).create("config", b"")


def test_a_failed_fsync_is_not_repeated(tmp_path: Path) -> None:
    """The kernel may report success the second time, having dropped the bytes."""
    fs = FaultyFileSystem("fsync", 1, errno.EIO)
    with LocalBackend(prepared(tmp_path), fs).draft() as draft:
        draft.write(CONTENT)
        for _ in range(2):
            with pytest.raises(StorageError):
                draft.publish(PACK)
    assert fs.count == 1
    assert read_folder(tmp_path).files == {}


def test_drafts_begun_before_the_failure_are_refused_too(tmp_path: Path) -> None:
    """Suspicion holds for the whole place, not for the file that failed."""
    backend = LocalBackend(prepared(tmp_path), FaultyFileSystem("fsync", 1, errno.EIO))
    first, second, lease = backend.draft(), backend.draft(), backend.lease(0)
    for write in (
        lambda: first.publish(PACK),
        lambda: second.publish(PACK),
        lambda: lease.commit(SLOT, b"slot"),
    ):
        with pytest.raises(StorageError):
            write()
    lease.drop()
    assert read_folder(tmp_path).files == {}


def test_a_folder_without_fsync_is_no_failure(tmp_path: Path) -> None:
    """Some network file systems refuse to fsync a folder; their servers make names durable."""

    class NoFolderSync(FileSystem):
        def fsync(self, fd: int) -> None:
            if self.fstat(fd).st_mode & 0o040000:
                raise OSError(errno.EINVAL, "invalid argument")
            super().fsync(fd)

    put(LocalBackend(prepared(tmp_path), NoFolderSync()))

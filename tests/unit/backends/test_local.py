"""What only a store in a folder has: other programs, links, read-only media."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import ConflictError, NotFoundError, StorageError
from mstore.testing.crash import read_folder
from mstore.testing.filesystems import (
    CHANGES,
    FaultyFileSystem,
    InterceptingFileSystem,
    KillingFileSystem,
    SeededFileSystem,
    Value,
)

PACK = "objects/1.pack"
SLOT = "refs/heads/lenet/0000000000000001"
CONTENT = b"pack" * 1000


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    """A prepared store."""
    backend = LocalBackend(tmp_path / "store")
    backend.prepare()
    return backend


def put(backend: LocalBackend) -> None:
    """One transaction: a pack, then the slot that names it."""
    with backend.lease(0) as lease:
        with backend.draft() as draft:
            draft.write(CONTENT)
            draft.publish(PACK)
        backend.sync("objects")
        lease.commit(SLOT, b"slot")


HOLD_A_LEASE = """
lease = LocalBackend(folder).lease(5)
"""
HOLD_THE_LOCK = """
lock = LocalBackend(folder).exclusive("gc")
lock.__enter__()
"""
PUT_AND_DIE = """
LocalBackend(folder).prepare()
backend = LocalBackend(folder, KillingFileSystem(int(sys.argv[2])))
with backend.lease(0) as lease:
    with backend.draft() as draft:
        draft.write(b"pack" * 1000)
        draft.publish("objects/1.pack")
    backend.sync("objects")
    lease.commit("refs/heads/lenet/0000000000000001", b"slot")
"""


def program(work: str, *arguments: object) -> list[str]:
    """The command line of another program that does ``work``, says so, and waits for its input."""
    text = f"""
import sys
from pathlib import Path
from mstore.backends.local import LocalBackend
from mstore.testing.filesystems import KillingFileSystem
folder = Path(sys.argv[1])
{work}
print("done", flush=True)
sys.stdin.read()
"""
    return [sys.executable, "-c", text, *map(str, arguments)]


@contextmanager
def beside(work: str, folder: str) -> Iterator[None]:
    """A block while another program has done ``work`` and lives; it is killed at the end."""
    with subprocess.Popen(
        program(work, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"done\n"
        yield
        other.kill()


def test_a_killed_writer_is_known_to_be_gone(backend: LocalBackend) -> None:
    """The lease of another program is alive until that is killed."""
    with beside(HOLD_A_LEASE, backend.location):
        assert [(state.epoch, state.alive) for state in backend.leases()] == [(5, True)]
    assert [(state.epoch, state.alive) for state in backend.leases()] == [(5, False)]


def test_the_lock_of_another_program_is_respected(backend: LocalBackend) -> None:
    """A gc that runs in another program excludes ours until it is killed."""
    with (
        beside(HOLD_THE_LOCK, backend.location),
        pytest.raises(ConflictError),
        backend.exclusive("gc"),
    ):
        pass
    with backend.exclusive("gc"):
        pass


def changes_of_a_put(folder: Path) -> int:
    """How many calls of a ``put`` change the disk."""
    LocalBackend(folder).prepare()
    counting = KillingFileSystem(0)
    put(LocalBackend(folder, counting))
    return counting.done


def test_kill_at_every_step(tmp_path: Path) -> None:
    """A writer killed before any of its calls leaves whole files, and the next one finishes."""
    for at in range(1, changes_of_a_put(tmp_path / "0") + 1):
        folder = tmp_path / str(at)
        done = subprocess.run(
            program(PUT_AND_DIE, folder, at), stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == -signal.SIGKILL
        assert_finishes(LocalBackend(folder), folder)


def assert_finishes(backend: LocalBackend, folder: Path) -> None:
    """All final names are whole, and a second writer gets to the same end."""
    whole = {PACK: CONTENT, SLOT: b"slot"}
    files = read_folder(folder).files
    assert all(
        whole[key] == content
        for key, content in files.items()
        if key.startswith(("objects/", "refs/"))
    )
    assert not any(state.alive for state in backend.leases())
    if SLOT not in files:
        put(backend)
    assert backend.read(PACK) == CONTENT


class ReadOnly(InterceptingFileSystem):
    """The real file system, but nothing can be changed, as on a CD."""

    def intercept(
        self, name: str, call: Callable[..., Value], arguments: dict[str, Value]
    ) -> Value:
        """Refuse what changes the disk."""
        if name in CHANGES - {"close", "fsync"}:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return call(**arguments)


def test_a_readonly_store_is_read(backend: LocalBackend) -> None:
    """Everything but writing works on read-only media; writing says what to do."""
    put(backend)
    lease = backend.lease(1)
    folder = Path(backend.location)
    reader = LocalBackend(folder, ReadOnly())
    assert reader.read(PACK) == CONTENT
    assert bytes(reader.map(PACK)) == CONTENT
    assert [item.key for item in reader.list("objects")] == [PACK]
    assert list(reader.list_prefixes("refs/heads")) == ["refs/heads/lenet"]
    assert [state.alive for state in reader.leases()] == [True]
    with pytest.raises(StorageError, match="read-only") as caught:
        put(reader)
    assert "copy it" in str(caught.value.hint)
    lease.drop()


def test_an_open_pack_outlives_its_name(backend: LocalBackend) -> None:
    """A reader goes on reading a pack that another program condemned, even removed."""
    put(backend)
    assert backend.read(PACK, 0, 4) == b"pack"
    gc = LocalBackend(Path(backend.location))
    gc.move(PACK, "condemned/0000000000000001/1.pack")
    gc.remove("condemned/0000000000000001/1.pack")
    buffer = bytearray(4)
    backend.read_into(PACK, 4, buffer)
    assert buffer == b"pack"
    with pytest.raises(NotFoundError):
        backend.size(PACK)


def test_a_descriptor_is_not_closed_under_its_reader(tmp_path: Path) -> None:
    """A thread that reads while others open a hundred packs still gets its own bytes."""
    reading, go_on = threading.Event(), threading.Event()

    class Slow(FileSystem):
        def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
            if len(buffer) == 3:
                reading.set()
                go_on.wait(30)
            return super().pread_into(fd, buffer, offset)

    backend = LocalBackend(tmp_path, Slow())
    backend.prepare()
    for number in range(100):
        backend.create(f"objects/{number}.pack", b"%03d" % number)
    mine = bytearray(3)
    thread = threading.Thread(target=backend.read_into, args=("objects/0.pack", 0, mine))
    thread.start()
    reading.wait(30)
    for number in range(1, 100):
        backend.read(f"objects/{number}.pack")
    go_on.set()
    thread.join()
    assert mine == b"000"


def test_symbolic_links_are_not_followed(backend: LocalBackend, tmp_path: Path) -> None:
    """A link where a file should be is neither listed nor read."""
    (tmp_path / "secret").write_bytes(b"secret")
    (Path(backend.location) / PACK).symlink_to(tmp_path / "secret")
    assert list(backend.list("objects")) == []
    with pytest.raises(StorageError, match="symbolic links") as caught:
        backend.read(PACK)
    assert "remove it" in str(caught.value.hint)


def test_folders_that_got_lost_are_made_again(backend: LocalBackend) -> None:
    """A copy of a store that left out empty folders works."""
    folder = Path(backend.location)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    put(backend)
    with backend.exclusive("gc"):
        assert backend.read(PACK) == CONTENT


def test_a_draft_that_was_cleared_away_is_a_conflict(backend: LocalBackend) -> None:
    """Publishing a draft whose file a gc has removed says to run again."""
    with backend.draft() as draft:
        for item in backend.list("tmp"):
            backend.remove(item.key)
        with pytest.raises(ConflictError, match="cleared away"):
            draft.publish(PACK)


def test_a_twin_that_vanishes_meanwhile_is_replaced(tmp_path: Path) -> None:
    """A name that is taken when linking and free when looking is tried again."""

    class Vanishing(FileSystem):
        def stat(self, path: str, *, dir_fd: int | None = None) -> os.stat_result:
            if path.endswith(".pack") and Path(path).read_bytes() == b"old":
                self.unlink(path)
            return super().stat(path, dir_fd=dir_fd)

    backend = LocalBackend(tmp_path, Vanishing())
    backend.prepare()
    (tmp_path / PACK).write_bytes(b"old")
    with backend.draft() as draft:
        draft.write(b"new")
        assert draft.publish(PACK)
    assert backend.read(PACK) == b"new"


def test_a_moved_file_survives_a_false_failure(backend: LocalBackend) -> None:
    """A rename that is done and then reported as failed counts as done."""
    put(backend)
    fs = FaultyFileSystem("rename", 1, errno.EIO, after=True)
    assert LocalBackend(Path(backend.location), fs).move(PACK, "objects/2.pack")
    assert backend.read("objects/2.pack") == CONTENT


def test_without_locks_leases_count_as_alive(backend: LocalBackend) -> None:
    """Where the file system has no locks, no lease is taken for dead, and gc does not run."""
    fs = FaultyFileSystem("lock", 1, errno.ENOLCK, sticky=True)
    lockless = LocalBackend(Path(backend.location), fs)
    with lockless.lease(0):
        assert [state.alive for state in lockless.leases()] == [True]
    with pytest.raises(StorageError, match="cannot lock"), lockless.exclusive("gc"):
        pass


def test_the_clock_is_that_of_the_disk(tmp_path: Path) -> None:
    """The age of a lease does not depend on this machine's clock, unless the disk has none."""
    backend = LocalBackend(tmp_path, SeededFileSystem())
    backend.prepare()
    with backend.lease(0):
        assert 0 <= backend.leases()[0].age < 60


def test_a_relative_store_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store opened by a relative path is not lost when the program changes its folder."""
    monkeypatch.chdir(tmp_path)
    backend = LocalBackend(Path("store"))
    backend.prepare()
    monkeypatch.chdir("/")
    put(backend)
    assert (tmp_path / "store" / PACK).exists()


def test_a_parent_that_cannot_be_read_is_no_obstacle(tmp_path: Path) -> None:
    """A store can be prepared in an existing folder whose own folder may only be passed."""

    class NoParent(FileSystem):
        def open_folder(self, path: str, *, dir_fd: int | None = None, follow: bool = False) -> int:
            if path == str(tmp_path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return super().open_folder(path, dir_fd=dir_fd, follow=follow)

    (tmp_path / "store").mkdir()
    backend = LocalBackend(tmp_path / "store", NoParent())
    backend.prepare()
    put(backend)
    with pytest.raises(StorageError):
        LocalBackend(tmp_path / "other", NoParent()).prepare()


def test_a_team_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    """Packs and slots get the modes that the umask leaves, as git's objects do."""
    before = os.umask(0o022)
    try:
        backend = LocalBackend(tmp_path / "store")
        backend.prepare()
        with backend.draft() as draft:
            draft.write(b"x")
            draft.publish("objects/a.pack")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "store/objects/a.pack").stat().st_mode) == 0o644

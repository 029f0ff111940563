"""Writing outside the store: whole or not at all, and never astray."""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mstore.backends.checkout import Checkout
from mstore.backends.fsio import FileSystem
from mstore.errors import ExistsError, InvalidInputError, MstoreError, NotFoundError, StorageError
from mstore.testing.crash import crash_states, read_folder
from mstore.testing.filesystems import (
    CHANGES,
    FaultyFileSystem,
    RecordingFileSystem,
    ShortFileSystem,
)

MODEL = {"config.json": b"{}", "weights/a.safetensors": b"abcd" * 2000, "weights/b": b""}


def write_file(destination: Path, content: bytes = b"new", *, force: bool = False) -> None:
    """Check out one file."""
    with Checkout(destination, folder=False, force=force) as checkout:
        with checkout.create(size=len(content)) as file:
            file.write_at(0, content)
        checkout.place()


def write_folder(destination: Path, *, force: bool = False, fs: FileSystem | None = None) -> None:
    """Check out ``MODEL``, and an empty folder."""
    with Checkout(destination, folder=True, force=force, fs=fs) as checkout:
        for path, content in MODEL.items():
            with checkout.create(path, len(content)) as file:
                file.write_at(0, content)
        checkout.make_folder("empty/deep")
        checkout.place()


def files(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return dict(read_folder(folder).files)


def test_a_file_is_written(tmp_path: Path) -> None:
    """A checkout of one file is that file and nothing else."""
    write_file(tmp_path / "model")
    assert files(tmp_path) == {"model": b"new"}


def test_a_folder_is_written(tmp_path: Path) -> None:
    """A checkout of a folder is its files and folders, and nothing beside it."""
    write_folder(tmp_path / "model")
    assert files(tmp_path / "model") == MODEL
    assert (tmp_path / "model/empty/deep").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(("executable", "expected"), [(False, 0o640), (True, 0o750)])
def test_modes_follow_the_umask(tmp_path: Path, *, executable: bool, expected: int) -> None:
    """A file is readable by whom the user's umask lets read, executable if it was."""
    before = os.umask(0o027)
    try:
        with Checkout(tmp_path / "run", folder=False) as checkout:
            checkout.create(executable=executable).finish()
            checkout.place()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == expected


def test_many_threads_write_one_file(tmp_path: Path) -> None:
    """Pieces written from several threads, in any order, make the whole."""
    content = os.urandom(1 << 20)
    piece = 1 << 12
    with Checkout(tmp_path / "model", folder=False) as checkout, ThreadPoolExecutor(4) as pool:
        with checkout.create(size=len(content)) as file:
            starts = range(len(content) - piece, -1, -piece)
            list(pool.map(lambda at: file.write_at(at, content[at : at + piece]), starts))
        checkout.place()
    assert (tmp_path / "model").read_bytes() == content


def test_what_is_not_written_is_zero(tmp_path: Path) -> None:
    """A file has its size from the start."""
    with Checkout(tmp_path / "model", folder=False) as checkout:
        with checkout.create(size=8) as file:
            file.write_at(2, b"xx")
        checkout.place()
    assert (tmp_path / "model").read_bytes() == b"\0\0xx\0\0\0\0"


def test_nothing_is_seen_before_it_is_placed(tmp_path: Path) -> None:
    """The destination does not exist until the last step."""
    with Checkout(tmp_path / "model", folder=True) as checkout:
        checkout.create("a", 1).finish()
        assert not (tmp_path / "model").exists()
        checkout.place()
    assert files(tmp_path) == {"model/a": b"\0"}


@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_nothing(tmp_path: Path, *, folder: bool) -> None:
    """An error of the caller while writing removes what was written."""
    with (
        pytest.raises(KeyboardInterrupt),
        Checkout(tmp_path / "model", folder=folder) as checkout,
        checkout.create("a/b" if folder else "", 100),
    ):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_are_not_placed(tmp_path: Path) -> None:
    """Placing while a file is open is refused."""
    with Checkout(tmp_path / "model", folder=True) as checkout:
        file = checkout.create("a", 1)
        with pytest.raises(InvalidInputError, match="not finished"):
            checkout.place()
        file.finish()
        file.finish()
        with pytest.raises(InvalidInputError, match="closed"):
            file.write_at(0, b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a//b", ".", "a/", "a\0b", ""])
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    """A path with empty, "." or ".." parts is refused."""
    with Checkout(tmp_path / "model", folder=True) as checkout:
        with pytest.raises(InvalidInputError):
            checkout.create(path, 0)
        with pytest.raises(InvalidInputError):
            checkout.make_folder(path)
    assert list(tmp_path.iterdir()) == []


def test_one_file_has_no_paths(tmp_path: Path) -> None:
    """A checkout of one file takes no second one."""
    with (
        Checkout(tmp_path / "model", folder=False) as checkout,
        pytest.raises(InvalidInputError),
    ):
        checkout.create("a", 0)


@pytest.mark.parametrize("folder", [False, True])
def test_no_file_is_written_twice(tmp_path: Path, *, folder: bool) -> None:
    """The second file of a name is refused."""
    with Checkout(tmp_path / "model", folder=folder) as checkout:
        name = "a" if folder else ""
        checkout.create(name, 0)
        with pytest.raises(ExistsError, match="twice"):
            checkout.create(name, 0)


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    """A folder that somebody replaces by a link while it is written leads nowhere."""
    (tmp_path / "outside").mkdir()
    with Checkout(tmp_path / "model", folder=True) as checkout:
        checkout.make_folder("weights")
        root = next(path for path in tmp_path.iterdir() if path.name.startswith("."))
        (root / "weights").rmdir()
        (root / "weights").symlink_to(tmp_path / "outside")
        with pytest.raises(MstoreError):
            checkout.create("weights/a", 1)
    assert list((tmp_path / "outside").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_a_link_in_the_way_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """A file is never written through a link."""
    (tmp_path / "secret").write_bytes(b"secret")
    with Checkout(tmp_path / "model", folder=True) as checkout:
        checkout.make_folder("weights")
        root = next(path for path in tmp_path.iterdir() if path.name.startswith("."))
        (root / "weights/a").symlink_to(tmp_path / "secret")
        with pytest.raises(ExistsError):
            checkout.create("weights/a", 1)
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.fixture(params=["file", "folder", "link", "dangling link"])
def occupied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A destination at which something stands; what a link leads to is still there at the end."""
    destination = tmp_path / "model"
    target = tmp_path / "elsewhere"
    if request.param == "file":
        destination.write_bytes(b"old")
    elif request.param == "folder":
        (destination / "sub").mkdir(parents=True)
        (destination / "sub/old").write_bytes(b"old")
        (destination / "sub/link").symlink_to(target)
    elif request.param == "link":
        target.mkdir()
        (target / "kept").write_bytes(b"kept")
        destination.symlink_to(target)
    else:
        destination.symlink_to(target)
    yield destination
    if request.param == "link":
        assert files(target) == {"kept": b"kept"}


def test_what_stands_there_is_kept(occupied: Path) -> None:
    """Without force the destination is refused before anything is written."""
    before = read_folder(occupied)
    for folder in (False, True):
        with pytest.raises(ExistsError, match="exists") as caught:
            Checkout(occupied, folder=folder)
        assert "--force" in str(caught.value.hint)
    assert read_folder(occupied) == before


@pytest.mark.parametrize("folder", [False, True])
def test_what_appears_meanwhile_is_kept(tmp_path: Path, *, folder: bool) -> None:
    """Something that appears at the destination while it is written is not replaced either."""
    with Checkout(tmp_path / "model", folder=folder) as checkout:
        checkout.create("a" if folder else "", 0).finish()
        (tmp_path / "model").mkdir()
        (tmp_path / "model/theirs").write_bytes(b"theirs")
        with pytest.raises(ExistsError):
            checkout.place()
    assert files(tmp_path) == {"model/theirs": b"theirs"}


def test_force_replaces_by_a_folder(occupied: Path) -> None:
    """With force a folder takes the place of whatever stood there."""
    write_folder(occupied, force=True)
    assert not occupied.is_symlink()
    assert files(occupied) == MODEL
    assert not [path for path in occupied.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EINVAL])
def test_force_works_without_exchange(occupied: Path, error: int) -> None:
    """The same where two names cannot be swapped in one step."""
    fs = FaultyFileSystem("exchange", 1, error)
    write_folder(occupied, force=True, fs=FaultyFileSystem("rename_new", 1, error, inner=fs))
    assert files(occupied) == MODEL
    assert not [path for path in occupied.parent.iterdir() if path.name.startswith(".")]


def test_a_failed_replacement_is_taken_back(tmp_path: Path) -> None:
    """When the new folder cannot take the place of the old one, the old one stands again."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old").write_bytes(b"old")
    swap = FaultyFileSystem("exchange", 1, errno.ENOSYS)
    new = FaultyFileSystem("rename_new", 1, errno.ENOSYS, inner=swap)
    # The first rename finds the old folder in its way, the second puts that aside.
    third = FaultyFileSystem("rename", 3, errno.EIO, inner=new)
    with pytest.raises(StorageError):
        write_folder(tmp_path / "model", force=True, fs=third)
    assert files(tmp_path) == {"model/old": b"old"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_force_replaces_a_file(tmp_path: Path, kind: str) -> None:
    """With force a file takes the place of a file or a link, not of what the link leads to."""
    destination = tmp_path / "model"
    if kind == "link":
        (tmp_path / "kept").write_bytes(b"kept")
        destination.symlink_to(tmp_path / "kept")
    else:
        destination.write_bytes(b"old")
    write_file(destination, force=True)
    assert destination.read_bytes() == b"new"
    assert not destination.is_symlink()
    assert kind == "file" or (tmp_path / "kept").read_bytes() == b"kept"


def test_force_replaces_no_folder_by_a_file(tmp_path: Path) -> None:
    """A folder does not give way to a file."""
    (tmp_path / "model").mkdir()
    with pytest.raises(ExistsError) as caught:
        write_file(tmp_path / "model", force=True)
    assert "remove it" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_folder_that_appears_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Nor does one that appears while the file is written."""
    with Checkout(tmp_path / "model", folder=False, force=True) as checkout:
        checkout.create().finish()
        (tmp_path / "model").mkdir()
        with pytest.raises(ExistsError):
            checkout.place()


def test_an_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    """A folder may take the place of an empty one, as git clone does it."""
    (tmp_path / "model").mkdir()
    write_folder(tmp_path / "model")
    assert files(tmp_path / "model") == MODEL


@pytest.mark.parametrize("name", [".", "..", "/", "a/.."])
def test_a_destination_needs_a_name(name: str) -> None:
    """A destination that is not a name of its own is refused."""
    with pytest.raises(InvalidInputError, match="not a name"):
        Checkout(Path(name), folder=True, force=True)


def test_the_folder_above_must_exist(tmp_path: Path) -> None:
    """Nothing is made above the destination."""
    with pytest.raises(NotFoundError):
        Checkout(tmp_path / "none/model", folder=True)


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
@pytest.mark.parametrize("primitive", sorted(CHANGES - {"open_lock", "write", "link"}))
def test_no_error_leaves_half_a_model(
    tmp_path: Path, primitive: str, error: int, *, force: bool, sticky: bool
) -> None:
    """Whatever call fails, the destination is as before or complete; success is complete."""
    old = {"old": b"old"} if force else {}
    for at in range(1, 100):
        folder = tmp_path / str(at)
        destination = folder / "model"
        (destination if force else folder).mkdir(parents=True)
        if force:
            (destination / "old").write_bytes(b"old")
        fs = FaultyFileSystem(primitive, at, error, sticky=sticky)
        done = is_written(destination, fs, force=force)
        found = files(destination)
        assert found == MODEL if done else found in (old, MODEL)
        if not fs.failed:
            assert done
            return
    pytest.fail(f"{primitive} is called without end")


def is_written(destination: Path, fs: FileSystem, *, force: bool) -> bool:
    """Whether ``write_folder`` says that it is done."""
    try:
        write_folder(destination, force=force, fs=fs)
    except StorageError:
        return False
    return True


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_removes_the_folder(tmp_path: Path, error: int) -> None:
    """An error on the bytes leaves nothing beside the destination."""
    # Folders are closed too, but no bytes are lost by that; a file is the first to be.
    for primitive, at in (("pwrite", 2), ("fsync", 2), ("allocate", 2), ("close", 1)):
        with pytest.raises(StorageError):
            write_folder(tmp_path / "model", fs=FaultyFileSystem(primitive, at, error))
        assert primitive == "close" or list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("primitive", sorted(CHANGES - {"open_lock", "write", "link"}))
def test_an_interrupted_call_is_repeated(tmp_path: Path, primitive: str) -> None:
    """A signal at any call goes unnoticed."""
    for at in range(1, 100):
        fs = FaultyFileSystem(primitive, at, errno.EINTR)
        write_folder(tmp_path / str(at), fs=fs)
        if not fs.failed:
            return


def test_short_writes_are_continued(tmp_path: Path) -> None:
    """A disk that takes few bytes at a time is as good as any other."""
    write_folder(tmp_path / "model", fs=ShortFileSystem(7))
    assert files(tmp_path / "model") == MODEL


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_no_power_cut_leaves_half_a_model(tmp_path: Path, *, force: bool) -> None:
    """After a power cut the destination is as before or complete, and stays so once told."""
    old = {"model/old": b"old"} if force else {}
    if force:
        (tmp_path / "model").mkdir()
        (tmp_path / "model/old").write_bytes(b"old")
    start = read_folder(tmp_path)
    fs = RecordingFileSystem(tmp_path)
    write_folder(tmp_path / "model", force=force, fs=fs)
    fs.mark("written")
    complete = {f"model/{path}": content for path, content in MODEL.items()}
    for state in crash_states(start, fs.operations):
        found = {path: state.files[path] for path in state.files if path.startswith("model")}
        assert found == complete or (found == old and not state.marks), state.story


@pytest.mark.parametrize(
    ("durable", "force", "synced"),
    [(True, False, True), (False, False, False), (False, True, True)],
)
def test_what_is_durable(tmp_path: Path, *, durable: bool, force: bool, synced: bool) -> None:
    """Files are synced when that is asked for, and whenever something may be replaced."""
    fs = RecordingFileSystem(tmp_path)
    checkout = Checkout(tmp_path / "model", folder=False, durable=durable, force=force, fs=fs)
    with checkout:
        with checkout.create(size=1) as file:
            file.write_at(0, b"x")
        checkout.place()
    assert any(call.name == "fsync" for call in fs.operations) is synced

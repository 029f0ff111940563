"""The primitives that are more than one line of the standard library."""

import errno
import os
from pathlib import Path

import pytest

from mstore.backends import fsio
from mstore.backends.fsio import PRIMITIVES, FileSystem


@pytest.fixture
def fs() -> FileSystem:
    """The file system of this machine."""
    return FileSystem()


def test_every_primitive_is_listed() -> None:
    """What a test may replace is all that touches the disk of a store."""
    methods = {name for name in vars(FileSystem) if not name.startswith("_")}
    assert set(PRIMITIVES) == methods - {"is_network", "make_scratch", "now", "token"}


def test_a_taken_name_is_not_renamed_over(fs: FileSystem, tmp_path: Path) -> None:
    """An exclusive rename refuses a name that is taken, and moves to one that is free."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        fs.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    fs.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["b", "c"]


def test_names_are_exchanged(fs: FileSystem, tmp_path: Path) -> None:
    """A file and a folder can change places in one step."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").mkdir()
    fs.exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").read_bytes() == b"a"


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_allocated_files_have_their_size(fs: FileSystem, tmp_path: Path, size: int) -> None:
    """Allocating gives the file its size, and its room on the disk."""
    fd = fs.open_new(str(tmp_path / "a"))
    fs.allocate(fd, size)
    state = fs.fstat(fd)
    fs.close(fd)
    assert state.st_size == size
    assert state.st_blocks * 512 >= size


def test_advice_that_cannot_be_taken_is_no_error(fs: FileSystem) -> None:
    """Starting the writeback of what is not a file on a disk does nothing."""
    here, there = os.pipe()
    fs.start_writeback(there, 0, 1)
    os.close(here)
    os.close(there)


def test_an_error_of_writeback_is_told(fs: FileSystem, tmp_path: Path) -> None:
    """What ails the descriptor itself is an error."""
    fd = fs.open_new(str(tmp_path / "a"))
    fs.close(fd)
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        fs.start_writeback(fd, 0, 1)
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        fs.allocate(fd, 1)


def test_without_a_function_of_the_c_library(
    fs: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the C library lacks a call, advice is dropped and renames say so."""
    monkeypatch.setattr(fsio, "_libc", lambda _: None)
    fd = fs.open_new(str(tmp_path / "a"))
    fs.allocate(fd, 5)
    fs.start_writeback(fd, 0, 5)
    assert fs.fstat(fd).st_size == 5
    fs.close(fd)
    with pytest.raises(OSError, match="not implemented") as caught:
        fs.rename_new(str(tmp_path / "a"), str(tmp_path / "b"))
    assert caught.value.errno == errno.ENOSYS


def test_a_folder_is_told_from_a_file_and_a_link(fs: FileSystem, tmp_path: Path) -> None:
    """A scan says what each name is, without following links."""
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    found = {item.name: (item.is_file, item.is_folder) for item in fs.scan(str(tmp_path))}
    assert found == {"file": (True, False), "folder": (False, True), "link": (False, False)}
    assert sorted(fs.list_names(str(tmp_path))) == sorted(found)


def test_tokens_differ(fs: FileSystem) -> None:
    """No two tokens are the same."""
    assert len({fs.token() for _ in range(1000)}) == 1000


def test_links_are_not_opened(fs: FileSystem, tmp_path: Path) -> None:
    """Neither a file nor a folder is opened through a link, unless that is asked for."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for open_it in (fs.open_read, fs.open_folder, fs.open_lock, fs.open_new):
        with pytest.raises(OSError, match=r"link|exists|directory"):
            open_it(str(tmp_path / "link"))
    fs.close(fs.open_folder(str(tmp_path / "link"), follow=True))

"""File systems of a test's own: small tmpfs, and ext4 in an image that can lose its power.

All of it needs root; ``why_no_mounts`` says what is missing. Whatever was mounted is unmounted.
"""

import ctypes
import fcntl
import functools
import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

MEMORY = Path("/dev/shm")  # noqa: S108 - folders are made in it by mkdtemp

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN of <linux/fs.h>: from now on nothing reaches the disk."""
KEEP_NAMES, LOSE_ALL = 1, 2
"""Its flags: the journal is written and unsynced bytes are lost, or everything unsynced is."""

_REMOUNT, _READ_ONLY, _DETACH = 32, 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: Path, kind: str, options: str = "", flags: int = 0) -> None:
    """Mount; OSError."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode())
    _check(_libc.mount(*words, flags, options.encode()), str(target))


def unmount(target: Path) -> None:
    """Unmount, after what this program still holds open was let go."""
    for _ in range(20):
        if _libc.umount2(os.fsencode(target), 0) == 0:
            return
        gc.collect()
        time.sleep(0.02)
    _check(_libc.umount2(os.fsencode(target), _DETACH), str(target))


class SmallDisk:
    """A tmpfs with room for ``size`` bytes and ``files`` files; a context manager."""

    def __init__(self, folder: Path, size: int, files: int = 0) -> None:
        self.folder = folder
        self._options = f"size={size}" + (f",nr_inodes={files}" if files else "")

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        mount("tmpfs", self.folder, "tmpfs", self._options)
        return self

    def resize(self, size: int, files: int = 0) -> None:
        """Give it another size."""
        options = f"size={size}" + (f",nr_inodes={files}" if files else "")
        mount("tmpfs", self.folder, "tmpfs", options, _REMOUNT)

    def make_read_only(self) -> None:
        """Take no more writes."""
        mount("tmpfs", self.folder, "tmpfs", self._options, _REMOUNT | _READ_ONLY)

    def __exit__(self, *_: object) -> None:
        unmount(self.folder)


class PowerlessDisk:
    """An ext4 in an image in memory, whose power can be cut; a context manager."""

    def __init__(self, megabytes: int = 32) -> None:
        self._stack = ExitStack()
        self._megabytes = megabytes
        self._root_fd = -1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            place = MEMORY if MEMORY.is_dir() else None
            folder = Path(tempfile.mkdtemp(prefix="mstore-power-", dir=place))
            stack.callback(shutil.rmtree, folder)
            image, self.folder = folder / "image", folder / "mounted"
            self.folder.mkdir()
            with image.open("wb") as file:
                file.truncate(self._megabytes << 20)
            whole = "lazy_itable_init=0,lazy_journal_init=0"
            _run("mkfs.ext4", "-q", "-E", whole, str(image))
            self._device = _run("losetup", "--find", "--show", str(image)).strip()
            stack.callback(_run, "losetup", "--detach", self._device)
            self._mount()
            stack.callback(self._unmount)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _mount(self) -> None:
        mount(self._device, self.folder, "ext4")
        self._root_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)

    def _unmount(self) -> None:
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1
            unmount(self.folder)

    def settle(self) -> None:
        """Make everything durable."""
        _check(_libc.syncfs(self._root_fd), str(self.folder))

    def cut(self, flag: int) -> None:
        """Cut the power: the kernel drops what is not durable."""
        fcntl.ioctl(self._root_fd, SHUTDOWN, flag.to_bytes(4, "little"))

    def start_again(self) -> None:
        """Mount what survived; the journal is replayed."""
        self._unmount()
        self._mount()


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@functools.cache
def why_no_mounts() -> str:
    """Why there can be no mounts here; empty when there can."""
    if os.geteuid() != 0:
        return "it takes root"
    try:
        with PowerlessDisk(4) as disk:
            disk.cut(LOSE_ALL)
            disk.start_again()
        with _tried_tmpfs():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"mounting failed: {error}"


@contextmanager
def _tried_tmpfs() -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="mstore-mounts-"))
    try:
        with SmallDisk(folder / "small", 1 << 16):
            yield
    finally:
        shutil.rmtree(folder)

"""Writing so that it lasts: what takes more than one primitive of ``FileSystem``.

All functions raise the plain OSError and repeat interrupted calls.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mstore.backends.failures import again
from mstore.backends.fsio import FileSystem
from mstore.ids import Buffer

Identity = tuple[int, int]
"""Device and inode: which file it is, whatever its names."""

WRITEBACK_STEP = 32 << 20
"""Bytes after which writeback is started, so that the last fsync is short.

Measured on ext4, 1 GiB in 4 MiB writes: 0.43 s without, 0.28 s with; 8, 32 and 64 MiB alike.
"""

WRITE_STEP = 512 << 10
"""Bytes of one write: Linux gives a larger one pages so large that it has to look for them.

Measured on ext4 and Linux 6.18, 1 GiB and its fsync: 0.9 s in writes of 4 MiB, 0.42 s in writes
of 64 KiB to 1 MiB.
"""

CANNOT_LINK = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
"""What ``link`` fails with where there are no hard links, or no further one."""


def _progress(written: int) -> int:
    """``written``; OSError when it is nothing, which would go on for ever."""
    if written == 0:
        raise OSError(errno.EIO, "nothing was written")
    return written


def write_all(fs: FileSystem, fd: int, content: Buffer) -> None:
    """Append all of ``content``."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[_progress(again(fs.write, fd, rest[:WRITE_STEP])) :]


def write_all_at(fs: FileSystem, fd: int, content: Buffer, offset: int) -> None:
    """Write all of ``content`` from ``offset``."""
    rest = memoryview(content).cast("B")
    while rest:
        written = _progress(again(fs.pwrite, fd, rest[:WRITE_STEP], offset))
        rest = rest[written:]
        offset += written


def read_full(fs: FileSystem, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
    """Fill ``buffer`` from ``offset``; gives how much there was before the end of the file."""
    rest = memoryview(buffer).cast("B")
    while rest:
        count = again(fs.pread_into, fd, rest, offset)
        if count == 0:
            break
        rest = rest[count:]
        offset += count
    return memoryview(buffer).nbytes - rest.nbytes


def read_bytes(fs: FileSystem, fd: int, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``, fewer at the end of the file, none for a negative size."""
    parts = []
    while size > 0 and (part := again(fs.pread, fd, size, offset)):
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def identity(state: os.stat_result) -> Identity:
    """Which file a state was taken of."""
    return state.st_dev, state.st_ino


def is_at(fs: FileSystem, path: str, file: Identity, *, dir_fd: int | None = None) -> bool:
    """Whether ``path`` is a name of ``file``."""
    try:
        return identity(again(fs.stat, path, dir_fd=dir_fd)) == file
    except (FileNotFoundError, NotADirectoryError):
        return False


def give_name(
    fs: FileSystem, source: str, target: str, file: Identity, *, dir_fd: int | None = None
) -> bool:
    """Give the file at ``source`` the name ``target``; False when that is taken.

    Afterwards ``source`` may or may not be a name of it still. A call that reports failure may
    have been done all the same (rename(2) BUGS, on NFS), so after one it looks again.
    """
    try:
        return _name_by(fs, fs.link, source, target, file=file, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
    return _name_by(fs, fs.rename_new, source, target, file=file, dir_fd=dir_fd)


def _name_by(
    fs: FileSystem,
    primitive: Callable[..., None],
    source: str,
    target: str,
    *,
    file: Identity,
    dir_fd: int | None,
) -> bool:
    try:
        again(primitive, source, target, dir_fd=dir_fd)
    except OSError as error:
        if is_at(fs, target, file, dir_fd=dir_fd):
            return True
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def move_name(fs: FileSystem, source: str, target: str, file: Identity) -> None:
    """Rename ``file`` from ``source`` to ``target``, replacing what is there."""
    try:
        again(fs.rename, source, target)
    except OSError:
        # As in ``give_name``: it may have been done all the same.
        if not is_at(fs, target, file):
            raise


def forget_name(fs: FileSystem, path: str, *, dir_fd: int | None = None) -> None:
    """Take away a name that nobody relies on; if that fails, it stays behind for gc."""
    with suppress(OSError):
        again(fs.unlink, path, dir_fd=dir_fd)


def close_file(fs: FileSystem, fd: int) -> None:
    """Close, and tell of an error; the descriptor is gone in any case."""
    # An interrupted close has closed: repeating it could hit a descriptor of another thread.
    with suppress(InterruptedError):
        fs.close(fd)


def abandon(fs: FileSystem, fd: int) -> None:
    """Close a file of which nothing is expected any more, or which was only read."""
    with suppress(OSError):
        fs.close(fd)


def sync_folder(fs: FileSystem, path: str) -> None:
    """Make the names in the folder durable."""
    fd = again(fs.open_folder, path, follow=True)
    try:
        sync_names(fs, fd)
    finally:
        abandon(fs, fd)


def sync_names(fs: FileSystem, folder_fd: int) -> None:
    """Make the names in an open folder durable."""
    try:
        again(fs.fsync, folder_fd)
    except OSError as error:
        # Some network file systems know no fsync of a folder: their servers make names durable.
        if error.errno != errno.EINVAL:
            raise


def make_folders(fs: FileSystem, path: str) -> None:
    """Make the folder and those above it, each durable before the next one is made."""
    above = str(Path(path).parent)
    try:
        made = _make_folder(fs, path)
    except FileNotFoundError:
        make_folders(fs, above)
        made = _make_folder(fs, path)
    try:
        sync_folder(fs, above)
    except PermissionError:
        # A folder that was there may lie in one that we may only pass through.
        if made:
            raise


def _make_folder(fs: FileSystem, path: str) -> bool:
    """Whether it was made; False when it was there."""
    try:
        again(fs.mkdir, path)
    except FileExistsError:
        return False
    return True

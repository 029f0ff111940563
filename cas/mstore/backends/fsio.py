"""The only door to the disk: every call of mstore that touches a file is made in this module.

A primitive of ``FileSystem`` is one system call: it may write less than it was given and raises
the plain ``OSError``. Looping, retrying and translating are the callers' work, so that a test
which replaces one primitive (see ``mstore.testing.filesystems``) sees every single call.

Paths are strings; ``dir_fd`` makes a path relative to an open folder, as in ``openat``.
"""

import errno
import fcntl
import functools
import mmap
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ctypes

    from mstore.ids import Buffer

_WRITE_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_LINUX = sys.platform == "linux"
_AT_FDCWD = -100 if _LINUX else -2
# renameat2(2) on Linux, renameatx_np(2) on macOS: the same arguments, other flags.
_RENAME_NEW = 1 if _LINUX else 4
_RENAME_EXCHANGE = 2
# Only SYNC_FILE_RANGE_WRITE: the waiting flags would swallow an error that fsync must report.
_START_WRITEBACK = 2

_ADVICE_REFUSED = {errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.ENOTSUP, errno.EOPNOTSUPP}

_STATFS_SIZE = 256
_NETWORK_TYPES = {
    0x6969,  # NFS
    0x517B,  # SMB
    0xFF534D42,  # CIFS
    0xFE534D42,  # SMB 2
    0x0BD00BD0,  # Lustre
    0x47504653,  # GPFS
    0x65735546,  # FUSE
    0x00C36400,  # Ceph
    0x19830326,  # BeeGFS
    0xAAD7AAEA,  # Panasas
    0x01021997,  # 9P
    0x5346414F,  # AFS
    0x786F4256,  # VirtualBox shared folders
    0x7461636F,  # OCFS2
    0x01161970,  # GFS2
}
"""Types of file systems, as statfs(2) numbers them, on which locks of files cannot be relied on."""

PRIMITIVES = (
    "open_new",
    "open_read",
    "open_lock",
    "open_folder",
    "close",
    "write",
    "pwrite",
    "pread",
    "pread_into",
    "allocate",
    "truncate",
    "start_writeback",
    "fsync",
    "link",
    "unlink",
    "rename",
    "rename_new",
    "exchange",
    "mkdir",
    "rmdir",
    "scan",
    "list_names",
    "stat",
    "fstat",
    "lock",
    "map",
    "free_bytes",
)
"""The names of all primitives, for the file systems of ``mstore.testing``."""


class Found(NamedTuple):
    """One name in a folder; ``size`` in bytes, ``modified`` in UTC seconds. Never follows links."""

    name: str
    is_file: bool
    is_folder: bool
    size: int
    modified: float


@functools.cache
def _libc(name: str) -> "ctypes._NamedFuncPointer | None":
    """The C library's function ``name``, or None where it has none."""
    import ctypes  # noqa: PLC0415 - costs 5 ms, which only a writer should pay

    return getattr(ctypes.CDLL(None, use_errno=True), name, None)


def _call_libc(name: str, *arguments: object) -> None:
    """Call ``name`` with the GIL released; OSError on failure, ENOSYS where it is not there."""
    import ctypes  # noqa: PLC0415 - as above

    function = _libc(name)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _rename_with(flag: int, source: str, target: str, dir_fd: int | None) -> None:
    folder = _AT_FDCWD if dir_fd is None else dir_fd
    name = "renameat2" if _LINUX else "renameatx_np"
    _call_libc(name, folder, os.fsencode(source), folder, os.fsencode(target), flag)


class FileSystem:
    """The file system of this machine, one system call per method."""

    def now(self) -> float:
        """UTC seconds of this machine's clock; never decides what is safe, only what is old."""
        return time.time()

    def token(self) -> str:
        """16 hex digits that nobody else has."""
        return os.urandom(8).hex()

    def make_scratch(self) -> str:
        """The path of a new folder that only this user may look into, where such folders are."""
        import tempfile  # noqa: PLC0415 - costs 3 ms, which hardly any command needs to pay

        return tempfile.mkdtemp(prefix="mstore-")

    def open_new(self, path: str, mode: int = 0o666, *, dir_fd: int | None = None) -> int:
        """A descriptor of a file that did not exist; ``mode`` is cut by the umask."""
        return os.open(path, _WRITE_NEW, mode, dir_fd=dir_fd)

    def open_read(self, path: str, *, dir_fd: int | None = None) -> int:
        """A descriptor for reading; ELOOP when ``path`` is a symbolic link."""
        return os.open(path, _READ, dir_fd=dir_fd)

    def open_lock(self, path: str) -> int:
        """A descriptor of a file that is made when missing, only ever used to lock it."""
        return os.open(path, _LOCK, 0o666)

    def open_folder(self, path: str, *, dir_fd: int | None = None, follow: bool = False) -> int:
        """A descriptor of a folder; unless ``follow``, a symbolic link to one is refused."""
        return os.open(path, _FOLDER | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        """Close; an error may be a write's that only now came to light (NFS)."""
        os.close(fd)

    def write(self, fd: int, content: "Buffer") -> int:
        """How many of the bytes were written at the descriptor's position. Releases the GIL."""
        return os.write(fd, content)

    def pwrite(self, fd: int, content: "Buffer", offset: int) -> int:
        """How many of the bytes were written at ``offset``. Releases the GIL."""
        return os.pwrite(fd, content, offset)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; empty at the end of the file."""
        return os.pread(fd, size, offset)

    def pread_into(self, fd: int, buffer: "bytearray | memoryview", offset: int) -> int:
        """How many bytes from ``offset`` came into ``buffer``; 0 at the end. Releases the GIL."""
        return os.preadv(fd, [buffer], offset)

    def allocate(self, fd: int, size: int) -> None:
        """Make the file ``size`` bytes long and reserve its room where the disk can do that."""
        try:
            # Not posix_fallocate: where it must, the C library emulates it by writing each block.
            if size:
                _call_libc("fallocate", fd, 0, *_offsets(0, size))
        except OSError as error:
            if error.errno not in _ADVICE_REFUSED:
                raise
        os.ftruncate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        """Make the file ``size`` bytes long."""
        os.ftruncate(fd, size)

    def start_writeback(self, fd: int, start: int, size: int) -> None:
        """Send bytes on their way to the disk without waiting; a no-op where that is unknown.

        It promises nothing: only ``fsync`` makes them durable, but then has less to wait for.
        """
        try:
            _call_libc("sync_file_range", fd, *_offsets(start, size), _START_WRITEBACK)
        except OSError as error:
            if error.errno not in _ADVICE_REFUSED:
                raise

    def fsync(self, fd: int) -> None:
        """Return when the file's bytes, or the folder's names, survive a power cut."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves the drive's cache unflushed
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def link(self, source: str, target: str, *, dir_fd: int | None = None) -> None:
        """Give a file one more name; EEXIST when the name is taken."""
        os.link(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        """Take a name away."""
        os.unlink(path, dir_fd=dir_fd)

    def rename(self, source: str, target: str, *, dir_fd: int | None = None) -> None:
        """Move a name; a file that stands at ``target`` is replaced in the same step."""
        os.rename(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def rename_new(self, source: str, target: str, *, dir_fd: int | None = None) -> None:
        """Move a name; EEXIST when the new one is taken, ENOSYS or EINVAL when unsupported."""
        _rename_with(_RENAME_NEW, source, target, dir_fd)

    def exchange(self, source: str, target: str, *, dir_fd: int | None = None) -> None:
        """Swap what two names stand for in one step; ENOSYS or EINVAL when unsupported."""
        _rename_with(_RENAME_EXCHANGE, source, target, dir_fd)

    def mkdir(self, path: str, *, dir_fd: int | None = None) -> None:
        """Make a folder; its mode is 0o777 cut by the umask."""
        os.mkdir(path, dir_fd=dir_fd)

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        """Take an empty folder away; ENOTEMPTY when it is not."""
        os.rmdir(path, dir_fd=dir_fd)

    def scan(self, place: str | int) -> list[Found]:
        """What is in the folder at a path or descriptor, in no order."""
        with os.scandir(place) as entries:
            return [found for entry in entries if (found := _found(entry)) is not None]

    def list_names(self, path: str) -> list[str]:
        """The names in the folder, in no order; a fifth of the cost of ``scan``."""
        return os.listdir(path)  # noqa: PTH208 - pathlib makes an object of each name  # noqa: PTH208  # names are wanted, not paths

    def stat(self, path: str, *, dir_fd: int | None = None) -> os.stat_result:
        """The state of what has this name, be it a link."""
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=False)

    def fstat(self, fd: int) -> os.stat_result:
        """The state of an open file."""
        return os.fstat(fd)

    def is_network(self, path: str) -> bool:
        """Whether the folder lies on a file system of another machine, or one in user space.

        Where the system does not tell, it is taken for local.
        """
        import ctypes  # noqa: PLC0415 - as above

        # statfs(2) fills 120 bytes on every 64-bit Linux; the type is the first word.
        state = ctypes.create_string_buffer(_STATFS_SIZE)
        try:
            if not _LINUX:
                return False
            _call_libc("statfs", os.fsencode(path), state)
        except OSError:
            return False
        word = int.from_bytes(state.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
        return word & 0xFFFFFFFF in _NETWORK_TYPES

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Lock the file for as long as it stays open, without waiting; False: another holds it."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def map(self, fd: int, size: int) -> mmap.mmap:
        """A private map of the file: writing to it copies the page and never reaches the file."""
        return mmap.mmap(fd, size, access=mmap.ACCESS_COPY)

    def free_bytes(self, path: str) -> int:
        """Bytes that this user can still write to the disk that a path is on."""
        state = os.statvfs(path)
        return state.f_bavail * state.f_frsize


def _found(entry: "os.DirEntry[str]") -> Found | None:
    """What the entry is, or None when it vanished meanwhile."""
    try:
        state = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    is_file = entry.is_file(follow_symlinks=False)
    is_folder = entry.is_dir(follow_symlinks=False)
    return Found(entry.name, is_file, is_folder, state.st_size, state.st_mtime)


def _offsets(start: int, size: int) -> "tuple[ctypes.c_int64, ctypes.c_int64]":
    """Two file offsets as the C library takes them."""
    import ctypes  # noqa: PLC0415 - as above

    return ctypes.c_int64(start), ctypes.c_int64(size)

"""What ``put`` is given, as files with names: paths on disk, or arrays in memory.

Nothing is followed or guessed: a symbolic link, a device, a name that could escape a folder or
two names that some file system cannot tell apart are refused before anything is stored.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from mstore.adapters import ArrayTensor
from mstore.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from mstore.format.names import MAX_FOLDER_DEPTH, MAX_NAMES, check_tree_names
from mstore.format.safetensors import build_header
from mstore.ids import ObjectId

_Found = Path | os.DirEntry[str]
"""A file or folder on disk. A listing of a folder gives its entries for less than a path each."""

_AT_ONCE = 64 << 10
"""Bytes of a file that is read in one go: it is asked for its first bytes, then for all."""

HINT_LINK = "store what it points to with --follow, or leave it out"


class Source(Protocol):
    """The bytes of one file while they are stored."""

    label: str
    size: int

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes from ``start``."""

    def finish(self) -> None:
        """Raise ConflictError when the bytes changed since they were first looked at."""


class Origin(Protocol):
    """Bytes that come from neither a path nor arrays, and are made when they are read."""

    def open(self) -> AbstractContextManager[Source]:
        """The bytes; may be read from several threads at once."""
        ...


class StoredFile(NamedTuple):
    """A file of a version that is there already: its id, and the name and id of each tensor.

    Whoever puts it keeps that version alive (SPEC §4.4, rule W2).
    """

    id: ObjectId
    tensors: tuple[tuple[str, bytes], ...] = ()


class NamedFile(NamedTuple):
    """One file to be stored: its path in the version, and how to open its bytes.

    A ``StoredFile`` is not read again.
    """

    parts: tuple[str, ...]
    size: int
    executable: bool
    origin: "str | ArrayFile | Origin | StoredFile"
    follow: bool = False

    def open(self) -> AbstractContextManager[Source]:
        """The bytes of this file, as a context manager."""
        if isinstance(self.origin, ArrayFile):
            return ArraySource(self.origin)
        if isinstance(self.origin, str):
            return FileSource(self.origin, follow=self.follow)
        assert not isinstance(self.origin, StoredFile)
        return self.origin.open()


class SourceTree(NamedTuple):
    """Everything that one ``put`` stores; ``folders`` also names the empty ones."""

    files: list[NamedFile]
    folders: list[tuple[str, ...]]
    single: bool
    name: str


class FileSource:
    """A regular file on disk, watched for changes between opening and ``finish``."""

    def __init__(self, path: str | Path, *, follow: bool = False) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        self.label = os.fspath(path)
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise _unreadable(self.label, error) from error
        self._before = os.fstat(self._fd)
        self.size = self._before.st_size
        self._content: memoryview | None = None
        if not stat.S_ISREG(self._before.st_mode):
            os.close(self._fd)
            raise InvalidInputError(f"'{path}' is not a regular file")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer``; ConflictError when the file has become shorter."""
        if self.size > _AT_ONCE or start + len(buffer) > self.size:
            self._read(start, buffer)
            return
        if self._content is None:
            content = memoryview(bytearray(self.size))
            self._read(0, content)
            self._content = content
        buffer[:] = self._content[start : start + len(buffer)]

    def _read(self, start: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._fd, [buffer[done:]], start + done)
            except OSError as error:
                raise _unreadable(self.label, error) from error
            if count == 0:
                raise self._changed()
            done += count

    def finish(self) -> None:
        """Raise ConflictError when the file changed while it was read."""
        now = os.fstat(self._fd)
        before = self._before
        if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
            before.st_size,
            before.st_mtime_ns,
            before.st_ctime_ns,
        ):
            raise self._changed()

    def _changed(self) -> ConflictError:
        return ConflictError(
            f"'{self.label}' changed while it was read",
            hint="nothing was stored; put it again when nobody writes to it",
        )


class ArrayFile(NamedTuple):
    """A safetensors file that exists only in memory: header and array bytes."""

    header: bytes
    contents: tuple[memoryview, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + sum(len(content) for content in self.contents)


class ArraySource:
    """The bytes of an ``ArrayFile``, read without joining them."""

    def __init__(self, file: ArrayFile) -> None:
        self.label = "arrays"
        self.size = file.size
        self._pieces: list[tuple[int, memoryview]] = []
        at = 0
        for piece in (memoryview(file.header), *file.contents):
            self._pieces.append((at, piece))
            at += len(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.clear()

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from the pieces that cover it."""
        stop = start + len(buffer)
        for at, piece in self._pieces:
            low, high = max(at, start), min(at + len(piece), stop)
            if low < high:
                buffer[low - start : high - start] = piece[low - at : high - at]

    def finish(self) -> None:
        """Arrays are the caller's: nothing to check."""


def scan_arrays(tensors: Sequence[ArrayTensor], name: str) -> SourceTree:
    """The safetensors file ``model.safetensors`` made of arrays, in the order of their names."""
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    header = build_header([(t.name, t.dtype, t.shape) for t in ordered], {})
    file = ArrayFile(header, tuple(tensor.content for tensor in ordered))
    named = NamedFile(("model.safetensors",), file.size, executable=False, origin=file)
    return SourceTree([named], [], single=True, name=name)


def scan_paths(paths: Sequence[Path], *, follow: bool = False) -> SourceTree:
    """What stands at some paths: one file, one folder, or several of both side by side."""
    if not paths:
        raise InvalidInputError("nothing to put", hint="name a file or a folder")
    if len(paths) == 1 and stat.S_ISDIR(_status(paths[0], follow=follow).st_mode):
        found = list(_scan_folder(paths[0], (), follow=follow))
        return _tree(found, single=False, name=paths[0].resolve().name)
    check_tree_names([path.name for path in paths])
    found = [entry for path in paths for entry in _scan(path, (path.name,), follow=follow)]
    name = paths[0].stem if len(paths) == 1 else paths[0].resolve().parent.name
    return _tree(found, single=len(paths) == 1, name=name)


def _tree(found: Iterable[NamedFile | tuple[str, ...]], *, single: bool, name: str) -> SourceTree:
    files: list[NamedFile] = []
    folders: list[tuple[str, ...]] = []
    for entry in found:
        if isinstance(entry, NamedFile):
            files.append(entry)
        else:
            folders.append(entry)
        if len(files) + len(folders) > MAX_NAMES:
            raise InvalidInputError(f"there are more than {MAX_NAMES} files and folders")
    return SourceTree(files, folders, single, name)


def _scan(
    path: _Found, parts: tuple[str, ...], *, follow: bool
) -> Iterator[NamedFile | tuple[str, ...]]:
    status = _status(path, follow=follow)
    if stat.S_ISDIR(status.st_mode):
        yield parts
        yield from _scan_folder(path, parts, follow=follow)
        return
    executable = bool(status.st_mode & stat.S_IXUSR)
    yield NamedFile(parts, status.st_size, executable, os.fspath(path), follow)


def _scan_folder(
    folder: _Found, parts: tuple[str, ...], *, follow: bool
) -> Iterator[NamedFile | tuple[str, ...]]:
    if len(parts) > MAX_FOLDER_DEPTH:
        raise InvalidInputError(
            f"folder '{os.fspath(folder)}' stands inside more than {MAX_FOLDER_DEPTH} others"
        )
    try:
        with os.scandir(folder) as listed:
            found = sorted(listed, key=attrgetter("name"))
    except OSError as error:
        raise _unreadable(folder, error) from error
    try:
        check_tree_names([entry.name for entry in found])
    except InvalidInputError as error:
        message = f"in folder '{os.fspath(folder)}': {error}"
        raise InvalidInputError(message, hint=error.hint) from error
    for entry in found:
        yield from _scan(entry, (*parts, entry.name), follow=follow)


def _status(path: _Found, *, follow: bool) -> os.stat_result:
    """What a file or folder is; InvalidInputError for anything else."""
    try:
        status = path.stat(follow_symlinks=follow)
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
        return status
    if stat.S_ISLNK(status.st_mode):
        raise InvalidInputError(f"'{os.fspath(path)}' is a symbolic link", hint=HINT_LINK)
    raise InvalidInputError(
        f"'{os.fspath(path)}' is neither a file nor a folder", hint="leave it out"
    )


def _unreadable(
    found: str | _Found, error: OSError
) -> NotFoundError | InvalidInputError | StorageError:
    path = os.fspath(found)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFoundError(f"no file or folder '{path}'", hint="look at the path")
    if isinstance(error, PermissionError):
        return InvalidInputError(
            f"'{path}' may not be read: {error.strerror}", hint="look at its permissions"
        )
    if error.errno == errno.ELOOP:
        return InvalidInputError(f"'{path}' is a symbolic link", hint=HINT_LINK)
    return StorageError(f"'{path}' cannot be read: {error.strerror}")

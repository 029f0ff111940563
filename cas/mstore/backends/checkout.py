"""Writing files outside the store, for ``get``: whole or not at all, and never astray.

1. What is written grows under a name of its own beside the destination and moves to it in one
   step, when all of it is there; with ``durable``, on the disk. A failure takes it away again.
2. Below the destination's folder no symbolic link is followed: every step is taken from an
   open folder, and every file is one that did not exist.
3. Nothing that stands at the destination is lost without ``force``.
"""

import errno
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from mstore.backends.durable import (
    WRITEBACK_STEP,
    abandon,
    close_file,
    forget_name,
    give_name,
    identity,
    sync_names,
    write_all_at,
)
from mstore.backends.failures import again, reported
from mstore.backends.fsio import FileSystem
from mstore.errors import ExistsError, InvalidInputError, NotFoundError
from mstore.ids import Buffer

_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_OCCUPIED = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}


class OutputFile:
    """A file being written; a context manager that finishes it unless there was an error."""

    def __init__(self, fs: FileSystem, fd: int, subject: str, *, durable: bool) -> None:
        self._fs = fs
        self._durable = durable
        self._fd: int | None = fd
        self._subject = subject
        self._unsent = 0
        self.is_finished = False

    def write_at(self, offset: int, content: Buffer) -> None:
        """Write at ``offset``. May be called from many threads at once; releases the GIL."""
        if self._fd is None:
            message = f"'{self._subject}' takes no more bytes: it is closed"
            raise InvalidInputError(message)
        with reported("write", self._subject):
            write_all_at(self._fs, self._fd, content, offset)
            # Threads may lose a count here: then writeback starts a little later, no more.
            self._unsent += memoryview(content).nbytes
            if self._durable and self._unsent >= WRITEBACK_STEP:
                self._unsent = 0
                again(self._fs.start_writeback, self._fd, 0, 0)

    def finish(self) -> None:
        """Close the file, its bytes durable if that was asked for."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        with reported("write", self._subject):
            try:
                if self._durable:
                    again(self._fs.fsync, fd)
            except OSError:
                abandon(self._fs, fd)
                raise
            close_file(self._fs, fd)
            self.is_finished = True

    def abandon(self) -> None:
        """Close the file, whatever is in it."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            abandon(self._fs, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


class Checkout:
    """One file, or one folder, on its way to ``destination``.

    A context manager that removes what was not put in place::

        with Checkout(destination, folder=True) as checkout:
            with checkout.create("weights/a.safetensors", size) as file:
                file.write_at(0, content)
            checkout.place()

    ExistsError when something stands at the destination, unless ``force``; an empty folder may
    be replaced by a folder, and ``force`` replaces a file by a file and anything by a folder.
    What is not ``durable`` may be lost in a power cut, as after ``cp``; replacing always is.
    NotFoundError when the destination's own folder does not exist.
    """

    def __init__(
        self,
        destination: Path,
        *,
        folder: bool,
        force: bool = False,
        durable: bool = True,
        fs: FileSystem | None = None,
    ) -> None:
        self._fs = fs or FileSystem()
        self._durable = durable or force
        self._name = _check_destination(destination)
        self._subject = str(destination)
        self._is_folder = folder
        self._force = force
        self._temporary = f".mstore-{self._fs.token()}.tmp"
        self._root_fd: int | None = None
        self._folders: set[tuple[str, ...]] = {()}
        self._open: tuple[tuple[str, ...], int] | None = None
        self._files: list[OutputFile] = []
        self._placed = False
        parent = str(destination.parent)
        with reported("open", parent):
            self._parent_fd = again(self._fs.open_folder, parent, follow=True)
        try:
            self._begin()
        except BaseException:
            self.discard()
            raise

    def _begin(self) -> None:
        self._check_free()
        if self._is_folder:
            with reported("make", self._subject):
                self._make(self._temporary, self._parent_fd)
                self._root_fd = self._step(self._temporary, self._parent_fd)

    def _check_free(self) -> None:
        """Refuse early what ``place`` would refuse late."""
        try:
            with reported("look at", self._subject):
                state = self._fs.stat(self._name, dir_fd=self._parent_fd)
        except NotFoundError:
            return
        is_folder = stat.S_ISDIR(state.st_mode)
        if self._force and (self._is_folder or not is_folder):
            return
        if not (is_folder and self._is_folder and self._is_empty()):
            raise self._occupied()

    def _is_empty(self) -> bool:
        with reported("look at", self._subject):
            fd = self._step(self._name, self._parent_fd)
            try:
                return not self._fs.scan(fd)
            finally:
                abandon(self._fs, fd)

    def _occupied(self) -> ExistsError:
        hint = "choose another destination, or replace it with --force"
        if self._force:
            hint = "it is a folder: remove it, or choose another destination"
        return ExistsError(f"'{self._subject}' exists", hint=hint)

    @property
    def growing(self) -> Path:
        """Where the folder grows until ``place``, for a program that writes into it by itself.

        What such a program writes is as durable as it makes it.
        """
        return Path(self._subject).parent / self._temporary

    def make_folder(self, path: str) -> None:
        """Make the folder ``path`` and those above it, below the destination."""
        with reported("make", path):
            self._folder(_parts(path))

    def create(self, path: str = "", size: int = 0, *, executable: bool = False) -> OutputFile:
        """A new file of ``size`` bytes at ``path`` below the destination, its folders made.

        The destination itself is ``""``, for a checkout of one file. InvalidInputError for a path
        with empty, "." or ".." parts; ExistsError when it was created before.
        """
        if self._is_folder == (not path):
            message = f"'{path}' is not a file of the checkout '{self._subject}'"
            raise InvalidInputError(message)
        subject = f"{self._subject}/{path}" if path else self._subject
        with reported("write", subject):
            try:
                fd = self._open_new(path, 0o777 if executable else 0o666)
            except FileExistsError as error:
                raise ExistsError(f"'{subject}' is written twice") from error
            file = OutputFile(self._fs, fd, subject, durable=self._durable)
            self._files.append(file)
            again(self._fs.allocate, fd, size)
        return file

    def _open_new(self, path: str, mode: int) -> int:
        if not self._is_folder:
            return again(self._fs.open_new, self._temporary, mode, dir_fd=self._parent_fd)
        *above, name = _parts(path)
        return again(self._fs.open_new, name, mode, dir_fd=self._folder(above))

    def _folder(self, parts: Sequence[str]) -> int:
        """A descriptor of the folder at ``parts`` below the root, made where it is missing.

        It is open until another one is asked for: files come folder by folder.
        """
        wanted = tuple(parts)
        if self._open is None or self._open[0] != wanted:
            self._close_folder()
            self._open = wanted, self._walk_to(wanted)
        return self._open[1]

    def _walk_to(self, parts: tuple[str, ...]) -> int:
        assert self._root_fd is not None
        fd = self._step(".", self._root_fd)
        try:
            for depth, part in enumerate(parts, 1):
                if parts[:depth] not in self._folders:
                    self._make(part, fd)
                    self._folders.add(parts[:depth])
                above, fd = fd, self._step(part, fd)
                abandon(self._fs, above)
        except BaseException:
            abandon(self._fs, fd)
            raise
        return fd

    def _close_folder(self) -> None:
        if self._open is not None:
            (_, fd), self._open = self._open, None
            abandon(self._fs, fd)

    def _make(self, name: str, dir_fd: int) -> None:
        with suppress(FileExistsError):
            again(self._fs.mkdir, name, dir_fd=dir_fd)

    def _step(self, name: str, dir_fd: int) -> int:
        return again(self._fs.open_folder, name, dir_fd=dir_fd)

    def place(self) -> None:
        """Put what was written at the destination in one step, with ``durable`` durable on return.

        InvalidInputError while a file is not finished.
        """
        if not all(file.is_finished for file in self._files):
            message = f"a file of '{self._subject}' is not finished"
            raise InvalidInputError(message)
        with reported("write", self._subject):
            if self._is_folder:
                self._sync_folders()
                self._place_folder()
            else:
                self._place_file()
            self._placed = True
            if self._durable:
                sync_names(self._fs, self._parent_fd)

    def _sync_folders(self) -> None:
        if not self._durable:
            return
        for parts in sorted(self._folders, key=len, reverse=True):
            sync_names(self._fs, self._folder(parts))

    def _place_file(self) -> None:
        fs, here, there = self._fs, self._temporary, self._name
        if self._force:
            try:
                again(fs.rename, here, there, dir_fd=self._parent_fd)
            except IsADirectoryError as error:
                raise self._occupied() from error
            return
        file = identity(again(fs.stat, here, dir_fd=self._parent_fd))
        if not give_name(fs, here, there, file, dir_fd=self._parent_fd):
            raise self._occupied()
        forget_name(fs, here, dir_fd=self._parent_fd)

    def _place_folder(self) -> None:
        try:
            self._rename_folder()
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            if not self._force:
                raise self._occupied() from error
            self._replace_by_folder()

    def _rename_folder(self) -> None:
        """Rename; fails on anything at the destination but an empty folder."""
        fs, here, there = self._fs, self._temporary, self._name
        try:
            again(fs.rename_new, here, there, dir_fd=self._parent_fd)
        except OSError as error:
            if error.errno not in {*_UNSUPPORTED, errno.EEXIST}:
                raise
            # Of a folder, rename(2) itself refuses every target but an empty folder.
            again(fs.rename, here, there, dir_fd=self._parent_fd)

    def _replace_by_folder(self) -> None:
        """Swap with what stands at the destination, then remove that."""
        fs, here, there = self._fs, self._temporary, self._name
        old = here
        try:
            again(fs.exchange, here, there, dir_fd=self._parent_fd)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            old = f".mstore-{fs.token()}.old"
            again(fs.rename, there, old, dir_fd=self._parent_fd)
            self._rename_or_put_back(old)
        self._placed = True
        # A power cut must find the old folder whole for as long as it may find it in its place.
        sync_names(fs, self._parent_fd)
        remove_tree(fs, old, dir_fd=self._parent_fd)

    def _rename_or_put_back(self, old: str) -> None:
        try:
            again(self._fs.rename, self._temporary, self._name, dir_fd=self._parent_fd)
        except OSError:
            again(self._fs.rename, old, self._name, dir_fd=self._parent_fd)
            raise

    def discard(self) -> None:
        """Remove what was not put in place, and close everything."""
        for file in self._files:
            file.abandon()
        self._close_folder()
        if self._root_fd is not None:
            fd, self._root_fd = self._root_fd, None
            abandon(self._fs, fd)
        if self._parent_fd >= 0:
            if not self._placed:
                with suppress(OSError):
                    remove_tree(self._fs, self._temporary, dir_fd=self._parent_fd)
            fd, self._parent_fd = self._parent_fd, -1
            abandon(self._fs, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def remove_tree(fs: FileSystem, name: str, *, dir_fd: int) -> None:
    """Remove a file, or a folder with all that is in it; follows no symbolic link."""
    try:
        again(fs.unlink, name, dir_fd=dir_fd)
    except (IsADirectoryError, PermissionError):
        _remove_folder(fs, name, dir_fd=dir_fd)


def _remove_folder(fs: FileSystem, name: str, *, dir_fd: int) -> None:
    fd = again(fs.open_folder, name, dir_fd=dir_fd)
    try:
        for found in again(fs.scan, fd):
            remove_tree(fs, found.name, dir_fd=fd)
    finally:
        abandon(fs, fd)
    again(fs.rmdir, name, dir_fd=dir_fd)


def _parts(path: str) -> list[str]:
    """The parts of a path below the destination; InvalidInputError when it could lead out."""
    parts = path.split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        message = f"'{path}' is not a path inside a folder"
        raise InvalidInputError(message, hint="it must have no empty, '.' or '..' parts")
    return parts


def _check_destination(destination: Path) -> str:
    """The destination's own name; InvalidInputError when it has none."""
    if destination.name in {"", "..", "."} or "\0" in str(destination):
        message = f"'{destination}' is not a name for a new file or folder"
        raise InvalidInputError(message, hint="name one that does not exist yet")
    return destination.name

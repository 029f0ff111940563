"""Drafts of a local store: bytes in ``tmp/`` until they are durable and get their name.

The order is write, fsync, close, link, unlink; the folder is synced by the caller, once per
transaction (SPEC §4.4). Nothing gets a name before ``close`` returned without an error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from mstore.backends.base import parent_key
from mstore.backends.durable import (
    WRITEBACK_STEP,
    Identity,
    abandon,
    close_file,
    forget_name,
    give_name,
    identity,
    write_all,
)
from mstore.backends.failures import again, reported
from mstore.backends.place import Place
from mstore.errors import ConflictError, ExistsError, MstoreError, NotFoundError, StorageError
from mstore.ids import Buffer

_GATHER = 1 << 20
"""Writes are gathered up to this size; a larger one goes to the file as it is."""


class LocalDraft:
    """A file in ``tmp/``; see ``base.Draft``."""

    def __init__(self, place: Place) -> None:
        place.check_trust()
        self._place = place
        self._fs = place.fs
        self._path, fd = place.open_temporary()
        self._fd: int | None = fd
        self._file: Identity | None = None
        self._has_name = True
        self._gathered = bytearray()
        self._size = 0
        self._written = 0
        self._sent = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, content: Buffer) -> None:
        """Append; see ``base.Draft``."""
        size = len(content) if isinstance(content, bytes) else memoryview(content).nbytes
        if len(self._gathered) + size <= _GATHER:
            # Most writes are small and come here, where nothing can fail: nothing is prepared for.
            self._gathered += content
        else:
            self._write_through(memoryview(content).cast("B"))
        self._size += size

    def _write_through(self, view: memoryview) -> None:
        with self._discarding(), reported("write", self._path):
            self._flush()
            if view.nbytes > _GATHER:
                self._append(view)
            else:
                self._gathered += view

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        self._append(gathered)

    def _append(self, content: Buffer) -> None:
        fd = self._open_fd()
        write_all(self._fs, fd, content)
        self._written += len(content)
        pending = self._written - self._sent
        if pending >= WRITEBACK_STEP:
            again(self._fs.start_writeback, fd, self._sent, pending)
            self._sent = self._written

    def _open_fd(self) -> int:
        if self._fd is None:
            message = f"the draft '{self._path}' takes no more bytes: it is published or discarded"
            raise StorageError(message)
        return self._fd

    def publish(self, key: str) -> bool:
        """Seal the file and link it to ``key``; see ``base.Draft``."""
        target = self._place.path(key)
        with self._discarding():
            self._place.check_trust()
            self._file = self._file or self._seal()
            with reported("publish", key):
                named = self._name(key, target, self._file)
        if named:
            self._forget()
            return True
        # The file that had the name may be gone by now, condemned by a gc: then the name is free.
        return False if self._is_twin(key, target) else self.publish(key)

    def _seal(self) -> Identity:
        """Make the bytes durable and close the file; after an error they count as unwritten."""
        fd = self._open_fd()
        with reported("write", self._path):
            self._flush()
            file = identity(again(self._fs.fstat, fd))
        with self._place.durable(self._path):
            again(self._fs.fsync, fd)
            self._fd = None
            close_file(self._fs, fd)
        return file

    def _name(self, key: str, target: str, file: Identity) -> bool:
        try:
            return give_name(self._fs, self._path, target, file)
        except FileNotFoundError:
            self._place.make_prefix(parent_key(key))
        try:
            return give_name(self._fs, self._path, target, file)
        except FileNotFoundError as error:
            message = f"the draft of '{key}' was cleared away while it was written"
            raise ConflictError(message, hint="run the same again") from error

    def _is_twin(self, key: str, target: str) -> bool:
        """Whether what has the name is as long as this; False when nothing has it any more."""
        try:
            with reported("look at", key):
                found = again(self._fs.stat, target).st_size
        except NotFoundError:
            return False
        if found != self._size:
            message = f"'{key}' is there already with {found} bytes, not {self._size}"
            raise ExistsError(message, hint="run 'mstore fsck --full'")
        return True

    def discard(self) -> None:
        """Close and remove the file."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            abandon(self._fs, fd)
        self._forget()

    def _forget(self) -> None:
        if self._has_name:
            forget_name(self._fs, self._path)
            self._has_name = False

    @contextmanager
    def _discarding(self) -> Iterator[None]:
        """A block after whose failure nothing of the draft is left."""
        try:
            yield
        except MstoreError:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

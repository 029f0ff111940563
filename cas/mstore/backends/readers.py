"""Open files kept for the next read: opening a pack costs as much as reading 64 KiB of it."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from mstore.backends.durable import abandon
from mstore.backends.fsio import FileSystem


class _OpenFile(Struct):
    """``kept`` is false once it left the cache: its last reader closes it."""

    fd: int
    readers: int = 0
    kept: bool = True


class OpenFiles:
    """The descriptors used last, by key; safe for threads.

    A file stays readable here when it is moved or removed by others. A descriptor is never
    closed under a reader: its number could be another file's a moment later.
    """

    def __init__(self, fs: FileSystem, open_key: Callable[[str], int], limit: int = 64) -> None:
        self._fs = fs
        self._open_key = open_key
        self._limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        weakref.finalize(self, _close_all, fs, self._files)

    @contextmanager
    def borrow(self, key: str) -> Iterator[int]:
        """A descriptor for the block."""
        file = self._take(key)
        try:
            yield file.fd
        finally:
            with self._lock:
                file.readers -= 1
                self._close_if_done(file)

    def _take(self, key: str) -> _OpenFile:
        with self._lock:
            file = self._files.get(key)
            if file is None:
                file = self._files[key] = _OpenFile(self._open_key(key))
            self._files.move_to_end(key)
            file.readers += 1
            if len(self._files) > self._limit:
                self._let_go(next(iter(self._files)))
            return file

    def forget(self, key: str) -> None:
        """Open the file anew next time."""
        with self._lock:
            if key in self._files:
                self._let_go(key)

    def _let_go(self, key: str) -> None:
        file = self._files.pop(key)
        file.kept = False
        self._close_if_done(file)

    def _close_if_done(self, file: _OpenFile) -> None:
        if not file.kept and file.readers == 0:
            abandon(self._fs, file.fd)


def _close_all(fs: FileSystem, files: OrderedDict[str, _OpenFile]) -> None:
    while files:
        abandon(fs, files.popitem()[1].fd)

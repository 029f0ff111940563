"""The folder of a store, reached through a FileSystem, and whether its disk can be trusted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mstore.backends.base import FOLDERS, check_key, parent_key
from mstore.backends.durable import abandon, forget_name, make_folders, sync_folder
from mstore.backends.failures import again, failure, reported
from mstore.backends.fsio import FileSystem
from mstore.errors import StorageError


class Place:
    """Where keys become paths. Shared by a backend and all its drafts and leases."""

    def __init__(self, root: Path, fs: FileSystem) -> None:
        self.root = str(root.absolute())
        self.fs = fs
        self._suspect = False

    def path(self, key: str) -> str:
        """The path of a key; InvalidInputError for what is not a key."""
        return f"{self.root}/{check_key(key)}"

    def folder(self, prefix: str) -> str:
        """The path of a prefix; the empty prefix is the store itself."""
        return self.path(prefix) if prefix else self.root

    def open_read(self, key: str) -> int:
        """A descriptor of the file at ``key``."""
        return again(self.fs.open_read, self.path(key))

    def check_trust(self) -> None:
        """StorageError when an fsync or close failed earlier.

        The kernel may have dropped the bytes and report success from then on, so whatever this
        program acknowledged now might not be on the disk.
        """
        if self._suspect:
            message = f"nothing is written to '{self.root}' any more: an earlier fsync failed"
            hint = "check the disk, start again, and run 'mstore fsck --full'"
            raise StorageError(message, hint=hint)

    @contextmanager
    def durable(self, subject: str) -> Iterator[None]:
        """A block of fsync and close: the first failure makes the place suspect."""
        try:
            yield
        except OSError as error:
            self._suspect = True
            raise failure(error, "make durable", subject) from error

    def sync(self, prefixes: Iterable[str]) -> None:
        """Make the names under the prefixes durable, and the prefixes themselves."""
        self.check_trust()
        steps = [step for prefix in prefixes for step in _upwards(prefix)]
        for prefix in dict.fromkeys(steps):
            # A prefix that is not there has no names to keep; its absence is synced one level up.
            with self.durable(prefix or self.root), suppress(FileNotFoundError):
                sync_folder(self.fs, self.folder(prefix))

    def make_prefix(self, prefix: str) -> None:
        """Make the folder of a prefix, and those above it."""
        with reported("make", prefix):
            make_folders(self.fs, self.folder(prefix))

    def open_temporary(self) -> tuple[str, int]:
        """The path and descriptor of a new, empty file in ``tmp/``."""
        with reported("write", "tmp"):
            try:
                return again(self._new_temporary)
            except FileNotFoundError:
                self.make_prefix("tmp")
                return again(self._new_temporary)

    def _new_temporary(self) -> tuple[str, int]:
        # Another name each time: an interrupted call may have made its file all the same.
        path = self.path(f"tmp/{self.fs.token()}")
        return path, self.fs.open_new(path)

    def now(self) -> float:
        """UTC seconds by the clock of the machine that has the disk, if that can be asked."""
        try:
            path, fd = again(self._new_temporary)
        except OSError:
            return self.fs.now()
        try:
            with reported("look at", path):
                return again(self.fs.fstat, fd).st_mtime
        finally:
            forget_name(self.fs, path)
            abandon(self.fs, fd)


def _upwards(prefix: str) -> Iterator[str]:
    """``prefix`` and those above it, up to one that ``prepare`` made."""
    yield prefix
    while prefix and prefix not in FOLDERS:
        prefix = parent_key(prefix)
        yield prefix

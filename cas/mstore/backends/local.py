"""A store in a folder of this machine, or of a network file system mounted here (SPEC §3).

Safe with any number of programs at once, kill -9 and power cuts at any moment; see
``mstore.backends.base`` for what is promised, ``drafts`` and ``leases`` for the two protocols.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mstore.backends.base import FOLDERS, Draft, Item, Lease, LeaseState, check_key, parent_key
from mstore.backends.drafts import LocalDraft
from mstore.backends.durable import (
    CANNOT_LINK,
    abandon,
    forget_name,
    identity,
    is_at,
    move_name,
    read_bytes,
    read_full,
    write_all,
)
from mstore.backends.failures import again, reported
from mstore.backends.fsio import FileSystem, Found
from mstore.backends.leases import LocalLease, lease_key, lease_states
from mstore.backends.place import Place
from mstore.backends.readers import OpenFiles
from mstore.errors import ConflictError, CorruptError, ExistsError, InvalidInputError, NotFoundError
from mstore.ids import Buffer


class LocalBackend:
    """A backend in the folder ``root``. Opening it touches nothing; reading writes nothing."""

    def __init__(self, root: Path, fs: FileSystem | None = None) -> None:
        self._fs = fs or FileSystem()
        self._place = Place(root, self._fs)
        self._open_files = OpenFiles(self._fs, self._place.open_read)

    @property
    def location(self) -> str:
        """The folder."""
        return self._place.root

    def prepare(self) -> None:
        """Make the folders, each durable before the next."""
        for prefix in ("", *FOLDERS):
            self._place.make_prefix(prefix)

    def list(self, prefix: str) -> Iterator[Item]:
        """The files directly under ``prefix``, by name."""
        start = f"{prefix}/" if prefix else ""
        for found in sorted(self._scan(prefix)):
            if found.is_file:
                yield Item(start + found.name, found.size, found.modified)

    def names(self, prefix: str) -> Sequence[str]:
        """The names in the folder, in no order."""
        try:
            with reported("list", prefix):
                return again(self._fs.list_names, self._place.folder(prefix))
        except NotFoundError:
            return ()

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        """The folders directly under ``prefix`` that hold something, by name."""
        start = f"{prefix}/" if prefix else ""
        for found in sorted(self._scan(prefix)):
            if found.is_folder and self.names(start + found.name):
                yield start + found.name

    def _scan(self, prefix: str) -> Sequence[Found]:
        try:
            with reported("list", prefix):
                return again(self._fs.scan, self._place.folder(prefix))
        except NotFoundError:
            return []

    def size(self, key: str) -> int:
        """Bytes of ``key``; NotFoundError."""
        with reported("look at", key):
            return again(self._fs.stat, self._place.path(key)).st_size

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes ``[start, stop)``; NotFoundError."""
        with reported("read", key), self._borrow(key) as fd:
            end = again(self._fs.fstat, fd).st_size
            wanted = min(end, end if stop is None else stop) - start
            return read_bytes(self._fs, fd, start, wanted)

    def read_into(self, key: str, start: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` from ``start``; CorruptError when the file ends before."""
        with reported("read", key), self._borrow(key) as fd:
            count = read_full(self._fs, fd, buffer, start)
        wanted = memoryview(buffer).nbytes
        if count < wanted:
            message = f"'{key}' ends at {start + count}, not at {start + wanted} or later"
            raise CorruptError(message, hint="run 'mstore fsck --full'")

    def map(self, key: str) -> memoryview:
        """The whole file as a private map."""
        with reported("map", key), self._borrow(key) as fd:
            size = again(self._fs.fstat, fd).st_size
            # The system refuses to map nothing.
            return memoryview(again(self._fs.map, fd, size) if size else bytearray())

    @contextmanager
    def _borrow(self, key: str) -> Iterator[int]:
        """A descriptor of ``key``; kept open afterwards if it is a pack."""
        if check_key(key).startswith(("objects/", "condemned/")):
            with self._open_files.borrow(key) as fd:
                yield fd
            return
        fd = self._place.open_read(key)
        try:
            yield fd
        finally:
            abandon(self._fs, fd)

    def free_bytes(self) -> int | None:
        """What the disk has free for this user; None where it cannot be asked."""
        try:
            return again(self._fs.free_bytes, self.location)
        except OSError:
            return None

    def draft(self) -> Draft:
        """A new file in ``tmp/``."""
        return LocalDraft(self._place)

    def create(self, key: str, content: Buffer) -> bool:
        """Write a small file unless it exists, durable on return either way."""
        with self.draft() as draft:
            draft.write(content)
            try:
                created = draft.publish(key)
            except ExistsError:
                created = False
        self.sync(parent_key(key))
        return created

    def replace_cache(self, key: str, content: Buffer) -> None:
        """Write under ``cache/`` and rename into place, without any fsync."""
        if not check_key(key).startswith("cache/"):
            message = f"'{key}' cannot be replaced: it is not under 'cache/'"
            raise InvalidInputError(message)
        path, fd = self._place.open_temporary()
        try:
            with reported("write", key):
                file = identity(again(self._fs.fstat, fd))
                write_all(self._fs, fd, content)
                self._name(lambda there: move_name(self._fs, path, there, file), path, key)
        except BaseException:
            forget_name(self._fs, path)
            raise
        finally:
            abandon(self._fs, fd)

    def sync(self, *prefixes: str) -> None:
        """Sync the folders and those above them that ``prepare`` did not make."""
        self._place.sync(prefixes)

    def move(self, source: str, target: str) -> bool:
        """Rename; False when ``source`` is gone."""
        self._open_files.forget(source)
        self._open_files.forget(target)
        check_key(target)
        path = self._place.path(source)
        with reported("move", source):
            try:
                file = identity(again(self._fs.stat, path))
                self._name(lambda there: move_name(self._fs, path, there, file), path, target)
            except FileNotFoundError:
                return False
            # Between two names of one file, rename(2) does nothing at all.
            if is_at(self._fs, path, file):
                again(self._fs.unlink, path)
        self._tidy(source)
        return True

    def share(self, source: str, target: str) -> bool:
        """Link; False when ``source`` is gone or the file system has no links."""
        check_key(target)
        path = self._place.path(source)
        with reported("share", source):
            try:
                self._name(lambda there: again(self._fs.link, path, there), path, target)
            except FileExistsError:
                return True
            except (FileNotFoundError, PermissionError):
                return False
            except OSError as error:
                if error.errno not in CANNOT_LINK:
                    raise
                return False
        return True

    def remove(self, key: str) -> None:
        """Unlink, and take the folder away with its last file unless ``prepare`` made it."""
        self._open_files.forget(key)
        with reported("remove", key), suppress(FileNotFoundError):
            again(self._fs.unlink, self._place.path(key))
        self._tidy(key)

    def _name(self, name_it: Callable[[str], None], path: str, key: str) -> None:
        """Give the file at ``path`` the name ``key``, whose folder is made when missing."""
        target = self._place.path(key)
        try:
            name_it(target)
        except FileNotFoundError:
            again(self._fs.stat, path)  # it is the file itself that is missing, if this fails
            self._place.make_prefix(parent_key(key))
            name_it(target)

    def _tidy(self, key: str) -> None:
        prefix = parent_key(key)
        if prefix and prefix not in FOLDERS:
            # Not empty, or gone already: either way there is nothing to tidy.
            with suppress(OSError):
                again(self._fs.rmdir, self._place.folder(prefix))

    def lease(self, epoch: int) -> Lease:
        """A new locked file in ``leases/``."""
        return LocalLease(self._place, epoch)

    def leases(self) -> Sequence[LeaseState]:
        """All leases, oldest epoch first; alive are those whose lock is held."""
        found = self._scan("leases")
        return lease_states(self._place, found) if found else []

    def break_lease(self, name: str) -> None:
        """Unlink it, after which its writer's ``link`` finds no source."""
        key = lease_key(name)
        with reported("break", key), suppress(FileNotFoundError):
            again(self._fs.unlink, self._place.path(key))

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the lock on ``leases/<name>.lock``, a file that stays."""
        key = f"leases/{name}.lock"
        fd = self._open_lock(key)
        try:
            with reported("lock", key):
                locked = again(self._fs.lock, fd)
            if not locked:
                message = f"'{name}' is running in '{self.location}' already"
                raise ConflictError(message, hint="wait until it is done")
            yield
        finally:
            abandon(self._fs, fd)

    def _open_lock(self, key: str) -> int:
        path = self._place.path(key)
        with reported("lock", key):
            try:
                return again(self._fs.open_lock, path)
            except FileNotFoundError:
                self._place.make_prefix(parent_key(key))
                return again(self._fs.open_lock, path)

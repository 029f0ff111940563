"""Leases of a local store: how writers and gc keep out of each other's way without clocks.

A lease is a locked file. Committing rewrites that very file and links it to its slot, so a gc
that has unlinked the lease has made the commit impossible: ``link`` finds no source (SPEC §3).
The lock only tells whether the writer still lives; safety never rests on it.
"""

import re
from collections.abc import Sequence
from typing import Self

from mstore.backends.base import LeaseState, parent_key
from mstore.backends.durable import (
    abandon,
    forget_name,
    give_name,
    identity,
    is_at,
    move_name,
    write_all_at,
)
from mstore.backends.failures import again, reported
from mstore.backends.fsio import Found
from mstore.backends.place import Place
from mstore.errors import ConflictError, ExistsError, InvalidInputError, StorageError
from mstore.ids import Buffer

_NAME = re.compile(r"([0-9a-f]{16})-[0-9a-f]{16}", re.ASCII)


def lease_key(name: str) -> str:
    """The key of a lease; InvalidInputError for what is not the name of one."""
    if not _NAME.fullmatch(name):
        message = f"'{name}' is not a lease: two numbers of 16 hex digits joined by '-'"
        raise InvalidInputError(message)
    return f"leases/{name}"


class LocalLease:
    """A locked file in ``leases/``; see ``base.Lease``."""

    def __init__(self, place: Place, epoch: int) -> None:
        place.check_trust()
        self._place = place
        self._fs = place.fs
        self.name = f"{epoch:016x}-{place.fs.token()}"
        self.epoch = epoch
        self._path = place.path(lease_key(self.name))
        self._spent = False
        self._fd: int | None = self._open()

    def _open(self) -> int:
        temporary, fd = self._place.open_temporary()
        try:
            with reported("take a lease in", self._place.root):
                self._file = identity(again(self._fs.fstat, fd))
                # Locked before it is seen under its name, or a gc could take it for a dead one.
                _try_lock(self._place, fd)
                self._show(temporary)
        except BaseException:
            forget_name(self._fs, temporary)
            abandon(self._fs, fd)
            raise
        return fd

    def _show(self, temporary: str) -> None:
        try:
            move_name(self._fs, temporary, self._path, self._file)
        except FileNotFoundError:
            self._place.make_prefix("leases")
            move_name(self._fs, temporary, self._path, self._file)

    def commit(self, key: str, content: Buffer) -> None:
        """Rewrite the lease's file, link it to ``key``, sync the folders; see ``base.Lease``."""
        target = self._place.path(key)
        fd = self._unspent_fd()
        self._place.check_trust()
        # Whatever fails from here on may have happened in part: only a lost race may be repeated.
        self._spent = True
        self._rewrite(fd, key, content)
        with reported("commit", key):
            named = self._name(key, target)
        if not named:
            self._spent = False
            message = f"'{key}' is there already"
            raise ExistsError(message)
        self._place.sync([parent_key(key)])

    def _unspent_fd(self) -> int:
        if self._fd is None or self._spent:
            message = f"the lease '{self.name}' is spent"
            raise StorageError(message)
        return self._fd

    def _rewrite(self, fd: int, key: str, content: Buffer) -> None:
        with reported("write", key):
            again(self._fs.truncate, fd, 0)
            write_all_at(self._fs, fd, content, 0)
        with self._place.durable(key):
            again(self._fs.fsync, fd)

    def _name(self, key: str, target: str) -> bool:
        try:
            return give_name(self._fs, self._path, target, self._file)
        except FileNotFoundError:
            self._check_fence()
            self._place.make_prefix(parent_key(key))
        try:
            return give_name(self._fs, self._path, target, self._file)
        except FileNotFoundError:
            self._check_fence()
            raise

    def _check_fence(self) -> None:
        if not is_at(self._fs, self._path, self._file):
            message = f"the lease '{self.name}' was broken by a gc: nothing was committed"
            raise ConflictError(message, hint="run the same again")

    def drop(self) -> None:
        """Remove the lease and free its lock."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            forget_name(self._fs, self._path)
            abandon(self._fs, fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


def _try_lock(place: Place, fd: int, *, shared: bool = False) -> bool:
    """Whether the lock was free; False where the file system has no locks."""
    try:
        return again(place.fs.lock, fd, shared=shared)
    except OSError:
        return False


def lease_states(place: Place, found: Sequence[Found]) -> list[LeaseState]:
    """The leases among the files of ``leases/``."""
    now = place.now()
    states = []
    for file in sorted(found):
        match = _NAME.fullmatch(file.name)
        if match:
            alive = _is_alive(place, lease_key(file.name))
            if alive is not None:
                epoch = int(match[1], 16)
                states.append(LeaseState(file.name, epoch, alive, now - file.modified))
    return states


def _is_alive(place: Place, key: str) -> bool | None:
    """Whether the writer holds its lock; None when the lease is gone."""
    with reported("look at", key):
        try:
            fd = place.open_read(key)
        except FileNotFoundError:
            return None
    try:
        # Shared, because two who look at the same time must not take each other for the writer.
        return not _try_lock(place, fd, shared=True)
    finally:
        abandon(place.fs, fd)

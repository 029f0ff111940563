"""What a place that keeps named bytes must be able to do (SPEC §3).

A backend knows nothing of packs, ids or refs. Keys are relative paths with "/" between their
parts. Every key outside ``cache/`` is written once: it appears whole and never changes, and only
``move`` and ``remove`` take it away. Every method may raise StorageError.

1. A name never holds bytes other than those published under it; visible means durable bytes.
2. The *name* is durable once ``sync`` of its prefix has returned. ``Lease.commit`` and ``create``
   return after that.
3. After a failed fsync nothing is acknowledged any more until the program is started anew.
4. Reading needs no lock and writes nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, Self

from mstore.errors import InvalidInputError
from mstore.ids import Buffer

FOLDERS = (
    "objects",
    "refs",
    "refs/heads",
    "refs/tags",
    "refs/notes",
    "refs/remotes",
    "leases",
    "epoch",
    "condemned",
    "quarantine",
    "tmp",
    "cache",
)
"""What ``prepare`` makes (SPEC §4.1)."""


class Item(NamedTuple):
    """One key; ``size`` in bytes, ``modified`` in UTC seconds of the place's own clock."""

    key: str
    size: int
    modified: float


class LeaseState(NamedTuple):
    """A lease as others see it; ``alive`` is true unless its writer is known to be gone.

    ``age`` is in seconds by the place's own clock, since the lease was last written.
    """

    name: str
    epoch: int
    alive: bool
    age: float


class Draft(Protocol):
    """Bytes on their way to a name; a context manager that discards what was not published."""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    def write(self, content: Buffer) -> None:
        """Append; the buffer may be reused at once. After a StorageError the draft is gone."""
        ...

    def publish(self, key: str) -> bool:
        """Make the bytes durable and give them the name ``key``; ``sync`` makes the name durable.

        False: a file of the same size has the name already. ExistsError: one of another size
        has. In both cases the draft stays, so that a damaged file can be moved away and the
        draft be published again. ConflictError: the draft was cleared away.
        """
        ...

    def discard(self) -> None:
        """Forget the bytes; does nothing after ``publish`` returned True."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Lease(Protocol):
    """A writer's promise to commit or go away; a context manager that drops itself (SPEC §4.4)."""

    @property
    def name(self) -> str:
        """The lease's name: epoch and a random part, both 16 hex digits."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch it was taken in."""
        ...

    def commit(self, key: str, content: Buffer) -> None:
        """Write ``content`` under ``key`` if nobody has, durable on return; then it is spent.

        ExistsError: somebody was first; call again with another key. ConflictError: the lease
        was broken, nothing was committed. After a StorageError the outcome is open (the key may
        be there or not) and the lease is spent.
        """
        ...

    def drop(self) -> None:
        """Give the lease back; does nothing the second time."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Backend(Protocol):
    """A place that keeps named bytes."""

    @property
    def location(self) -> str:
        """Where it is, for messages."""
        ...

    def prepare(self) -> None:
        """Make the place ready for a new store; harmless when it is."""
        ...

    def list(self, prefix: str) -> Iterator[Item]:
        """The files directly under ``prefix``, by name; nothing when there is no such prefix."""
        ...

    def names(self, prefix: str) -> Sequence[str]:
        """The last parts of the keys directly under ``prefix``, files and prefixes, in no order.

        For long listings: a tenth of the cost of ``list``, because nothing is looked at.
        """
        ...

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        """The prefixes directly under ``prefix`` that hold something, by name, as whole keys."""
        ...

    def size(self, key: str) -> int:
        """Bytes of ``key``; NotFoundError."""
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes ``[start, stop)``, fewer where the file ends before; NotFoundError."""
        ...

    def read_into(self, key: str, start: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` from ``start``; CorruptError when the file ends before; NotFoundError.

        May be called from many threads at once.
        """
        ...

    def map(self, key: str) -> memoryview:
        """The whole file, writable without any effect on it; StorageError, NotFoundError.

        Costs no memory until it is read; it stays valid when the file is removed.
        """
        ...

    def free_bytes(self) -> int | None:
        """About how many bytes can still be written; None where that cannot be told."""
        ...

    def draft(self) -> Draft:
        """New bytes without a name."""
        ...

    def create(self, key: str, content: Buffer) -> bool:
        """Write a small file unless it exists (False), durable on return either way."""
        ...

    def replace_cache(self, key: str, content: Buffer) -> None:
        """Write a file under ``cache/`` in one step, replacing what is there; not durable.

        After a power cut it may be damaged, so it must carry a check of its own.
        """
        ...

    def sync(self, *prefixes: str) -> None:
        """Return when all names published, moved or removed under ``prefixes`` are durable.

        Also the names that others published there, which is what makes reusing them safe.
        """
        ...

    def move(self, source: str, target: str) -> bool:
        """Rename in one step; what is at ``target`` is replaced. False: ``source`` is gone."""
        ...

    def share(self, source: str, target: str) -> bool:
        """Let ``target`` be there too; True also if it was. False: ``source`` is gone or cannot."""
        ...

    def remove(self, key: str) -> None:
        """Take ``key`` away; harmless when it is gone."""
        ...

    def lease(self, epoch: int) -> Lease:
        """A new lease. Take it before looking whether anything exists (SPEC §4.4)."""
        ...

    def leases(self) -> Sequence[LeaseState]:
        """All leases, oldest epoch first."""
        ...

    def break_lease(self, name: str) -> None:
        """From the return on, this lease can commit nothing; harmless when it is gone."""
        ...

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock ``name``; ConflictError when somebody else does."""
        ...


def check_key(key: str) -> str:
    """``key`` itself; InvalidInputError unless it is a plain relative path."""
    if "\0" in key or "\\" in key or any(part in {"", ".", ".."} for part in key.split("/")):
        message = f"'{key}' is not a key: a relative path without empty, '.' or '..' parts"
        raise InvalidInputError(message)
    return key


def parent_key(key: str) -> str:
    """The prefix that ``key`` is directly under; empty for the place itself."""
    return key.rpartition("/")[0]

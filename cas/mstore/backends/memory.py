"""A store in the memory of this program: for tests, and the plainest telling of the contract."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from mstore.backends.base import Draft, Item, Lease, LeaseState, check_key
from mstore.backends.leases import lease_key
from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from mstore.ids import Buffer


class MemoryBackend:
    """A dict of bytes behind a lock; ``clock`` gives UTC seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._files: dict[str, tuple[bytes, float]] = {}
        self._leases: dict[str, tuple[int, float]] = {}
        self._held: set[str] = set()

    @property
    def location(self) -> str:
        """Always ``memory``."""
        return "memory"

    def prepare(self) -> None:
        """Nothing is needed."""

    def list(self, prefix: str) -> Iterator[Item]:
        """The keys directly under ``prefix``, by name."""
        start = f"{check_key(prefix)}/" if prefix else ""
        with self._lock:
            files = sorted(self._files.items())
        for key, (content, modified) in files:
            if key.startswith(start) and "/" not in key[len(start) :]:
                yield Item(key, len(content), modified)

    def names(self, prefix: str) -> Sequence[str]:
        """The last parts of the keys directly under ``prefix``."""
        start = len(prefix) + 1 if prefix else 0
        keys = [item.key for item in self.list(prefix)]
        return [key[start:] for key in (*keys, *self.list_prefixes(prefix))]

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        """The prefixes directly under ``prefix``, by name."""
        start = f"{check_key(prefix)}/" if prefix else ""
        with self._lock:
            keys = [key for key in self._files if key.startswith(start)]
        below = {key[len(start) :].partition("/") for key in keys}
        yield from sorted({start + name for name, slash, _ in below if slash})

    def size(self, key: str) -> int:
        """Bytes of ``key``; NotFoundError."""
        return len(self.read(key))

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes ``[start, stop)``; NotFoundError."""
        with self._lock:
            if check_key(key) not in self._files:
                message = f"cannot read '{key}': no such file"
                raise NotFoundError(message)
            return self._files[key][0][start:stop]

    def read_into(self, key: str, start: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` from ``start``; CorruptError when the bytes end before."""
        view = memoryview(buffer).cast("B")
        content = self.read(key, start, start + view.nbytes)
        if len(content) < view.nbytes:
            message = f"'{key}' ends at {start + len(content)}, not at {start + view.nbytes}"
            raise CorruptError(message, hint="run 'mstore fsck --full'")
        view[:] = content

    def map(self, key: str) -> memoryview:
        """A copy of the bytes."""
        return memoryview(bytearray(self.read(key)))

    def free_bytes(self) -> int | None:
        """None: memory has no end that could be told."""
        return None

    def draft(self) -> Draft:
        """New bytes without a name."""
        return _MemoryDraft(self)

    def create(self, key: str, content: Buffer) -> bool:
        """Keep ``content`` under ``key`` unless that exists."""
        return self.put_new(check_key(key), bytes(content))

    def put_new(self, key: str, content: bytes, lease: str | None = None) -> bool:
        """Keep ``content`` unless ``key`` exists; with ``lease``, only while that is unbroken."""
        with self._lock:
            if lease is not None and lease not in self._leases:
                message = f"the lease '{lease}' was broken by a gc: nothing was committed"
                raise ConflictError(message, hint="run the same again")
            if key in self._files:
                return False
            self._files[key] = content, self._clock()
            return True

    def replace_cache(self, key: str, content: Buffer) -> None:
        """Keep ``content`` under a key in ``cache/``."""
        if not check_key(key).startswith("cache/"):
            message = f"'{key}' cannot be replaced: it is not under 'cache/'"
            raise InvalidInputError(message)
        with self._lock:
            self._files[key] = bytes(content), self._clock()

    def sync(self, *prefixes: str) -> None:
        """Nothing here survives the program anyway."""
        for prefix in prefixes:
            if prefix:
                check_key(prefix)

    def move(self, source: str, target: str) -> bool:
        """Rename; False when ``source`` is gone."""
        check_key(target)
        with self._lock:
            if check_key(source) not in self._files:
                return False
            self._files[target] = self._files.pop(source)
            return True

    def share(self, source: str, target: str) -> bool:
        """Keep the same bytes under ``target`` too; False when ``source`` is gone."""
        check_key(target)
        with self._lock:
            if target in self._files:
                return True
            if check_key(source) not in self._files:
                return False
            self._files[target] = self._files[source]
            return True

    def remove(self, key: str) -> None:
        """Forget ``key``."""
        with self._lock:
            self._files.pop(check_key(key), None)

    def lease(self, epoch: int) -> Lease:
        """A new lease, alive until it is dropped or broken."""
        name = f"{epoch:016x}-{os.urandom(8).hex()}"
        with self._lock:
            self._leases[name] = epoch, self._clock()
        return _MemoryLease(self, name, epoch)

    def leases(self) -> Sequence[LeaseState]:
        """All leases, oldest epoch first."""
        with self._lock:
            leases = sorted(self._leases.items())
        now = self._clock()
        return [
            LeaseState(name, epoch, alive=True, age=now - since) for name, (epoch, since) in leases
        ]

    def break_lease(self, name: str) -> None:
        """Forget it: ``put_new`` under it fails from now on."""
        lease_key(name)
        with self._lock:
            self._leases.pop(name, None)

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the lock ``name``."""
        with self._lock:
            if name in self._held:
                message = f"'{name}' is running in '{self.location}' already"
                raise ConflictError(message, hint="wait until it is done")
            self._held.add(name)
        try:
            yield
        finally:
            self._held.discard(name)


class _MemoryDraft:
    """See ``base.Draft``."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self._content: bytearray | None = bytearray()
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def _open(self) -> bytearray:
        if self._content is None:
            message = "the draft takes no more bytes: it is published or discarded"
            raise StorageError(message)
        return self._content

    def write(self, content: Buffer) -> None:
        self._open().extend(memoryview(content).cast("B"))
        self._size = len(self._open())

    def publish(self, key: str) -> bool:
        if self._backend.put_new(check_key(key), bytes(self._open())):
            self.discard()
            return True
        found = self._backend.size(key)
        if found != self._size:
            message = f"'{key}' is there already with {found} bytes, not {self._size}"
            raise ExistsError(message, hint="run 'mstore fsck --full'")
        return False

    def discard(self) -> None:
        self._content = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class _MemoryLease:
    """See ``base.Lease``."""

    def __init__(self, backend: MemoryBackend, name: str, epoch: int) -> None:
        self._backend = backend
        self.name = name
        self.epoch = epoch
        self._spent = False

    def commit(self, key: str, content: Buffer) -> None:
        if self._spent:
            message = f"the lease '{self.name}' is spent"
            raise StorageError(message)
        if not self._backend.put_new(check_key(key), bytes(content), self.name):
            message = f"'{key}' is there already"
            raise ExistsError(message)
        self._spent = True

    def drop(self) -> None:
        self._spent = True
        self._backend.break_lease(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

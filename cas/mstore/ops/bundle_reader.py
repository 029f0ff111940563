"""A bundle opened as a place that packs are read from.

Its packs are found under the keys that they have in a store, so the object database reads and
verifies them as it does a store's. Nothing can be written.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from mstore.backends.base import Backend, Draft, Item, Lease, LeaseState
from mstore.backends.local import LocalBackend
from mstore.errors import CorruptError, NotFoundError, StorageError
from mstore.format.bundle import (
    HEADER_SIZE,
    TRAILER_SIZE,
    Manifest,
    check_layout,
    check_magic,
    decode_header,
    decode_manifest,
    hasher,
    stated_size,
)
from mstore.ids import Buffer, ObjectId
from mstore.odb import ObjectDatabase
from mstore.ops.copying import Needs

_OBJECTS = "objects"
_READ_SIZE = 4 << 20


class BundleBackend:
    """The packs of a bundle by their keys; ``spans`` gives offset and length of each."""

    def __init__(self, files: Backend, file: str, spans: dict[str, tuple[int, int]]) -> None:
        self._files = files
        self._file = file
        self._spans = spans

    @property
    def location(self) -> str:
        """The path of the bundle."""
        return f"{self._files.location}/{self._file}"

    def list(self, prefix: str) -> Iterator[Item]:
        """The packs, under "objects"."""
        if prefix == _OBJECTS:
            for key, (_, size) in sorted(self._spans.items()):
                yield Item(key, size, 0.0)

    def names(self, prefix: str) -> Sequence[str]:
        """The files of the packs, under "objects"."""
        return [item.key.rpartition("/")[2] for item in self.list(prefix)]

    def list_prefixes(self, prefix: str) -> Iterator[str]:
        """Nothing: a bundle has no names and nothing condemned."""
        del prefix
        yield from ()

    def size(self, key: str) -> int:
        """Bytes of a pack; NotFoundError."""
        return self._span(key)[1]

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes ``[start, stop)`` of a pack."""
        offset, size = self._span(key)
        end = size if stop is None else min(stop, size)
        return self._files.read(self._file, offset + min(start, end), offset + end)

    def read_into(self, key: str, start: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` from ``start`` of a pack; CorruptError when the pack ends before."""
        offset, size = self._span(key)
        end = start + memoryview(buffer).nbytes
        if end > size:
            raise CorruptError(f"'{key}' in bundle '{self.location}' ends at {size}, not at {end}")
        self._files.read_into(self._file, offset + start, buffer)

    def map(self, key: str) -> memoryview:
        """The bytes of a pack as a part of a map of the bundle."""
        offset, size = self._span(key)
        return self._files.map(self._file)[offset : offset + size]

    def _span(self, key: str) -> tuple[int, int]:
        span = self._spans.get(key)
        if span is None:
            raise NotFoundError(f"no '{key}' in bundle '{self.location}'")
        return span

    def free_bytes(self) -> int | None:
        """None: nothing is written."""
        return None

    def _refuse(self) -> NoReturn:
        raise StorageError(f"bundle '{self.location}' cannot be written to")

    def prepare(self) -> None:
        """Refused, as is everything below."""
        self._refuse()

    def draft(self) -> Draft:
        """Refused."""
        self._refuse()

    def create(self, key: str, content: Buffer) -> bool:
        """Refused."""
        del key, content
        self._refuse()

    def replace_cache(self, key: str, content: Buffer) -> None:
        """Refused."""
        del key, content
        self._refuse()

    def sync(self, *prefixes: str) -> None:
        """Refused."""
        del prefixes
        self._refuse()

    def move(self, source: str, target: str) -> bool:
        """Refused."""
        del source, target
        self._refuse()

    def share(self, source: str, target: str) -> bool:
        """Refused."""
        del source, target
        self._refuse()

    def remove(self, key: str) -> None:
        """Refused."""
        del key
        self._refuse()

    def lease(self, epoch: int) -> Lease:
        """Refused."""
        del epoch
        self._refuse()

    def leases(self) -> Sequence[LeaseState]:
        """Nobody writes to a bundle."""
        return ()

    def break_lease(self, name: str) -> None:
        """Refused."""
        del name
        self._refuse()

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Refused."""
        del name
        self._refuse()


class Bundle:
    """An opened bundle, a sender of all its objects: ``manifest`` and ``odb`` are believed.

    What its versions are made of may lie at the receiver, so they are checked there (``proven``).
    """

    proven = False

    def __init__(self, manifest: Manifest, backend: BundleBackend) -> None:
        self.manifest = manifest
        self.backend = backend
        self.odb = ObjectDatabase(backend)

    def objects(self, needs: Needs) -> set[ObjectId]:
        """Every object in the bundle."""
        del needs
        return {entry.id for key in self.odb.packs() for entry in self.odb.entries(key)}


def open_bundle(path: Path) -> Bundle:
    """The bundle at ``path``; CorruptError unless every bit of it is as it was written.

    Reads the whole file once. UnsupportedError for a bundle of a newer format.
    """
    path = path.resolve()
    files, name = LocalBackend(path.parent), path.name
    size = files.size(name)
    try:
        head = files.read(name, 0, HEADER_SIZE)
        check_magic(head)
        _check_trailer(files, name, size, stated_size(head))
        header = decode_header(head, size)
        stop = HEADER_SIZE + header.manifest_size
        manifest = decode_manifest(files.read(name, HEADER_SIZE, stop))
        offsets = check_layout(header, manifest)
    except CorruptError as error:
        raise CorruptError(
            f"'{path}': {error}", hint="nothing was changed; get it again"
        ) from error
    spans = {
        f"{_OBJECTS}/{pack.name}.pack": (offset, pack.size)
        for pack, offset in zip(manifest.packs, offsets, strict=True)
    }
    return Bundle(manifest, BundleBackend(files, name, spans))


def _check_trailer(files: Backend, name: str, size: int, stated: int) -> None:
    end = size - TRAILER_SIZE
    if end < HEADER_SIZE:
        raise CorruptError(f"bundle of {size} bytes is cut short")
    found = hasher()
    for start in range(0, end, _READ_SIZE):
        found.update(files.read(name, start, min(start + _READ_SIZE, end)))
    if found.digest() != files.read(name, end, size):
        cut = f"has {size} bytes of {stated}" if size != stated else "does not match its trailer"
        raise CorruptError(f"bundle is damaged: it {cut}")

"""The object database: an object by its id, from whichever pack has a sound copy of it.

1. What is returned hashes to the id that was asked for, or an error is raised.
2. Readers look at live packs, then at condemned ones, then list the packs once more (SPEC §4).
   Writers count condemned objects as absent.
3. Any number of threads may read at once; reading, hashing and decoding release the GIL.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from mstore.backends.base import Backend
from mstore.codecs import RAW
from mstore.errors import CorruptError, InvalidInputError, MstoreError, NotFoundError
from mstore.format.objects import decode_object
from mstore.format.pack import Entry, unpack_row
from mstore.ids import Buffer, Kind, ObjectId
from mstore.objects import File, Object, OpaqueFile, Tensor, TensorFile, Tree, Version
from mstore.odb.entries import (
    HINT,
    Location,
    damaged,
    decode_entry,
    decode_unverified,
)
from mstore.odb.entries import (
    verify as verify_raw,
)
from mstore.odb.footer import read_footer
from mstore.odb.index import Index
from mstore.odb.segments import Copy
from mstore.odb.writer import PackWriter

T = TypeVar("T")

MIN_PREFIX = 4
_ID_DIGITS = 64
_HEX = frozenset("0123456789abcdef")
# Where a row says which base its codec starts from: none, unless a byte is set (SPEC §7.3).
_BASE_FIELD = slice(52, 56)
_NO_BASE = bytes(4)


class ObjectDatabase:
    """The objects of one store. Making one touches nothing; the first question lists the packs.

    Without ``cached`` it neither reads nor writes the cache: every pack's own index is read.
    """

    def __init__(self, backend: Backend, *, cached: bool = True) -> None:
        self._backend = backend
        self._index = Index(backend, cached=cached)

    def refresh(self) -> None:
        """List the packs again; a writer does so once it has its lease."""
        self._index.refresh()

    def find(self, oid: bytes) -> Location | None:
        """Where an object is, live rather than condemned; None when it is nowhere."""
        for look in (self._index.open, self._index.refresh):
            look()
            for copy in self._index.copies(oid):
                return self._location(copy)
        return None

    def is_live(self, oid: bytes) -> bool:
        """Whether a live pack holds it, by the last ``refresh``: the writers' question."""
        return self._index.is_live(oid)

    def contains_all(self, oids: Iterable[bytes]) -> bool:
        """Whether every one of them is live."""
        return all(map(self._index.is_live, oids))

    def read(self, oid: bytes) -> bytes:
        """An object's bytes, decoded and verified.

        NotFoundError when no pack has it; CorruptError when no pack has a sound copy.
        """
        return bytes(self._first_sound(oid, self._read))

    def read_into(self, oid: bytes, buffer: bytearray | memoryview, *, verify: bool = True) -> None:
        """Fill ``buffer``, as long as the object, with its bytes; errors as ``read``.

        Without ``verify`` bytes that changed on the disk go unnoticed. After an error the
        buffer holds anything.
        """
        target = memoryview(buffer).cast("B")

        def fill(key: str, entry: Entry) -> None:
            if len(target) != entry.raw_size:
                message = f"buffer has {len(target)} bytes, '{entry.id}' has {entry.raw_size}"
                raise InvalidInputError(message)
            self._fill(key, entry, target)
            if verify:
                verify_raw(key, entry, target)

        self._first_sound(oid, fill)

    def read_object(self, oid: bytes, kind: Kind) -> Object:
        """An object that must be of ``kind``, decoded; errors as ``read``."""

        def decode(key: str, entry: Entry) -> Object:
            if entry.kind is not kind:
                message = f"'{entry.id}' is a {entry.kind.name.lower()}, not a {kind.name.lower()}"
                raise CorruptError(message, hint=HINT)
            payload = self._read(key, entry)
            try:
                return decode_object(kind, payload)
            except CorruptError as error:
                raise damaged(key, entry, f"breaks a rule: {error}") from error

        return self._first_sound(oid, decode)

    def tensor(self, oid: bytes) -> Tensor:
        """The tensor with this id; errors as ``read``."""
        value = self.read_object(oid, Kind.TENSOR)
        assert isinstance(value, Tensor)
        return value

    def file(self, oid: bytes) -> File:
        """The file with this id; errors as ``read``."""
        value = self.read_object(oid, Kind.FILE)
        assert isinstance(value, OpaqueFile | TensorFile)
        return value

    def tree(self, oid: bytes) -> Tree:
        """The tree with this id; errors as ``read``."""
        value = self.read_object(oid, Kind.TREE)
        assert isinstance(value, Tree)
        return value

    def version(self, oid: bytes) -> Version:
        """The version with this id; errors as ``read``."""
        value = self.read_object(oid, Kind.VERSION)
        assert isinstance(value, Version)
        return value

    def extent(self, chunk_ids: Sequence[bytes]) -> tuple[str, int, int] | None:
        """(pack key, offset, size) where the chunks lie raw and one after another, if anywhere."""
        if not chunk_ids:
            return None
        runs = [self._raw_places(oid) for oid in chunk_ids]
        for pack, first in runs[0].items():
            entries = [run[pack] for run in runs if pack in run]
            if len(entries) == len(runs) and _is_run(entries):
                size = sum(entry.raw_size for entry in entries)
                return self._index.key(pack), first.offset, size
        return None

    def map(self, pack_key: str) -> memoryview:
        """A pack mapped into memory; StorageError where the place cannot. Nothing is verified."""
        try:
            return self._backend.map(pack_key)
        except NotFoundError:
            # Condemned since its key was asked for.
            self._index.refresh()
            return self._backend.map(self._index.key(pack_key.rpartition("/")[2]))

    def prefix(self, hex_prefix: str) -> list[tuple[ObjectId, Kind]]:
        """The objects whose ids begin with four or more hex digits, in the order of the ids."""
        if not MIN_PREFIX <= len(hex_prefix) <= _ID_DIGITS or not _HEX.issuperset(hex_prefix):
            message = f"'{hex_prefix}' is not {MIN_PREFIX} to {_ID_DIGITS} lower-case hex digits"
            raise InvalidInputError(message)
        low = bytes.fromhex(hex_prefix.ljust(_ID_DIGITS, "0"))
        high = bytes.fromhex(hex_prefix.ljust(_ID_DIGITS, "f"))
        entries: dict[bytes, Entry] = {}
        for look in (self._index.open, self._index.refresh):
            look()
            entries = {copy.row[:32]: self._entry(copy) for copy in self._index.span(low, high)}
            if entries:
                break
        return [(entry.id, entry.kind) for _, entry in sorted(entries.items())]

    def packs(self, *, condemned: bool = False) -> list[str]:
        """The keys of the live packs, or of the condemned ones, by the last ``refresh``; sorted."""
        return self._index.packs(condemned=condemned)

    def entries(self, pack_key: str) -> list[Entry]:
        """A pack's entries in the order of their ids, read from the pack and checked."""
        return read_footer(self._backend, pack_key).entries()

    @property
    def unreadable(self) -> dict[str, MstoreError]:
        """The packs of the last ``refresh`` whose index could not be used, and why not."""
        self._index.open()
        return dict(self._index.unreadable)

    def writer(self) -> PackWriter:
        """A writer for one transaction, which has its lease and has refreshed."""
        return PackWriter(self._backend, self._index)

    def _first_sound(self, oid: bytes, read: Callable[[str, Entry], T]) -> T:
        failure: MstoreError | None = None
        for look in (self._index.open, self._index.refresh, lambda: self._doubt(oid)):
            look()
            for copy in self._index.copies(oid):
                try:
                    return read(self._index.key(copy.pack), self._entry(copy))
                except InvalidInputError:
                    raise
                except MstoreError as error:
                    # Gone only says that the pack was moved meanwhile: damage tells more.
                    if failure is None or isinstance(failure, NotFoundError):
                        failure = error
        raise failure or self._missing(oid)

    def _doubt(self, oid: bytes) -> None:
        """Throw the cache away if it is the cache that is wrong about an object."""
        if not all(map(self._is_confirmed, self._index.copies(oid))):
            self._index.distrust_cache()

    def _is_confirmed(self, copy: Copy) -> bool:
        try:
            return copy.row in read_footer(self._backend, self._index.key(copy.pack)).rows()
        except MstoreError:
            return True

    def _missing(self, oid: bytes) -> NotFoundError:
        unreadable = len(self._index.unreadable)
        hint = f"{unreadable} packs cannot be read: {HINT}" if unreadable else None
        return NotFoundError(f"no object '{oid.hex()}' in '{self._backend.location}'", hint=hint)

    def _read(self, key: str, entry: Entry) -> Buffer:
        stored = self._backend.read(key, entry.offset, entry.offset + entry.stored_size)
        return decode_entry(key, entry, stored)

    def _fill(self, key: str, entry: Entry, target: memoryview) -> None:
        if entry.codec == RAW:
            try:
                self._backend.read_into(key, entry.offset, target)
            except CorruptError as error:
                raise damaged(key, entry, f"is cut short: {error}") from error
            return
        stored = self._backend.read(key, entry.offset, entry.offset + entry.stored_size)
        target[:] = decode_unverified(key, entry, stored)

    def _location(self, copy: Copy) -> Location:
        live = self._index.is_live_pack(copy.pack)
        return Location(self._index.key(copy.pack), self._entry(copy), live)

    def _entry(self, copy: Copy) -> Entry:
        if copy.row[_BASE_FIELD] == _NO_BASE:
            return unpack_row(copy.row, 0)
        # The base's id stands in the pack's own base table, which a single row lacks.
        entries = self.entries(self._index.key(copy.pack))
        return next(entry for entry in entries if entry.id == copy.row[:32])

    def _raw_places(self, oid: bytes) -> dict[str, Entry]:
        """The packs in which an object lies raw, live ones first."""
        entries = ((copy.pack, self._entry(copy)) for copy in self._index.copies(oid))
        return {pack: entry for pack, entry in entries if entry.codec == RAW}


def _is_run(entries: Sequence[Entry]) -> bool:
    return all(
        first.offset + first.stored_size == second.offset for first, second in pairwise(entries)
    )

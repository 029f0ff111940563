"""The object database: an object by its id, from whichever pack has a sound copy of it.

1. What is returned hashes to the id that was asked for, or an error is raised. A chunk that is
   stored as a difference is decoded over its bases; a sound copy is found if there is any.
2. Readers look at live packs, then at condemned ones, then list the packs once more (SPEC §4).
   Writers count condemned objects as absent.
3. Any number of threads may read at once; reading, hashing and decoding release the GIL.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from mstore.backends.base import Backend
from mstore.codecs import RAW
from mstore.errors import CorruptError, InvalidInputError, MstoreError, NotFoundError, StorageError
from mstore.format.objects import decode_object
from mstore.format.pack import Entry, row_entry
from mstore.ids import Buffer, Kind, ObjectId
from mstore.objects import (
    Code,
    Environment,
    File,
    Log,
    Note,
    Object,
    OpaqueFile,
    Record,
    Tensor,
    TensorFile,
    Tree,
    Version,
)
from mstore.odb.chains import Chains, Link, is_live, more_telling
from mstore.odb.elsewhere import Elsewhere, Nowhere
from mstore.odb.entries import (
    HINT,
    Location,
    check_stored,
    damaged,
    decode_entry,
    require_kind,
)
from mstore.odb.entries import verify as verify_raw
from mstore.odb.footer import read_footer
from mstore.odb.index import Index
from mstore.odb.segments import Copy
from mstore.odb.writer import PackWriter

T = TypeVar("T")

MIN_PREFIX = 4
_ID_DIGITS = 64
_HEX = frozenset("0123456789abcdef")


class ObjectDatabase:
    """The objects of one store. Making one touches nothing; the first question lists the packs.

    Without ``cached`` it neither reads nor writes the cache: every pack's own index is read.
    """

    def __init__(
        self, backend: Backend, *, cached: bool = True, elsewhere: Elsewhere | None = None
    ) -> None:
        self._backend = backend
        self._index = Index(backend, cached=cached)
        self.elsewhere: Elsewhere = elsewhere or Nowhere()
        """What is not here because another place has it: bases alone are looked for there."""
        self._chains = Chains(backend, self._index, self.elsewhere)

    def refresh(self) -> None:
        """List the packs again; a writer does so once it has its lease."""
        self._index.refresh()

    def find(self, oid: bytes) -> Location | None:
        """Where the copy is that a reader would use; None when it is nowhere.

        One that is live with its bases rather than one that is condemned, and of those the one
        over the fewest bases. When none can be decoded, because a base is missing, it is any.
        """
        copies = self._every_copy(oid)
        return self._location(self._preferred(oid, copies)) if copies else None

    def is_there(self, oid: bytes) -> bool:
        """Whether there is any copy, one that can be decoded or not."""
        return bool(self._every_copy(oid))

    def copies(self, oid: bytes) -> list[Location]:
        """Where every copy is, live ones first; none when it is nowhere."""
        places = [self._location(copy) for copy in self._every_copy(oid)]
        return sorted(places, key=lambda place: not place.live)

    def chain(self, oid: bytes) -> list[Location]:
        """Where all that has to be decoded is: the object, its base, the base of that one.

        In live packs alone if that is possible, as they stay; a reader may know a shorter way. A
        base that is elsewhere ends it. NotFoundError when one of them is nowhere, CorruptError when
        there is no end of bases.
        """
        for look in (self._index.open, self._index.refresh):
            look()
            try:
                return [self._location(copy) for copy in self._chains.lasting(oid)]
            except MstoreError as error:
                failure = error
        raise failure

    def depth(self, oid: bytes) -> int:
        """How many bases a reader decodes before the object itself; errors as ``chain``."""
        return len(self.chain(oid)) - 1

    def is_live(self, oid: bytes) -> bool:
        """Whether live packs hold it and every base it needs: the writers' question.

        By the last ``refresh``. What needs a base that is elsewhere is not live: what a writer
        acknowledges rests on this store alone.
        """
        return is_live(self._index, oid)

    def is_held(self, oid: bytes) -> bool:
        """Whether live packs hold it, and they or another place every base it needs."""
        return self.is_live(oid) or is_live(self._index, oid, self.elsewhere.ids())

    def contains_all(self, oids: Iterable[bytes]) -> bool:
        """Whether every one of them is live."""
        return all(map(self.is_live, oids))

    def read(self, oid: bytes) -> bytes:
        """An object's bytes, decoded and verified.

        NotFoundError when no pack has it; CorruptError when no pack has a sound copy.
        """
        return self._until_sound(oid, self._chains.read)

    def read_live(self, oid: bytes) -> bytes:
        """``read`` from live packs alone, its bases too, by the last ``refresh``: for gc."""
        return self._chains.use(oid, self._chains.read, live_only=True)

    def read_base(self, oid: bytes) -> Buffer:
        """A chunk's bytes, for decoding or encoding another from them; errors as ``read``.

        Where no pack has it, it is read from the place that has.
        """

        def read(links: list[Link]) -> bytes:
            require_kind(links[0].entry, Kind.CHUNK)
            return self._chains.read(links)

        if self.is_lent(oid):
            return self.elsewhere.read(oid)
        return self._until_sound(oid, read)

    def is_lent(self, oid: bytes) -> bool:
        """Whether a chunk is in no pack here, but in another place."""
        return not self._index.copies(oid) and oid in self.elsewhere.ids()

    def read_into(self, oid: bytes, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` with the bytes of a chunk, decoded in place; errors as ``read``.

        CorruptError too when it is no chunk of as many bytes: whatever named it lies. After an
        error the buffer holds anything.
        """
        target = memoryview(buffer).cast("B")

        def fill(links: list[Link]) -> None:
            entry = links[0].entry
            if (entry.kind, entry.raw_size) != (Kind.CHUNK, len(target)):
                held = f"a {entry.kind.name.lower()} of {entry.raw_size} bytes"
                message = f"'{entry.id}' is {held}, not a chunk of {len(target)}"
                raise CorruptError(message, hint=HINT)
            self._chains.decode(links, target)
            verify_raw(links[0].key, entry, target)

        self._until_sound(oid, fill)

    def read_stored(self, location: Location) -> bytes:
        """The stored bytes of an entry as ``find`` gave it, held against its check.

        Those of a raw entry are held against its id. CorruptError; NotFoundError when its pack
        was moved meanwhile.
        """
        key, entry, _ = location
        stored = self._backend.read(key, entry.offset, entry.offset + entry.stored_size)
        check_stored(key, entry, stored)
        if entry.codec == RAW:
            verify_raw(key, entry, stored)
        return stored

    def decode(self, pack_key: str, entry: Entry, stored: Buffer) -> Buffer:
        """The object's bytes out of this very entry, verified; only its base may be any copy.

        Errors as ``read``; what its base cannot be read for is let through.
        """
        return decode_entry(pack_key, entry, stored, self.read_base)

    def check_entry(self, pack_key: str, entry: Entry, stored: Buffer) -> None:
        """``decode``, for who only copies the entry: without its base here its check must do."""
        if entry.base is None or self.is_live(entry.base) or not self.has_base(entry):
            self.decode(pack_key, entry, stored)
        else:
            check_stored(pack_key, entry, stored)

    def has_base(self, entry: Entry) -> bool:
        """Whether an entry needs no base, or one that live packs or another place have."""
        base = entry.base
        return base is None or self.is_held(base) or base in self.elsewhere.ids()

    def read_object(self, oid: bytes, kind: Kind) -> Object:
        """An object that must be of ``kind``, decoded; errors as ``read``."""

        def decode(links: list[Link]) -> Object:
            _, key, entry = links[0]
            require_kind(entry, kind)
            payload = self._chains.read(links)
            try:
                return decode_object(kind, payload)
            except CorruptError as error:
                raise damaged(key, entry, f"breaks a rule: {error}") from error

        return self._until_sound(oid, decode)

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

    def note(self, oid: bytes) -> Note:
        """The note with this id; errors as ``read``."""
        value = self.read_object(oid, Kind.NOTE)
        assert isinstance(value, Note)
        return value

    def record(self, oid: bytes) -> Record:
        """The record with this id; errors as ``read``."""
        value = self.read_object(oid, Kind.RECORD)
        assert isinstance(value, Code | Environment | Log)
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

    def _until_sound(self, oid: bytes, action: Callable[[list[Link]], T]) -> T:
        failure: MstoreError | None = None
        tried: list[tuple[Copy, str]] = []
        for look in (self._index.open, self._index.refresh, lambda: self._doubt(oid)):
            look()
            if failure is not None and self._places(oid) == tried:
                # Nothing is anywhere else than it was: it would come to the same.
                continue
            try:
                return self._chains.use(oid, action)
            except MstoreError as error:
                failure = more_telling(failure, error)
                # Whether a place that fails still does is worth asking again.
                tried = [] if isinstance(error, StorageError) else self._places(oid)
        assert failure is not None
        raise failure

    def _every_copy(self, oid: bytes) -> list[Copy]:
        """Its copies; the packs are listed again before it is said that there is none."""
        self._index.open()
        found = self._index.copies(oid)
        if not found:
            self._index.refresh()
            found = self._index.copies(oid)
        return found

    def _places(self, oid: bytes) -> list[tuple[Copy, str]]:
        return [(copy, self._index.key(copy.pack)) for copy in self._chains.reach(oid)]

    def _doubt(self, oid: bytes) -> None:
        """Throw the cache away if it is the cache that is wrong about an object or its bases."""
        if not all(map(self._is_confirmed, self._chains.reach(oid))):
            self._index.distrust_cache()

    def _is_confirmed(self, copy: Copy) -> bool:
        try:
            return copy in read_footer(self._backend, self._index.key(copy.pack)).copies()
        except MstoreError:
            return True

    def _preferred(self, oid: bytes, copies: list[Copy]) -> Copy:
        try:
            return self._chains.lasting(oid)[0]
        except MstoreError:
            return copies[0]

    def _location(self, copy: Copy) -> Location:
        live = self._index.is_live_pack(copy.pack)
        return Location(self._index.key(copy.pack), self._entry(copy), live)

    def _entry(self, copy: Copy) -> Entry:
        return row_entry(copy.row, copy.base)

    def _raw_places(self, oid: bytes) -> dict[str, Entry]:
        """The packs in which an object lies raw, live ones first."""
        entries = ((copy.pack, self._entry(copy)) for copy in self._index.copies(oid))
        return {pack: entry for pack, entry in entries if entry.codec == RAW}


def _is_run(entries: Sequence[Entry]) -> bool:
    return all(
        first.offset + first.stored_size == second.offset for first, second in pairwise(entries)
    )

"""Writing packs: one transaction's new objects, in the order in which they were added.

1. Nothing gets a final name before its index was decoded again and found equal, and its bytes
   are durable.
2. ``publish`` syncs ``objects/`` even when nothing was written: another process may have linked
   what this transaction reuses without having synced the folder yet.
3. Condemned objects count as absent, so an own copy is written; so does what is stored as a
   difference from them.
4. At most the entry at hand is in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mstore.backends.base import Backend
from mstore.codecs import RAW, ZSTD, Coded, codec
from mstore.errors import CorruptError, InvalidInputError, StorageError
from mstore.format.objects import encode_object
from mstore.format.pack import Entry, stored_check
from mstore.ids import Buffer, Kind, ObjectId, hash_object
from mstore.objects import CHUNK_SIZE, Object
from mstore.odb.chains import is_live
from mstore.odb.index import OBJECTS, Index, pack_key
from mstore.odb.packing import OpenPack

PACK_CAP = 1 << 30
"""Bytes of the largest pack; a new one is begun when the next entry does not fit."""
MIN_CODED = 256
"""Bytes below which a payload is mostly hashes, which no codec makes smaller."""


class PackWriter:
    """New packs for one transaction. Not for more than one thread.

    After an error it refuses every further call: begin a new transaction.
    """

    def __init__(self, backend: Backend, index: Index, cap: int = PACK_CAP) -> None:
        self._backend = backend
        self._index = index
        self._cap = cap
        self._pack: OpenPack | None = None
        self._added: set[bytes] = set()
        self._keys: list[str] = []
        self._sealed_bytes = 0
        self._broken = False
        self.new_bytes = 0
        """Bytes of the chunks and payloads that were not there before, decoded."""

    @property
    def stored_bytes(self) -> int:
        """By how many bytes the store has grown, indexes and padding included."""
        return self._sealed_bytes + (self._pack.size if self._pack else 0)

    def lacks(self, oid: bytes) -> bool:
        """Whether an object is neither live nor added here: then it is worth encoding."""
        return oid not in self._added and not is_live(self._index, oid, self._added)

    def add_chunk(self, oid: bytes, raw: Buffer, coded: Coded | None = None) -> bool:
        """Store a chunk of at most 4 MiB; False when it is there already.

        The caller has just computed ``oid`` from these very bytes, and ``coded`` decodes to them.
        They are stored as they are, to be mapped, without ``coded`` or when it is not smaller.
        InvalidInputError when its base is the chunk itself, or neither live nor added here.
        """
        self._check_chunk(oid, raw, coded)
        return self.lacks(oid) and self._add(Kind.CHUNK, oid, raw, coded)

    def add_again(self, oid: bytes, raw: Buffer, coded: Coded | None = None) -> bool:
        """Store a chunk in another form, be it there or not; otherwise as ``add_chunk``.

        False only when this writer has added it before. Readers take the copy over the fewest
        bases, gc leaves one.
        """
        self._check_chunk(oid, raw, coded)
        return oid not in self._added and self._add(Kind.CHUNK, oid, raw, coded)

    def add_object(self, value: Object) -> ObjectId:
        """Store an object unless it is there; its id either way."""
        kind, payload = encode_object(value)
        oid = hash_object(kind, payload)
        self._add_payload(kind, oid, payload)
        return oid

    def add_payload(self, kind: Kind, oid: bytes, payload: Buffer) -> bool:
        """Store encoded bytes that came from elsewhere; False when they are there already.

        CorruptError when their id is not ``oid``. A chunk is stored as it is.
        """
        found = hash_object(kind, payload)
        if found != oid:
            raise CorruptError(f"{kind.name.lower()} '{oid.hex()}' has bytes with the id '{found}'")
        if kind is Kind.CHUNK:
            return self.add_chunk(oid, payload)
        return self._add_payload(kind, oid, payload)

    def add_stored(self, entry: Entry, stored: Buffer) -> bool:
        """Store an entry as it stands in another pack, be it live there or not.

        False when this writer has it already. The caller has just verified ``stored``, and sees
        to it that the entry's base is live.
        """
        with self._unbroken():
            if entry.id in self._added:
                return False
            entry = entry._replace(offset=0)
            self._pack_for(entry).add(entry, stored)
        self._added.add(bytes(entry.id))
        return True

    def publish(self) -> list[str]:
        """Make all that was added durable and visible; the keys of the new packs.

        On return everything that this writer said was there already is durable too.
        """
        with self._unbroken():
            self._seal()
            self._backend.sync(OBJECTS)
        return list(self._keys)

    def discard(self) -> None:
        """Forget what was not published; packs that were full before are left to gc."""
        if self._pack is not None:
            self._pack.discard()
            self._pack = None
        self._broken = True

    def _check_chunk(self, oid: bytes, raw: Buffer, coded: Coded | None) -> None:
        if not 0 < len(raw) <= CHUNK_SIZE:
            message = f"chunk '{oid.hex()}' has {len(raw)} bytes, not 1 to {CHUNK_SIZE}"
            raise InvalidInputError(message)
        if coded is None or coded.base is None:
            return
        if coded.base == oid or self.lacks(coded.base):
            fault = "is the chunk itself" if coded.base == oid else "is not there"
            message = f"base '{coded.base.hex()}' of chunk '{oid.hex()}' {fault}"
            raise InvalidInputError(message)

    def _add_payload(self, kind: Kind, oid: bytes, payload: Buffer) -> bool:
        if not self.lacks(oid):
            return False
        stored = codec(ZSTD).encode(payload) if len(payload) >= MIN_CODED else None
        return self._add(kind, oid, payload, None if stored is None else Coded(ZSTD, stored))

    def _add(self, kind: Kind, oid: bytes, raw: Buffer, coded: Coded | None) -> bool:
        entry, stored = _entry(kind, oid, raw, coded)
        with self._unbroken():
            self._pack_for(entry).add(entry, stored)
        self._added.add(bytes(oid))
        self.new_bytes += len(raw)
        return True

    def _pack_for(self, entry: Entry) -> OpenPack:
        if self._pack is not None and not self._pack.fits(entry, self._cap):
            self._seal()
        if self._pack is None:
            self._pack = OpenPack(self._backend)
        return self._pack

    def _seal(self) -> None:
        if self._pack is None:
            return
        sealed = self._pack.seal()
        self._pack = None
        self._index.add(sealed.name, sealed.rows)
        self._keys.append(pack_key(sealed.name))
        self._sealed_bytes += sealed.growth

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """A block after whose failure, or that of an earlier one, nothing more is written."""
        if self._broken:
            message = "this transaction failed before or is over: nothing more is written"
            raise StorageError(message, hint="run the same again")
        try:
            yield
        except BaseException:
            self.discard()
            raise


def _entry(kind: Kind, oid: bytes, raw: Buffer, coded: Coded | None) -> tuple[Entry, Buffer]:
    """The entry of an object, its offset still open, and the bytes to store."""
    if coded is None or coded.code == RAW or len(coded.stored) >= len(raw):
        return Entry(ObjectId(oid), kind, RAW, 0, len(raw), len(raw)), raw
    code, stored, base = coded
    base = None if base is None else ObjectId(base)
    check = stored_check(stored)
    return Entry(ObjectId(oid), kind, code, 0, len(stored), len(raw), check, base), stored

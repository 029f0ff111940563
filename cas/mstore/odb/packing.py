"""One pack while it is written, and how it gets its name (SPEC §4.4, §7)."""

import os
from typing import NamedTuple

from mstore.backends.base import Backend, Draft
from mstore.codecs import RAW
from mstore.errors import ExistsError, NotFoundError, StorageError
from mstore.format.pack import (
    HEADER,
    ROW_SIZE,
    TRAILER_SIZE,
    Entry,
    align,
    decode_trailer,
    encode_index,
    pack_name,
)
from mstore.ids import ID_SIZE, Buffer, Kind
from mstore.odb.check import check_pack
from mstore.odb.index import PACK_SUFFIX, pack_key

QUARANTINE = "quarantine"


class SealedPack(NamedTuple):
    """A pack that has its name, ``<64 hex>.pack``; its rows; by how many bytes the store grew."""

    name: str
    rows: list[bytes]
    growth: int


class OpenPack:
    """A pack without a name, growing entry by entry."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._draft: Draft = backend.draft()
        self._draft.write(HEADER)
        self._entries: list[Entry] = []
        self._bases: set[bytes] = set()
        self.size = len(HEADER)
        """Bytes written so far; the index comes on top."""

    def fits(self, entry: Entry, cap: int) -> bool:
        """Whether the whole pack stays within ``cap`` bytes with this entry, whose offset is 0."""
        is_new_base = entry.base is not None and entry.base not in self._bases
        bases = len(self._bases) + is_new_base
        index_size = ROW_SIZE * (len(self._entries) + 1) + ID_SIZE * bases + TRAILER_SIZE
        return self._place(entry) + entry.stored_size + index_size <= cap

    def add(self, entry: Entry, stored: Buffer) -> None:
        """Write an entry's stored bytes where the format wants them."""
        offset = self._place(entry)
        if offset > self.size:
            self._draft.write(bytes(offset - self.size))
        self._draft.write(stored)
        self._entries.append(entry._replace(offset=offset))
        if entry.base is not None:
            self._bases.add(entry.base)
        self.size = offset + entry.stored_size

    def seal(self) -> SealedPack:
        """Write the index, make all of it durable and give it its name."""
        index = encode_index(self._entries)
        # It was decoded again and found equal; that it says where it stands is left to see.
        decode_trailer(index[-TRAILER_SIZE:], self.size + len(index))
        self._draft.write(index)
        name = pack_name(index) + PACK_SUFFIX
        created = self._publish(pack_key(name))
        rows = [
            index[at : at + ROW_SIZE] for at in range(0, ROW_SIZE * len(self._entries), ROW_SIZE)
        ]
        return SealedPack(name, rows, self._draft.size if created else 0)

    def discard(self) -> None:
        """Forget the bytes; does nothing once the pack is sealed."""
        self._draft.discard()

    def _place(self, entry: Entry) -> int:
        raw_chunk = entry.codec == RAW and entry.kind is Kind.CHUNK
        return align(self.size, entry.stored_size, raw_chunk)

    def _publish(self, key: str) -> bool:
        """Link the pack to its name; False when a sound pack of that name is there already."""
        if self._link(key):
            return True
        if _is_sound(self._backend, key):
            self._draft.discard()
            return False
        _quarantine(self._backend, key)
        if self._link(key):
            return True
        message = f"pack '{key}' came back while its damaged copy was replaced"
        raise StorageError(message, hint="run the same again")

    def _link(self, key: str) -> bool:
        try:
            return self._draft.publish(key)
        except ExistsError:
            return False


def _is_sound(backend: Backend, key: str) -> bool:
    try:
        return not any(problem.is_damage for problem in check_pack(backend, key))
    except NotFoundError:
        # Condemned meanwhile: the name is free again.
        return False


def _quarantine(backend: Backend, key: str) -> None:
    """Take a damaged pack's name away without deleting it, and keep what is there already."""
    name = key.rpartition("/")[2]
    backend.move(key, f"{QUARANTINE}/{os.urandom(4).hex()}-{name}")
    backend.sync(QUARANTINE)

"""Objects from outside the store: from another store, or computed again from any model file.

An id says which bytes it names, so whatever hashes to a wanted id is what was lost.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

from mstore.errors import CorruptError, MstoreError, NotFoundError
from mstore.format.layout import Outline
from mstore.format.objects import decode_object, encode_object
from mstore.ids import Buffer, Kind, ObjectId, hash_object
from mstore.objects import Object, OpaqueFile, TensorFile, Tree, Version
from mstore.ops.chunking import HashedChunk, Hasher
from mstore.ops.outlines import read_outline, tensor_file, tensors_in
from mstore.ops.places import open_place
from mstore.ops.sources import NamedFile, Source, scan_paths
from mstore.ops.walk import records_of
from mstore.parts import Parts


class Found(NamedTuple):
    """An object that was found: bytes that hash to its id."""

    id: ObjectId
    kind: Kind
    content: Buffer


class Origin(Protocol):
    """Where lost objects may be found again."""

    def find(self, wanted: set[ObjectId]) -> Iterator[Found]:
        """What it has of ``wanted``; the set may grow while the caller goes on."""
        ...


def open_origin(path: Path) -> "StoreOrigin | FileOrigin":
    """The store at a path, or the files there; NotFoundError when there is nothing."""
    try:
        return StoreOrigin(open_place(path))
    except NotFoundError as error:
        if error.kind != "no-store":
            raise
    return FileOrigin(scan_paths([path], follow=True).files)


class StoreOrigin:
    """Another store."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def find(self, wanted: set[ObjectId]) -> Iterator[Found]:
        """What the other store can read of ``wanted``."""
        tried: set[ObjectId] = set()
        while rest := wanted - tried:
            tried |= rest
            for oid in sorted(rest):
                location = self.parts.odb.find(oid)
                if location is None:
                    continue
                try:
                    content = self.parts.odb.read(oid)
                except MstoreError:
                    # Damaged there too: another place may have it.
                    continue
                yield Found(oid, location.entry.kind, content)


class FileOrigin:
    """Model files of any kind: cut and described again as ``put`` does."""

    def __init__(self, files: list[NamedFile]) -> None:
        self._files = files

    def find(self, wanted: set[ObjectId]) -> Iterator[Found]:
        """What the files' bytes hash to, as far as it is wanted."""
        for file in self._files:
            before = -1
            # A description found in one pass may want chunks that only the next pass gives.
            while before != len(wanted):
                before = len(wanted)
                with file.open() as source, closing(Hasher()) as hasher:
                    yield from _objects(source, hasher, wanted)


def _objects(source: Source, hasher: Hasher, wanted: set[ObjectId]) -> Iterator[Found]:
    try:
        outline = read_outline(source)
    except CorruptError:
        outline = None
    if outline is not None:
        yield from _tensor_objects(source, outline, hasher, wanted)
    # Such a file may also have been stored as bytes (SPEC §6.3).
    if outline is None or (outline.format != "safetensors" and wanted):
        yield from _opaque_objects(source, hasher, wanted)


def _tensor_objects(
    source: Source, outline: Outline, hasher: Hasher, wanted: set[ObjectId]
) -> Iterator[Found]:
    ids = bytearray()
    for chunk in hasher.tensor_chunks(source, outline):
        yield from _wanted_chunk(chunk, wanted)
        ids += chunk.id
    tensors = list(tensors_in(outline, bytes(ids)))
    for tensor in tensors:
        yield from _wanted(tensor, wanted)
    yield from _wanted(tensor_file(outline, source.size, list(map(_id, tensors))), wanted)


def _opaque_objects(source: Source, hasher: Hasher, wanted: set[ObjectId]) -> Iterator[Found]:
    ids, sizes = bytearray(), []
    for chunk in hasher.opaque_chunks(source):
        yield from _wanted_chunk(chunk, wanted)
        ids += chunk.id
        sizes.append(len(chunk.content))
    yield from _wanted(OpaqueFile(source.size, tuple(sizes), bytes(ids)), wanted)


def _wanted_chunk(chunk: HashedChunk, wanted: set[ObjectId]) -> Iterator[Found]:
    if chunk.id in wanted:
        yield Found(chunk.id, Kind.CHUNK, bytes(chunk.content))


def _id(value: Object) -> ObjectId:
    return hash_object(*encode_object(value))


def _wanted(value: Object, wanted: set[ObjectId]) -> Iterator[Found]:
    kind, payload = encode_object(value)
    oid = hash_object(kind, payload)
    if oid in wanted:
        yield Found(oid, kind, payload)


def described_by(found: Found) -> list[ObjectId]:
    """The ids that an object names, chunks aside: they may have been stripped on purpose."""
    if found.kind is Kind.CHUNK:
        return []
    value = decode_object(found.kind, found.content)
    if isinstance(value, Version):
        parents = (ObjectId(parent.id) for parent in value.parents)
        return [ObjectId(value.tree), *records_of(value), *parents]
    if isinstance(value, Tree):
        return [ObjectId(entry.id) for entry in value.entries]
    if isinstance(value, TensorFile):
        return [ObjectId(oid) for _, oid in value.tensors]
    return []

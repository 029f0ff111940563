"""Files into a transaction: cut, hashed, and written where the store lacks them.

Nothing is visible yet; ``put`` makes a version of it. Regions of a file are read and hashed in
threads, this thread asks in order what the store lacks, threads encode that, and this thread
writes it in order.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple, Protocol

from mstore.codecs import Coded
from mstore.format.layout import Outline, Span, owners
from mstore.ids import Buffer, ObjectId, hash_chunk
from mstore.objects import (
    CHUNK_SIZE,
    EntryType,
    Object,
    OpaqueFile,
    TensorFile,
    Tree,
    TreeEntry,
)
from mstore.ops.chunking import CDC_MIN, HashedChunk, HashedRegion, Hasher
from mstore.ops.deltas import Encoding, TensorEncoding
from mstore.ops.encoding import Encoder, Method
from mstore.ops.outlines import read_outline, tensor_file, tensors_in, why_bytes
from mstore.ops.sources import NamedFile, Source, SourceTree, StoredFile

Progress = Callable[[int, int, int], None]
"""Called with bytes done, bytes in all, and bytes that the store did not hold before."""

Path = tuple[str, ...]
Encode = Callable[[HashedChunk], Coded | None]
"""Encodes one chunk, in any thread; None where it stays raw."""


class Sink(Protocol):
    """Where chunks and objects go: a transaction's writer, or something that only wants ids."""

    @property
    def new_bytes(self) -> int:
        """Bytes taken that were not there before."""
        ...

    def lacks(self, oid: ObjectId) -> bool:
        """Whether a chunk is worth encoding: it is not there yet."""
        ...

    def add_chunk(self, oid: ObjectId, raw: Buffer, coded: Coded | None = None) -> bool:
        """Take a chunk; False when it was there already."""
        ...

    def add_object(self, value: Object) -> ObjectId:
        """Take an object and return its id."""
        ...


class StoredTree(NamedTuple):
    """What was stored: the root tree, and what it amounts to; ``tensors`` are (name, id).

    ``remarks`` say which files seem to have tensors that could not be found.
    """

    id: ObjectId
    files: int
    size: int
    tensors: list[tuple[str, bytes]]
    remarks: tuple[str, ...] = ()


class _Work(NamedTuple):
    """A region, and how each of its chunks is encoded: None for those that stay raw."""

    region: HashedRegion
    encodes: list[Encode | None]


def store_tree(
    writer: Sink,
    source: SourceTree,
    progress: Progress | None = None,
    encoding: Encoding | None = None,
) -> StoredTree:
    """Write what the store lacks of some files, and the objects that describe them.

    Without ``encoding`` all tensors stay raw. CorruptError names a file whose header breaks a
    rule, ConflictError one that changed while it was read.
    """
    with closing(_Intake(writer, source, progress, encoding)) as intake:
        stored: dict[Path, tuple[EntryType, ObjectId]] = {}
        for file in source.files:
            oid = intake.store_file(file)
            stored[file.parts] = ("executable" if file.executable else "file", oid)
    root = store_folders(writer, stored, source.folders)
    return StoredTree(root, len(stored), intake.size, intake.tensors, tuple(intake.remarks))


def store_folders(
    writer: Sink,
    files: Mapping[Path, tuple[EntryType, ObjectId]],
    folders: Sequence[Path],
) -> ObjectId:
    """Store the trees that hold ``files`` and the (possibly empty) ``folders``; the root's id."""
    children: dict[Path, dict[str, TreeEntry]] = {(): {}}
    for path in (*files, *((*folder, "") for folder in folders)):
        for depth in range(1, len(path)):
            children.setdefault(path[:depth], {})
    for path, (type_, oid) in files.items():
        children[path[:-1]][path[-1]] = TreeEntry(path[-1], type_, bytes(oid))
    for path in sorted(children, key=len, reverse=True):
        entries = sorted(children[path].values(), key=lambda entry: entry.name.encode())
        oid = writer.add_object(Tree(tuple(entries)))
        if path:
            children[path[:-1]][path[-1]] = TreeEntry(path[-1], "tree", bytes(oid))
    return oid


class _Intake:
    """One transaction's files, the threads that work on them, and the count of what was done."""

    def __init__(
        self,
        writer: Sink,
        source: SourceTree,
        progress: Progress | None,
        encoding: Encoding | None,
    ) -> None:
        self.size = 0
        self.tensors: list[tuple[str, bytes]] = []
        self.remarks: list[str] = []
        self._done = 0
        read = (file for file in source.files if not isinstance(file.origin, StoredFile))
        self._total = sum(file.size for file in read)
        self._writer, self._progress, self._encoding = writer, progress, encoding
        self._hasher = Hasher()
        self._encoded: set[bytes] = set()

    def close(self) -> None:
        self._hasher.close()

    def store_file(self, file: NamedFile) -> ObjectId:
        if isinstance(file.origin, StoredFile):
            self.size += file.size
            self.tensors += file.origin.tensors
            return file.origin.id
        path = "/".join(file.parts)
        with file.open() as source:
            outline = read_outline(source)
            if outline is None:
                self.remarks += filter(None, [why_bytes(source, path)])
                stored: OpaqueFile | TensorFile = self._opaque(source)
            else:
                stored = self._tensor_file(source, outline, path)
            source.finish()
        self.size += source.size
        return self._writer.add_object(stored)

    def _opaque(self, source: Source) -> OpaqueFile:
        if 0 < source.size <= CDC_MIN:
            return self._one_chunk(source)
        sizes: list[int] = []
        ids = bytearray()
        work = self._opaque_work(self._hasher.opaque_regions(source))
        for chunk in self._store(work, source.size):
            sizes.append(len(chunk.content))
            ids += chunk.id
        return OpaqueFile(source.size, tuple(sizes), bytes(ids))

    def _one_chunk(self, source: Source) -> OpaqueFile:
        """A small file, of which there may be thousands: no regions and no threads."""
        content = memoryview(bytearray(source.size))
        source.read_into(0, content)
        chunk = HashedChunk(hash_chunk(content), content)
        encode = self._encode_of(chunk, _encode_bytes)
        self._add(chunk, encode and encode(chunk))
        return OpaqueFile(source.size, (source.size,), bytes(chunk.id))

    def _opaque_work(self, regions: Iterable[HashedRegion]) -> Iterator[_Work]:
        """The first chunk of a file decides how all of it is encoded."""
        encode: Encode | None = None
        for number, region in enumerate(regions):
            if number == 0:
                method = Encoder().plan(None, region.chunks[0].content)
                encode = partial(_encode_alone, method) if method.alone else None
            yield _Work(region, [self._encode_of(chunk, encode) for chunk in region.chunks])

    def _tensor_file(self, source: Source, outline: Outline, path: str) -> TensorFile:
        encodings = {span: self._tensor_encoding(path, span) for span in owners(outline.spans)}
        slots = _slots(encodings)
        work = (
            _Work(region, [self._encode_of(chunk, next(slots)) for chunk in region.chunks])
            for region in self._hasher.tensor_regions(source, outline)
        )
        ids = b"".join(chunk.id for chunk in self._store(work, source.size))
        oids = [self._writer.add_object(tensor) for tensor in tensors_in(outline, ids)]
        for span, oid in zip(outline.spans, oids, strict=True):
            encoding = encodings.get(span)
            if self._encoding is not None and encoding is not None:
                self._encoding.finish(encoding, oid)
        file = tensor_file(outline, source.size, oids)
        self.tensors += file.tensors
        return file

    def _tensor_encoding(self, path: str, span: Span) -> TensorEncoding | None:
        return None if self._encoding is None else self._encoding.tensor(path, span)

    def _encode_of(self, chunk: HashedChunk, encode: Encode | None) -> Encode | None:
        """``encode`` if the chunk is worth it, being neither there nor on its way."""
        if encode is None or chunk.id in self._encoded or not self._writer.lacks(chunk.id):
            return None
        self._encoded.add(chunk.id)
        return encode

    def _store(self, work: Iterable[_Work], size: int) -> Iterator[HashedChunk]:
        """Encode and write chunks, and give each once it is written."""
        for done, coded in self._hasher.in_order(_encode, work, size):
            for chunk, stored in zip(done.chunks, coded, strict=True):
                self._add(chunk, stored)
                yield chunk
            done.release()

    def _add(self, chunk: HashedChunk, stored: Coded | None) -> None:
        self._writer.add_chunk(chunk.id, chunk.content, stored)
        self._encoded.discard(chunk.id)
        self._done += len(chunk.content)
        if self._progress is not None:
            self._progress(self._done, self._total, self._writer.new_bytes)


def _encode(work: _Work) -> tuple[HashedRegion, list[Coded | None]]:
    chunks = zip(work.region.chunks, work.encodes, strict=True)
    return work.region, [encode and encode(chunk) for chunk, encode in chunks]


def _encode_bytes(chunk: HashedChunk) -> Coded | None:
    return Encoder().plan(None, chunk.content).encode(chunk.content)


def _encode_alone(method: Method, chunk: HashedChunk) -> Coded | None:
    return method.encode(chunk.content)


def _slots(encodings: Mapping[Span, TensorEncoding | None]) -> Iterator[Encode | None]:
    """How each chunk of a file's tensors is encoded, in the order of the file's bytes."""
    for span, encoding in encodings.items():
        for number in range(-(-(span.stop - span.start) // CHUNK_SIZE)):
            yield None if encoding is None else partial(encoding.encode, number)

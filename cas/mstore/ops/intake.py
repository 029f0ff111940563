"""Files into a transaction: cut, hashed, and written where the store lacks them.

Nothing is visible yet; ``put`` makes a version of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol

from mstore.format.safetensors import Header
from mstore.ids import ID_SIZE, Buffer, ObjectId
from mstore.objects import (
    CHUNK_SIZE,
    EntryType,
    Object,
    OpaqueFile,
    Tensor,
    TensorFile,
    Tree,
    TreeEntry,
)
from mstore.ops.chunking import HashedChunk, Hasher, read_header
from mstore.ops.sources import NamedFile, Source, SourceTree

Progress = Callable[[int, int, int], None]
"""Called with bytes done, bytes in all, and bytes that the store did not hold before."""

_SNIFF = 8 << 10

Path = tuple[str, ...]


class Sink(Protocol):
    """Where chunks and objects go: a transaction's writer, or something that only wants ids."""

    @property
    def new_bytes(self) -> int:
        """Bytes taken that were not there before."""
        ...

    def add_chunk(self, oid: ObjectId, raw: Buffer, *, codec_hint: str = "raw") -> bool:
        """Take a chunk; False when it was there already."""
        ...

    def add_object(self, value: Object) -> ObjectId:
        """Take an object and return its id."""
        ...


class StoredTree(NamedTuple):
    """What was stored: the root tree, and what it amounts to; ``tensors`` are (name, id)."""

    id: ObjectId
    files: int
    size: int
    tensors: list[tuple[str, bytes]]


def store_tree(writer: Sink, source: SourceTree, progress: Progress | None = None) -> StoredTree:
    """Write what the store lacks of some files, and the objects that describe them.

    CorruptError names a file whose header breaks a rule, ConflictError one that changed while it
    was read.
    """
    with closing(_Intake(writer, source, progress)) as intake:
        stored: dict[Path, tuple[EntryType, ObjectId]] = {}
        for file in source.files:
            oid = intake.store_file(file)
            stored[file.parts] = ("executable" if file.executable else "file", oid)
    root = store_folders(writer, stored, source.folders)
    return StoredTree(root, len(stored), intake.size, intake.tensors)


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
    """One transaction's files, with the threads that hash them and the count of what was done."""

    def __init__(self, writer: Sink, source: SourceTree, progress: Progress | None) -> None:
        self.size = 0
        self.tensors: list[tuple[str, bytes]] = []
        self._done = 0
        self._total = sum(file.size for file in source.files)
        self._writer, self._progress = writer, progress
        self._hasher = Hasher()

    def close(self) -> None:
        self._hasher.close()

    def store_file(self, file: NamedFile) -> ObjectId:
        with file.open() as source:
            header = read_header(source)
            stored = self._opaque(source) if header is None else self._tensors(source, header)
            source.finish()
        self.size += source.size
        return self._writer.add_object(stored)

    def _opaque(self, source: Source) -> OpaqueFile:
        sizes: list[int] = []
        chunks = self._hasher.opaque_chunks(source)
        ids = self._store(chunks, sizes.append, hint=None)
        return OpaqueFile(source.size, tuple(sizes), ids)

    def _tensors(self, source: Source, header: Header) -> TensorFile:
        chunks = self._hasher.tensor_chunks(source, header)
        ids = self._store(chunks, lambda _: None, hint="raw")
        tensors, at = [], 0
        for span in header.spans:
            size = -(-(span.stop - span.start) // CHUNK_SIZE) * ID_SIZE
            oid = self._writer.add_object(Tensor(span.dtype, span.shape, ids[at : at + size]))
            tensors.append((span.name, bytes(oid)))
            at += size
        self.tensors += tensors
        return TensorFile("safetensors", source.size, bytes(header.header), tuple(tensors))

    def _store(
        self, chunks: Iterable[HashedChunk], note: Callable[[int], object], hint: str | None
    ) -> bytes:
        """Write chunks and return their ids; without a hint the first chunk decides."""
        ids = bytearray()
        for chunk in chunks:
            hint = hint or _codec_hint(chunk.content)
            self._writer.add_chunk(chunk.id, chunk.content, codec_hint=hint)
            size = len(chunk.content)
            note(size)
            ids += chunk.id
            self._done += size
            if self._progress is not None:
                self._progress(self._done, self._total, self._writer.new_bytes)
        return bytes(ids)


def _codec_hint(content: memoryview) -> str:
    return "raw" if b"\0" in bytes(content[:_SNIFF]) else "text"

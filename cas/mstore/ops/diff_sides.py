"""What is compared: versions of a store, or files and folders on disk, made alike.

Of a version nothing is read but its description. What lies on disk is hashed once, as ``put``
would; what is read of it stays open, and ``close`` raises ConflictError when it changed meanwhile.
"""

from collections import Counter
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from msgspec import Struct
from msgspec.structs import replace

from mstore.errors import InvalidInputError, NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.format.objects import encode_object
from mstore.format.safetensors import parse_header
from mstore.ids import ObjectId, hash_model, hash_object
from mstore.notes import metrics_of, notes_of
from mstore.objects import CHUNK_SIZE, File, Object, OpaqueFile, Tensor, TensorFile, Tree, Version
from mstore.ops.ids_only import WithoutChunks
from mstore.ops.intake import store_tree
from mstore.ops.payload import (
    Piece,
    Placed,
    opaque_pieces,
    read_all,
    require_payload,
    tensor_pieces,
)
from mstore.ops.sources import Source, scan_paths
from mstore.ops.walk import FoundFile, walk_files
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

if TYPE_CHECKING:
    from mstore.ops.leading import LeadingReader

_PATH_STARTS = ("/", "./", "../", "~/")


class SideTensor(NamedTuple):
    """A tensor of one side. ``key`` is its name, or ``path#name`` where a name occurs twice."""

    key: str
    path: str
    name: str
    id: ObjectId
    tensor: Tensor

    @property
    def size(self) -> int:
        """Its bytes."""
        return tensor_size(self.tensor.dtype, self.tensor.shape)

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """Its dtype and shape."""
        return self.tensor.dtype, self.tensor.shape


class DiffSide(Struct, frozen=True):
    """One of the things compared.

    ``version`` is None for what lies on disk, and ``place`` then its path. Sizes are bytes.
    """

    label: str
    version: ObjectId | None
    place: str | None
    model_hash: ObjectId | None
    size_bytes: int
    tensors: int


class Side(Protocol):
    """What a comparison asks of either side."""

    shown: DiffSide
    single: bool
    described: Version | None
    files: dict[str, FoundFile]
    tensors: dict[str, SideTensor]

    def stored_size(self, leading: "LeadingReader") -> int:
        """Bytes that reading every tensor whole would take, as ``leading`` counts them."""

    def read_leading(
        self, tensor: SideTensor, start: int, buffer: memoryview, leading: "LeadingReader"
    ) -> int:
        """As ``read`` of one whole chunk, the middles that leading bits give.

        Bytes read that ``leading`` does not count itself are returned.
        """

    def read(self, tensor: SideTensor, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes of a tensor from ``start``; verified."""

    def content(self, path: str) -> bytes:
        """The bytes of a file that holds no tensors."""

    def metadata(self, path: str) -> dict[str, str]:
        """The ``__metadata__`` of a file of tensors."""

    def close(self) -> None:
        """Let go of what is open."""


def open_side(parts: Parts | None, text: str) -> Side:
    """The side that ``text`` names: a revision if there is one, else a path.

    What begins with "/", "./", "../" or "~/" is always a path. NotFoundError when it is neither.
    """
    path = Path(text).expanduser()
    if text.startswith(_PATH_STARTS) or parts is None:
        return _PathSide(text, path)
    try:
        target = resolve(parts, text)
    except (NotFoundError, InvalidInputError):
        if not path.exists():
            raise
        return _PathSide(text, path)
    return _VersionSide(parts, target)


class _VersionSide:
    """A version, or one file of it."""

    def __init__(self, parts: Parts, target: Resolved) -> None:
        if target.tensor is not None:
            raise InvalidInputError(
                f"'{target.text}' is a part of a file", hint="name the version or the file"
            )
        self._parts, self._target = parts, target
        version = parts.odb.version(target.version)
        notes = notes_of(parts, target.version)
        self.described: Version | None = replace(
            version,
            metrics=metrics_of(version, notes),
            tags=tuple(
                dict.fromkeys((*version.tags, *(t for row in notes for t in row.note.tags)))
            ),
        )
        found = walk_files(parts.odb, version.tree)
        self.files = {file.path: file for file in found if target.path in (None, file.path)}
        if not self.files and target.path is not None:
            hint = f"see its files: mstore show {target.label}"
            raise NotFoundError(f"'{target.label}' has no file '{target.path}'", hint=hint)
        self.single = version.single or target.path is not None
        self.tensors = _tensors(self.files, parts.odb.tensor)
        label = target.label + (f":{target.path}" if target.path else "")
        self.shown = _shown(self, label, target.version, None)

    def read(self, tensor: SideTensor, start: int, buffer: memoryview) -> None:
        stop = start + len(buffer)
        for piece in tensor_pieces(tensor.tensor):
            low, high = max(piece.start, start), min(piece.start + piece.size, stop)
            if low < high:
                self._read(piece, low - piece.start, buffer[low - start : high - start])

    def stored_size(self, leading: "LeadingReader") -> int:
        return leading.stored_size(tensor.tensor for tensor in self.tensors.values())

    def read_leading(
        self, tensor: SideTensor, start: int, buffer: memoryview, leading: "LeadingReader"
    ) -> int:
        piece = tensor_pieces(tensor.tensor)[start // CHUNK_SIZE]
        require_payload(self._parts, self._target, piece.id)
        placed = [Placed(piece.id, piece.size, buffer)]
        leading.read_middle(leading.wanted(tensor.tensor.dtype, placed))
        return 0

    def _read(self, piece: Piece, start: int, buffer: memoryview) -> None:
        require_payload(self._parts, self._target, piece.id)
        if len(buffer) == piece.size:
            read_all(self._parts.odb, [Placed(piece.id, piece.size, buffer)])
        else:
            content = memoryview(self._parts.odb.read(piece.id))
            buffer[:] = content[start : start + len(buffer)]

    def content(self, path: str) -> bytes:
        file = self.files[path].file
        assert isinstance(file, OpaqueFile)
        content = bytearray(file.size)
        for piece in opaque_pieces(file):
            target = memoryview(content)[piece.start : piece.start + piece.size]
            self._read(piece, 0, target)
        return bytes(content)

    def metadata(self, path: str) -> dict[str, str]:
        return _metadata(self.files[path].file)

    def close(self) -> None:
        """Nothing is open."""


class _PathSide:
    """A file or a folder on disk."""

    def __init__(self, text: str, path: Path) -> None:
        source = scan_paths([path])
        self.described: Version | None = None
        self.single = source.single
        self._stack, self._lock = ExitStack(), Lock()
        self._sources: dict[str, Source] = {}
        self._named = {"/".join(file.parts): file for file in source.files}
        objects = _Objects()
        root = store_tree(objects, source)
        self.files = {file.path: file for file in walk_files(objects, root.id)}
        self.tensors = _tensors(self.files, objects.tensor)
        self._starts = {
            path: _starts(file.file, objects.tensor) for path, file in self.files.items()
        }
        self.shown = _shown(self, text, None, str(path.absolute()))

    def read(self, tensor: SideTensor, start: int, buffer: memoryview) -> None:
        self._open(tensor.path).read_into(self._starts[tensor.path][tensor.name] + start, buffer)

    def content(self, path: str) -> bytes:
        source = self._open(path)
        content = bytearray(source.size)
        source.read_into(0, memoryview(content))
        return bytes(content)

    def metadata(self, path: str) -> dict[str, str]:
        return _metadata(self.files[path].file)

    def close(self) -> None:
        """ConflictError when a file changed since it was opened."""
        with self._stack:
            for source in self._sources.values():
                source.finish()

    def stored_size(self, leading: "LeadingReader") -> int:
        del leading
        return sum(tensor.size for tensor in self.tensors.values())

    def read_leading(
        self, tensor: SideTensor, start: int, buffer: memoryview, leading: "LeadingReader"
    ) -> int:
        self.read(tensor, start, buffer)
        leading.to_middle(tensor.tensor.dtype, buffer)
        return len(buffer)

    def _open(self, path: str) -> Source:
        with self._lock:
            if path not in self._sources:
                self._sources[path] = self._stack.enter_context(self._named[path].open())
            return self._sources[path]


class _Objects(WithoutChunks):
    """The objects that files on disk would be, without their chunks."""

    def __init__(self) -> None:
        self._objects: dict[bytes, Object] = {}

    def add_object(self, value: Object) -> ObjectId:
        """Keep an object; its id."""
        oid = hash_object(*encode_object(value))
        self._objects[oid] = value
        return oid

    def tree(self, oid: bytes) -> Tree:
        """A tree that was added."""
        found = self._objects[oid]
        assert isinstance(found, Tree)
        return found

    def file(self, oid: bytes) -> File:
        """A file that was added."""
        found = self._objects[oid]
        assert isinstance(found, OpaqueFile | TensorFile)
        return found

    def tensor(self, oid: bytes) -> Tensor:
        """A tensor that was added."""
        found = self._objects[oid]
        assert isinstance(found, Tensor)
        return found


class _Tensors(Protocol):
    def __call__(self, oid: bytes) -> Tensor: ...


def _tensors(files: dict[str, FoundFile], tensor: _Tensors) -> dict[str, SideTensor]:
    found = [
        (path, name, ObjectId(oid))
        for path, file in files.items()
        if isinstance(file.file, TensorFile)
        for name, oid in file.file.tensors
    ]
    times = Counter(name for _, name, _ in found)
    keys = [f"{path}#{name}" if times[name] > 1 else name for path, name, _ in found]
    return {
        key: SideTensor(key, path, name, oid, tensor(oid))
        for key, (path, name, oid) in zip(keys, found, strict=True)
    }


def _shown(side: Side, label: str, version: ObjectId | None, place: str | None) -> DiffSide:
    pairs = [(tensor.name, tensor.id) for tensor in side.tensors.values()]
    return DiffSide(
        label=label,
        version=version,
        place=place,
        model_hash=hash_model(pairs) if pairs else None,
        size_bytes=sum(file.file.size for file in side.files.values()),
        tensors=len(pairs),
    )


def _metadata(file: File) -> dict[str, str]:
    if not isinstance(file, TensorFile) or file.format != "safetensors":
        return {}
    return parse_header(file.header, file.size).metadata


def _starts(file: File, tensor: _Tensors) -> dict[str, int]:
    """Where in a file the bytes of each of its tensors begin."""
    if not isinstance(file, TensorFile):
        return {}
    names = (name for name, _ in file.tensors)
    if file.places:
        return dict(zip(names, file.places, strict=True))
    found = (tensor(oid) for _, oid in file.tensors)
    sizes = (tensor_size(value.dtype, value.shape) for value in found)
    return dict(zip(names, accumulate(sizes, initial=len(file.header)), strict=False))


class Sides(NamedTuple):
    """All sides of a comparison; a context manager that closes them."""

    base: Side
    others: tuple[Side, ...]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for side in (self.base, *self.others):
                stack.callback(side.close)


def open_sides(parts: Parts | None, texts: tuple[str, ...]) -> Sides:
    """The sides of two or more revisions or paths; InvalidInputError for fewer."""
    if len(texts) < 2:  # noqa: PLR2004 - a comparison has two sides
        raise InvalidInputError("a comparison takes two or more", hint="mstore diff A B")
    with ExitStack() as stack:
        opened = []
        for text in texts:
            side = open_side(parts, text)
            stack.callback(side.close)
            opened.append(side)
        stack.pop_all()
    return Sides(opened[0], tuple(opened[1:]))

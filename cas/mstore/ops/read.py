"""Tensors and rows by name, without unpacking anything; whole models into memory.

A tensor whose chunks lie raw and one after another in a pack is given as a copy-on-write map of
the pack: nothing is copied, and what the caller writes into it stays with the caller.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from mstore.adapters import framework as adapter
from mstore.errors import InvalidInputError, NotFoundError, UnsupportedError
from mstore.format.dtypes import tensor_size
from mstore.format.safetensors import parse_header
from mstore.ids import ObjectId
from mstore.objects import OpaqueFile, Tensor, TensorFile
from mstore.ops.memory import Arena
from mstore.ops.outlines import why_not_loaded
from mstore.ops.payload import (
    Placed,
    each_batch,
    heal_all,
    place,
    read_all,
    require_payload,
    tensor_pieces,
)
from mstore.ops.walk import FoundFile, split_ids, walk_files
from mstore.parts import Parts
from mstore.revision import Resolved, resolve

if TYPE_CHECKING:
    from mstore.ops.leading import LeadingReader


class Reader:
    """The tensors of one version, read when asked for; the methods of ``safetensors.safe_open``.

    A tensor name that occurs in several files of the version is written ``path#name``.
    """

    def __init__(
        self, parts: Parts, text: str, framework: str = "numpy", bits: int | None = None
    ) -> None:
        """With ``bits`` floats are read as far as their leading bits and given as the middle."""
        self._parts = parts
        self._leading = None if bits is None else leading_reader(parts, bits)
        self._target = resolve(parts, text)
        self._adapter = adapter(framework)
        self._files = self._tensor_files()
        self._ids = self._collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to give back: arrays stay good after the reader has gone."""

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def __getitem__(self, name: str) -> "TensorSlice":
        return self.get_slice(name)

    @property
    def version(self) -> ObjectId:
        """The id of the version that is read."""
        return self._target.version

    def keys(self) -> list[str]:
        """The names of the tensors, in the order of the files."""
        return list(self._ids)

    def metadata(self) -> dict[str, str]:
        """The ``__metadata__`` of the version's safetensors files, later files winning."""
        found: dict[str, str] = {}
        for _, file in self._files:
            if file.format == "safetensors":
                found |= parse_header(file.header, file.size).metadata
        return found

    def get_slice(self, name: str) -> "TensorSlice":
        """A tensor of which nothing is read yet; NotFoundError for an unknown name."""
        return TensorSlice(self, name, self.tensor(name))

    def get_tensor(self, name: str, *, verify: bool = True) -> Any:  # noqa: ANN401 - an array
        """One whole tensor. ``verify=False`` skips hashing, for mapped tensors only."""
        tensor = self.tensor(name)
        content = self.content(tensor, verify=verify)
        return self._adapter.array(tensor.dtype, tensor.shape, content)

    def load(self, *, verify: bool = True) -> dict[str, Any]:
        """Every tensor by name. Hashes on several threads unless ``verify`` is off.

        UnsupportedError when there are none because a file with weights is not understood.
        """
        self._require_tensors()
        tensors = {name: self.tensor(name) for name in self._ids}
        contents = self._contents(list(tensors.values()), verify=verify)
        return {
            name: self._adapter.array(tensor.dtype, tensor.shape, content)
            for (name, tensor), content in zip(tensors.items(), contents, strict=True)
        }

    def bounds(self, name: str) -> tuple[Any, Any]:
        """Between which arrays the numbers of a tensor lie; twice the tensor without ``bits``."""
        tensor = self.tensor(name)
        if self._leading is None:
            low = high = self.content(tensor)
        else:
            self._require([tensor])
            low, high = self._leading.bounds(tensor)
        shown = (tensor.dtype, tensor.shape)
        return self._adapter.array(*shown, low), self._adapter.array(*shown, high)

    @property
    def bytes_read(self) -> int:
        """Bytes of packs that were read for leading bits so far; 0 without ``bits``."""
        return 0 if self._leading is None else self._leading.bytes_read

    @property
    def stored_bytes(self) -> int:
        """Bytes of packs that reading every number whole would take; 0 without ``bits``."""
        if self._leading is None:
            return 0
        return self._leading.stored_size(self.tensor(name) for name in self._ids)

    def content(self, tensor: Tensor, *, verify: bool = True) -> memoryview:
        """The bytes of a tensor: a map where one is possible, else a copy that is verified."""
        return self._contents([tensor], verify=verify)[0]

    def rows(self, tensor: Tensor, start: int, stop: int) -> Any:  # noqa: ANN401 - an array
        """Rows ``[start, stop)`` of the first dimension, touching only their chunks."""
        shape = (stop - start, *tensor.shape[1:])
        return self._adapter.array(tensor.dtype, shape, self.row_bytes(tensor, start, stop))

    def row_bytes(self, tensor: Tensor, start: int, stop: int) -> memoryview:
        """The bytes of rows ``[start, stop)``; whole chunks are read, so that all is verified."""
        count = tensor.shape[0]
        row = tensor_size(tensor.dtype, tensor.shape) // count if count else 0
        low, high = start * row, stop * row
        pieces = [p for p in tensor_pieces(tensor) if p.start < high and p.start + p.size > low]
        if not pieces:
            return memoryview(bytearray())
        for piece in pieces:
            require_payload(self._parts, self._target, piece.id)
        origin = pieces[0].start
        buffer = memoryview(bytearray(sum(piece.size for piece in pieces)))
        placed = place(pieces, buffer, origin)
        if self._leading is None:
            each_batch(placed, partial(read_all, self._parts.odb))
        else:
            wanted = self._leading.wanted(tensor.dtype, placed)
            each_batch(wanted, self._leading.read_middle)
        return buffer[low - origin : high - origin]

    def tensor(self, name: str) -> Tensor:
        """The description of a tensor; NotFoundError for an unknown name."""
        self._require_tensors()
        if name not in self._ids:
            raise NotFoundError(
                f"'{self._target.text}' has no tensor '{name}'",
                hint=f"see them: mstore tensors {self._target.text}",
            )
        return self._parts.odb.tensor(self._ids[name])

    def _require_tensors(self) -> None:
        """Say what is wrong with a file of weights that is kept as bytes, if nothing is there."""
        for found in () if self._ids else self._walk():
            if not isinstance(found.file, OpaqueFile):
                continue
            reason = why_not_loaded(self._parts.odb, found.file)
            if reason:
                raise UnsupportedError(
                    f"'{found.path}' of '{self._target.text}' cannot be loaded: {reason}",
                    hint="it is kept as bytes, which mstore get writes; nothing in it was run",
                )

    def _walk(self) -> list[FoundFile]:
        tree = self._parts.odb.version(self._target.version).tree
        files = walk_files(self._parts.odb, tree)
        return [found for found in files if self._target.path in (None, found.path)]

    def _tensor_files(self) -> list[tuple[str, TensorFile]]:
        return [
            (found.path, found.file) for found in self._walk() if isinstance(found.file, TensorFile)
        ]

    def _collect(self) -> dict[str, ObjectId]:
        found = [(path, *tensor) for path, file in self._files for tensor in file.tensors]
        times = Counter(name for _, name, _ in found)
        return {
            f"{path}#{name}" if times[name] > 1 else name: ObjectId(oid)
            for path, name, oid in found
        }

    def _contents(self, tensors: list[Tensor], *, verify: bool) -> list[memoryview]:
        if self._leading is not None:
            self._require(tensors)
            return self._leading.middle(tensors)
        contents: list[memoryview] = []
        mapped: list[Placed] = []
        copied: list[Placed] = []
        arena = Arena(sum(tensor_size(tensor.dtype, tensor.shape) for tensor in tensors))
        for tensor in tensors:
            content, is_map = self._place(tensor, arena)
            contents.append(content)
            (mapped if is_map else copied).extend(place(tensor_pieces(tensor), content))
        if verify:
            each_batch(mapped, partial(heal_all, self._parts.odb))
        each_batch(copied, partial(read_all, self._parts.odb))
        return contents

    def _require(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            for oid in split_ids(tensor.chunks):
                require_payload(self._parts, self._target, oid)

    def _place(self, tensor: Tensor, arena: Arena) -> tuple[memoryview, bool]:
        chunks = split_ids(tensor.chunks)
        extent = self._parts.odb.extent(chunks) if chunks else None
        if extent is not None:
            key, offset, size = extent
            return self._parts.odb.map(key)[offset : offset + size], True
        self._require([tensor])
        return arena.take(tensor_size(tensor.dtype, tensor.shape)), False


class TensorSlice:
    """One tensor, of which rows are read when asked for."""

    def __init__(self, reader: Reader, name: str, tensor: Tensor) -> None:
        self.name = name
        self._reader = reader
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        """The shape of the whole tensor."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """The safetensors name of the dtype."""
        return self._tensor.dtype

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - what NumPy takes as an index
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if not self._tensor.shape or first is Ellipsis or not isinstance(first, int | slice):
            return self._reader.get_tensor(self.name)[key]
        count = self._tensor.shape[0]
        if isinstance(first, int):
            start = first + count if first < 0 else first
            if not 0 <= start < count:
                raise InvalidInputError(f"'{self.name}' has {count} rows, not row {first}")
            return self._reader.rows(self._tensor, start, start + 1)[0][rest or ...]
        start, stop, step = first.indices(count)
        if step < 0:
            return self._reader.get_tensor(self.name)[key]
        rows = self._reader.rows(self._tensor, start, max(start, stop))
        return rows[(slice(None, None, step), *rest)]


def leading_reader(parts: Parts, bits: int) -> "LeadingReader":
    """A reader of leading bits. NumPy is loaded only now."""
    from mstore.ops.leading import LeadingReader  # noqa: PLC0415 (see above)

    return LeadingReader(parts.odb, bits)


def tensor_bytes(parts: Parts, target: Resolved, bits: int | None = None) -> memoryview:
    """The bytes of the tensor, or of the rows of it, that a revision names.

    With ``bits`` its floats are the middle of where their leading bits let them lie.
    """
    reader = Reader(parts, target.text.partition("#")[0], bits=bits)
    tensor = reader.tensor(target.tensor or "")
    if target.rows is None:
        return reader.content(tensor)
    count = tensor.shape[0] if tensor.shape else 0
    if isinstance(target.rows, int):
        start = target.rows + count if target.rows < 0 else target.rows
        if not 0 <= start < count:
            raise InvalidInputError(f"'{target.text}': there are {count} rows")
        return reader.row_bytes(tensor, start, start + 1)
    start, stop, _ = target.rows.indices(count)
    return reader.row_bytes(tensor, start, max(start, stop))

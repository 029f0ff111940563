"""Which tensors of the store a new tensor may be stored as a difference from.

First the tensors of the same name in the versions it came from. What is suggested here is only a
suggestion: whether a difference pays is tried, and nothing goes wrong when it does not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from threading import Lock
from typing import NamedTuple

from mstore.errors import MstoreError
from mstore.format.dtypes import DTYPE_BITS, tensor_size
from mstore.format.layout import Span
from mstore.ids import ID_SIZE, ObjectId
from mstore.objects import CHUNK_SIZE, Tensor, TensorFile
from mstore.odb import ObjectDatabase
from mstore.ops.encoding import Base
from mstore.ops.walk import walk_files

MAX_DEPTH = 8
"""How many differences may stand between a chunk that is written and one that needs no base."""


class BaseTensor(NamedTuple):
    """A tensor that fits another one well enough to be its base.

    ``rows`` are the bytes of a row of the other one and of this one where they differ, else zeros.
    """

    chunks: bytes
    rows: tuple[int, int] = (0, 0)

    def chunk(self, number: int) -> ObjectId | None:
        """The chunk with this number, None beyond the last one."""
        packed = self.chunks[number * ID_SIZE : (number + 1) * ID_SIZE]
        return ObjectId(packed) if packed else None


class Bases:
    """The tensors of some versions, those of the first version first; read when first needed."""

    def __init__(self, odb: ObjectDatabase, versions: Sequence[ObjectId]) -> None:
        self._odb = odb
        self._versions = versions
        self._lock = Lock()
        self._names: list[_Names] | None = None
        self._buffers: list[bytearray] = []

    def named(self, path: str, span: Span) -> Iterator[BaseTensor]:
        """The tensors of the same name that fit, by path and name before name alone."""
        with self._lock:
            if self._names is None:
                self._names = [_Names(self._odb, version) for version in self._versions]
        for names in self._names:
            oid = names.find(path, span.name)
            base = None if oid is None else self.fitting(oid, span)
            if base is not None:
                yield base

    def fitting(self, tensor_id: ObjectId, span: Span) -> BaseTensor | None:
        """A tensor as a base for another one, None where it is of another kind or unreadable."""
        with suppress(MstoreError):
            return fit(span, self._odb.tensor(tensor_id))
        return None

    @contextmanager
    def chunk(self, base: BaseTensor, number: int, own: ObjectId) -> Iterator[Base | None]:
        """The chunk of a base that a chunk ``own`` may differ from; None when there is none.

        It is verified: a difference from damaged bytes would be lost when they are repaired. Its
        bytes are valid within the block.
        """
        found = base.chunk(number)
        if found is None or not self._odb.is_live(found):
            yield None
            return
        # Pages that are fresh from the kernel cost more than what is decoded into them.
        buffer = self._buffers.pop() if self._buffers else bytearray(CHUNK_SIZE)
        try:
            yield self._read(own, found, memoryview(buffer))
        finally:
            self._buffers.append(buffer)

    def _read(self, own: ObjectId, oid: ObjectId, buffer: memoryview) -> Base | None:
        with suppress(MstoreError):
            chain = [location.entry for location in self._odb.chain(oid)]
            # Another program may have stored the same chunk since this one was found lacking.
            if any(entry.id == own for entry in chain):
                return None
            # A chain with no room for another link is begun anew, where it began.
            base = chain[0] if len(chain) <= MAX_DEPTH else chain[-1]
            content = buffer[: base.raw_size]
            self._odb.read_into(base.id, content)
            return Base(base.id, content)
        return None


class _Names:
    """The tensors of one version by name; empty where its description cannot be read."""

    def __init__(self, odb: ObjectDatabase, version: ObjectId) -> None:
        self._by_path: dict[tuple[str, str], bytes] = {}
        self._by_name: dict[str, bytes] = {}
        with suppress(MstoreError):
            for found in walk_files(odb, odb.version(version).tree):
                if isinstance(found.file, TensorFile):
                    for name, oid in found.file.tensors:
                        self._by_path[found.path, name] = oid
                        self._by_name.setdefault(name, oid)

    def find(self, path: str, name: str) -> ObjectId | None:
        oid = self._by_path.get((path, name)) or self._by_name.get(name)
        return None if oid is None else ObjectId(oid)


def fit(span: Span, tensor: Tensor) -> BaseTensor | None:
    """``tensor`` as a base for the tensor of ``span``; None when their bytes do not line up.

    They do when the dtypes are equal and the shapes are, or when no more than the first
    dimension and one other differ. Rows of another length line up only within one chunk.
    """
    if tensor.dtype != span.dtype or not tensor.chunks:
        return None
    size = tensor_size(tensor.dtype, tensor.shape)
    own = span.stop - span.start
    if tensor.shape[1:] == span.shape[1:] or size == own:
        return BaseTensor(tensor.chunks)
    rows = _rows(span.dtype, span.shape, tensor.shape)
    if rows is None or max(size, own) > CHUNK_SIZE:
        return None
    return BaseTensor(tensor.chunks, rows)


def _rows(dtype: str, shape: Sequence[int], other: Sequence[int]) -> tuple[int, int] | None:
    if len(shape) != len(other):
        return None
    changed = [axis for axis in range(1, len(shape)) if shape[axis] != other[axis]]
    bits = DTYPE_BITS[dtype]
    if len(changed) != 1 or bits % 8:
        return None
    axis = changed[0]
    width = bits // 8
    return prod(shape[axis:]) * width, prod(other[axis:]) * width

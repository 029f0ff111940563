"""Chunks out of the store, verified, on several threads; and whether they are there at all."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

from mstore.errors import NotFoundError
from mstore.format.dtypes import tensor_size
from mstore.format.layout import LiteralPart, TensorPart, layout
from mstore.ids import ObjectId, hash_chunk
from mstore.objects import CHUNK_SIZE, File, OpaqueFile, Tensor, TensorFile
from mstore.odb import ObjectDatabase
from mstore.ops.places import stripped_error
from mstore.ops.walk import split_ids
from mstore.parts import Parts
from mstore.revision import Resolved

THREADS = min(4, os.cpu_count() or 1)
BATCH = 4 << 20
"""Bytes that one task reads; for less than that, starting threads costs more than it gains."""
_HINT_FSCK = "run: mstore fsck --full, then mstore fsck --repair --from PLACE"


class Piece(NamedTuple):
    """A chunk and where its bytes stand in what is being rebuilt."""

    id: ObjectId
    start: int
    size: int


class Placed(NamedTuple):
    """A chunk and the memory that holds, or is to hold, its bytes."""

    id: ObjectId
    size: int
    view: memoryview


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


SizedT = TypeVar("SizedT", bound=_Sized)


def tensor_pieces(tensor: Tensor, start: int = 0) -> list[Piece]:
    """The chunks of a tensor whose first byte stands at ``start``."""
    left = tensor_size(tensor.dtype, tensor.shape)
    pieces = []
    for oid in split_ids(tensor.chunks):
        size = min(CHUNK_SIZE, left)
        pieces.append(Piece(oid, start, size))
        start, left = start + size, left - size
    return pieces


def opaque_pieces(file: OpaqueFile) -> list[Piece]:
    """The chunks of an opaque file."""
    start, pieces = 0, []
    for oid, size in zip(split_ids(file.chunks), file.sizes, strict=True):
        pieces.append(Piece(oid, start, size))
        start += size
    return pieces


def tensors_of(odb: ObjectDatabase, file: TensorFile) -> list[Tensor]:
    """The tensors of a file, in their order."""
    return [odb.tensor(ObjectId(oid)) for _, oid in file.tensors]


def layout_of(file: TensorFile, tensors: Sequence[Tensor]) -> list[LiteralPart | TensorPart]:
    """The bytes of a file in their order; CorruptError unless its tensors fit it."""
    return layout(file, [tensor_size(tensor.dtype, tensor.shape) for tensor in tensors])


def file_pieces(odb: ObjectDatabase, file: File) -> Iterator[LiteralPart | Piece]:
    """The bytes of a file in their order: literal ones, and chunks; errors as ``layout_of``."""
    if isinstance(file, OpaqueFile):
        yield from opaque_pieces(file)
        return
    tensors = tensors_of(odb, file)
    for part in layout_of(file, tensors):
        if isinstance(part, LiteralPart):
            yield part
        else:
            yield from tensor_pieces(tensors[part.number], part.start)


def batches(items: Iterable[SizedT], most: int | None = None) -> Iterator[list[SizedT]]:
    """Items in groups of about 4 MiB, and of ``most``, so that small ones cost no task each."""
    group: list[SizedT] = []
    total = 0
    for item in items:
        if group and (total + item.size > BATCH or len(group) == most):
            yield group
            group, total = [], 0
        group.append(item)
        total += item.size
    if group:
        yield group


def each_batch(
    items: Sequence[SizedT],
    work: Callable[[list[SizedT]], None],
    done: Callable[[int], None] = lambda _: None,
    *,
    threads: int = THREADS,
) -> None:
    """Call ``work`` on batches of items, on several threads if there is much to do.

    The first error ends it.
    ``done`` hears, on the calling thread, how many bytes each batch had.
    """
    if sum(item.size for item in items) <= BATCH:
        for batch in batches(items):
            work(batch)
            done(sum(item.size for item in batch))
        return
    in_threads(batches(items), work, done, threads)


def in_threads(
    groups: Iterable[list[SizedT]],
    work: Callable[[list[SizedT]], None],
    done: Callable[[int], None],
    threads: int,
) -> None:
    """Call ``work`` on groups of items on other threads, as ``each_batch`` does.

    The groups are made on this one, a few ahead.
    """
    waiting: deque[tuple[int, Future[None]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="mstore-read") as pool:
        try:
            for batch in groups:
                waiting.append((sum(item.size for item in batch), pool.submit(work, batch)))
                if len(waiting) > threads:
                    _finish(waiting, done)
            while waiting:
                _finish(waiting, done)
        finally:
            for _, future in waiting:
                future.cancel()


def _finish(waiting: deque[tuple[int, Future[None]]], done: Callable[[int], None]) -> None:
    size, future = waiting.popleft()
    future.result()
    done(size)


def heal_all(odb: ObjectDatabase, placed: list[Placed]) -> None:
    """Make sure that every view holds the bytes that its id names; views may be written.

    A view of a damaged pack is filled from another copy; CorruptError when there is none.
    """
    for chunk in placed:
        if hash_chunk(chunk.view) != chunk.id:
            odb.read_into(chunk.id, chunk.view)


def read_all(odb: ObjectDatabase, placed: list[Placed]) -> None:
    """Read chunks into their views; each is verified."""
    for chunk in placed:
        odb.read_into(chunk.id, chunk.view)


def place(pieces: Iterable[Piece], buffer: memoryview, origin: int = 0) -> list[Placed]:
    """The views of pieces in ``buffer``, whose first byte stands at ``origin``."""
    return [
        Placed(p.id, p.size, buffer[p.start - origin : p.start - origin + p.size]) for p in pieces
    ]


def require_payload(parts: Parts, target: Resolved, oid: ObjectId) -> None:
    """NotFoundError that explains why a chunk of a version is missing, if it is."""
    if parts.odb.is_there(oid):
        return
    if target.state == "stripped":
        raise stripped_error(parts, target.label, target.version)
    raise NotFoundError(
        f"chunk {oid} of '{target.label}' is missing", hint=_HINT_FSCK, kind="missing"
    )

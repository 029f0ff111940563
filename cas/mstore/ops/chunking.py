"""Cutting files into chunks and hashing them on several threads (SPEC §6.6).

Where a chunk ends depends on the file alone: every 4 MiB from a tensor's first byte, and by
content (FastCDC) in everything else. Reading and hashing release the GIL; at most a few regions
of 4 MiB are held at once.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

from mstore.errors import CorruptError, InvalidInputError
from mstore.format.safetensors import Header, header_length, parse_header
from mstore.ids import ObjectId, hash_chunk
from mstore.objects import CHUNK_SIZE
from mstore.ops.sources import Source

CDC_MIN = 16 << 10
CDC_AVERAGE = 64 << 10
CDC_MAX = 256 << 10
_WINDOW = 8 << 20
_INLINE = 256 << 10
_THREADS = min(4, os.cpu_count() or 1)
_LENGTH_SIZE = 8

A = TypeVar("A")
B = TypeVar("B")


class HashedChunk(NamedTuple):
    """A chunk and its id."""

    id: ObjectId
    content: memoryview


class HashedRegion(NamedTuple):
    """Chunks that lie in one buffer: their contents are valid until ``release`` is called."""

    chunks: list[HashedChunk]
    release: Callable[[], None]


class Region(NamedTuple):
    """Bytes that are read in one go and hold whole chunks of the lengths ``cuts``."""

    load: Callable[[], memoryview]
    cuts: list[int]
    release: Callable[[memoryview], None]


def read_header(source: Source) -> Header | None:
    """The safetensors header of a file, or None when the file is something else.

    A file named ``.safetensors`` that breaks a rule is refused with CorruptError; any other file
    that does is simply not one.
    """
    try:
        return _parse(source)
    except (CorruptError, InvalidInputError) as error:
        if source.label.endswith(".safetensors"):
            hint = error.hint or "nothing was stored; re-save it with a current safetensors"
            raise CorruptError(f"'{source.label}': {error}", hint=hint) from error
        return None


def _parse(source: Source) -> Header | None:
    if source.size < _LENGTH_SIZE and not source.label.endswith(".safetensors"):
        return None
    head = bytearray(min(_LENGTH_SIZE, source.size))
    source.read_into(0, memoryview(head))
    length = header_length(bytes(head), source.size)
    head = bytearray(_LENGTH_SIZE + length)
    source.read_into(0, memoryview(head))
    return parse_header(bytes(head), source.size)


class Hasher:
    """Threads and buffers that cut and hash one file after another.

    The threads are lent for other work on the chunks too: see ``in_order``.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mstore-hash")
        self._ahead = threads + 1
        self._buffers: deque[bytearray] = deque()

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def tensor_regions(self, source: Source, header: Header) -> Iterator[HashedRegion]:
        """The chunks of every tensor of a file, in the order of the file's bytes."""
        regions = self._tensor_regions(source, header)
        return self.in_order(_hash_region, regions, source.size)

    def opaque_regions(self, source: Source) -> Iterator[HashedRegion]:
        """The content-defined chunks of a file."""
        return self.in_order(_hash_region, self._opaque_regions(source), source.size)

    def tensor_chunks(self, source: Source, header: Header) -> Iterator[HashedChunk]:
        """The chunks of ``tensor_regions``, each valid until the next one is asked for."""
        return _each_chunk(self.tensor_regions(source, header))

    def opaque_chunks(self, source: Source) -> Iterator[HashedChunk]:
        """The chunks of ``opaque_regions``, each valid until the next one is asked for."""
        return _each_chunk(self.opaque_regions(source))

    def in_order(self, work: Callable[[A], B], items: Iterable[A], size: int) -> Iterator[B]:
        """The results of ``work`` in the order of the items, a few of them worked on ahead.

        ``size`` is that of the file in bytes: a small one is worth no thread. Work that was begun
        earlier never waits for work that was begun later.
        """
        if size <= _INLINE:
            yield from map(work, items)
            return
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(self._pool.submit(work, item))
            if len(waiting) > self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _tensor_regions(self, source: Source, header: Header) -> Iterator[Region]:
        start, cuts, total = len(header.header), list[int](), 0
        for length in _grid(header):
            if cuts and total + length > CHUNK_SIZE:
                yield self._region(source, start, cuts)
                start, cuts, total = start + total, [], 0
            cuts.append(length)
            total += length
        if cuts:
            yield self._region(source, start, cuts)

    def _region(self, source: Source, start: int, cuts: list[int]) -> Region:
        def load() -> memoryview:
            buffer = self._buffer(CHUNK_SIZE if source.size > _INLINE else sum(cuts))
            view = memoryview(buffer)[: sum(cuts)]
            source.read_into(start, view)
            return view

        return Region(load, cuts, self._release)

    def _opaque_regions(self, source: Source) -> Iterator[Region]:
        at = 0
        while at < source.size:
            length = min(_WINDOW, source.size - at)
            view = memoryview(self._buffer(length if source.size <= _INLINE else _WINDOW))[:length]
            source.read_into(at, view)
            cuts = cut_points(view)
            if at + length < source.size:
                cuts.pop()
            at += sum(cuts)
            yield Region(lambda view=view: view, cuts, self._release)  # type: ignore[misc] # a default binds it now

    def _buffer(self, size: int) -> bytearray:
        try:
            buffer = self._buffers.pop()
        except IndexError:
            return bytearray(size)
        return buffer if len(buffer) >= size else bytearray(size)

    def _release(self, view: memoryview) -> None:
        if isinstance(view.obj, bytearray):
            self._buffers.append(view.obj)


def cut_points(content: memoryview) -> list[int]:
    """The lengths of the content-defined chunks of ``content`` (SPEC §6.6)."""
    if len(content) <= CDC_MIN:
        return [len(content)] if len(content) else []
    from pyfastcdc import FastCDC  # noqa: PLC0415 - only files that are not tensors need it

    cutter = FastCDC(avg_size=CDC_AVERAGE, min_size=CDC_MIN, max_size=CDC_MAX)
    return [chunk.length for chunk in cutter.cut_buf(content)]


def _grid(header: Header) -> Iterator[int]:
    for span in header.spans:
        whole, rest = divmod(span.stop - span.start, CHUNK_SIZE)
        for _ in range(whole):
            yield CHUNK_SIZE
        if rest:
            yield rest


def _hash_region(region: Region) -> HashedRegion:
    view = region.load()
    chunks, at = [], 0
    for length in region.cuts:
        content = view[at : at + length]
        chunks.append(HashedChunk(hash_chunk(content), content))
        at += length
    return HashedRegion(chunks, partial(region.release, view))


def _each_chunk(regions: Iterable[HashedRegion]) -> Iterator[HashedChunk]:
    for region in regions:
        yield from region.chunks
        region.release()

"""Cutting files into chunks and hashing them on several threads (SPEC §6.6).

Where a chunk ends depends on the file alone: every 4 MiB from a tensor's first byte, and by
content (FastCDC) in files without tensors. Reading and hashing release the GIL; at most a few
regions of 4 MiB are held at once.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import NamedTuple, TypeVar

from mstore.format.layout import Outline, owners
from mstore.ids import ObjectId, hash_chunk
from mstore.objects import CHUNK_SIZE
from mstore.ops.sources import Source

CDC_MIN = 16 << 10
CDC_AVERAGE = 64 << 10
CDC_MAX = 256 << 10
_WINDOW = 8 << 20
_INLINE = 256 << 10
_THREADS = min(4, os.cpu_count() or 1)

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
    """Bytes that are read in one go and hold whole chunks, at the places ``cuts`` in them."""

    load: Callable[[], memoryview]
    cuts: list[slice]
    release: Callable[[memoryview], None]


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

    def tensor_regions(self, source: Source, outline: Outline) -> Iterator[HashedRegion]:
        """The chunks of every tensor of a file in the order of its bytes, tied ones once."""
        regions = self._tensor_regions(source, outline)
        return self.in_order(_hash_region, regions, source.size)

    def opaque_regions(self, source: Source) -> Iterator[HashedRegion]:
        """The content-defined chunks of a file."""
        return self.in_order(_hash_region, self._opaque_regions(source), source.size)

    def tensor_chunks(self, source: Source, outline: Outline) -> Iterator[HashedChunk]:
        """The chunks of ``tensor_regions``, each valid until the next one is asked for."""
        return _each_chunk(self.tensor_regions(source, outline))

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

    def _tensor_regions(self, source: Source, outline: Outline) -> Iterator[Region]:
        start, cuts = 0, list[slice]()
        for at, length in _grid(outline):
            if cuts and at + length - start > CHUNK_SIZE:
                yield self._region(source, start, cuts)
                cuts = []
            if not cuts:
                start = at
            cuts.append(slice(at - start, at - start + length))
        if cuts:
            yield self._region(source, start, cuts)

    def _region(self, source: Source, start: int, cuts: list[slice]) -> Region:
        size = cuts[-1].stop

        def load() -> memoryview:
            buffer = self._buffer(CHUNK_SIZE if source.size > _INLINE else size)
            view = memoryview(buffer)[:size]
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
            slices = _slices(cuts)
            yield Region(lambda view=view: view, slices, self._release)  # type: ignore[misc] # a default binds it now

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


def _grid(outline: Outline) -> Iterator[tuple[int, int]]:
    """Where each chunk stands in the file, and its length."""
    for span in owners(outline.spans):
        for start in range(span.start, span.stop, CHUNK_SIZE):
            yield start, min(CHUNK_SIZE, span.stop - start)


def _slices(lengths: list[int]) -> list[slice]:
    stops = list(accumulate(lengths))
    return [slice(stop - length, stop) for length, stop in zip(lengths, stops, strict=True)]


def _hash_region(region: Region) -> HashedRegion:
    view = region.load()
    contents = [view[cut] for cut in region.cuts]
    chunks = [HashedChunk(hash_chunk(content), content) for content in contents]
    return HashedRegion(chunks, partial(region.release, view))


def _each_chunk(regions: Iterable[HashedRegion]) -> Iterator[HashedChunk]:
    for region in regions:
        yield from region.chunks
        region.release()

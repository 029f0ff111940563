"""The numbers of paired tensors compared, chunk by chunk and on several threads.

1. Tensors and chunks that have the same id on both sides are equal: nothing is read of the former,
   and only one side of the latter.
2. At most a few pieces of ``CHUNK_SIZE`` bytes of either side are held, whatever the tensors' size.
3. What the threads find is added up in the order of the tensors' bytes: the figures are always the
   same.

Loads NumPy: it is imported when numbers are compared.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import NamedTuple

from mstore.errors import UnsupportedError
from mstore.format.dtypes import DTYPE_BITS
from mstore.ids import ID_SIZE
from mstore.numerics.compare import Tally, add_errors, compare
from mstore.numerics.figures import Figures
from mstore.numerics.rank import ChangeSample, has_rank
from mstore.numerics.values import is_numeric
from mstore.objects import CHUNK_SIZE
from mstore.ops.diff_sides import Side, SideTensor
from mstore.ops.encoding import FLOATS
from mstore.ops.leading import LeadingReader
from mstore.ops.payload import THREADS, batches

MAX_BATCH = 64
"""Pieces of one task: small tensors are compared together."""
_BYTE = 8

Contents = Callable[[SideTensor], memoryview | None]
"""The bytes of a tensor of the other side where they are not as stored; None where they are."""


class Match(NamedTuple):
    """Two tensors of one shape."""

    base: SideTensor
    other: SideTensor

    @property
    def is_comparable(self) -> bool:
        """Whether their numbers can be compared: one dtype, or two that have numbers."""
        dtypes = self.base.tensor.dtype, self.other.tensor.dtype
        return dtypes[0] == dtypes[1] or all(map(is_numeric, dtypes))


class Weighed(NamedTuple):
    """What became of a match: its figures, and what they were made of."""

    figures: Figures
    tally: Tally


class _Piece(NamedTuple):
    """Elements of a match, from number ``start`` on."""

    match: Match
    start: int
    elements: int
    sample: ChangeSample | None
    last: bool

    @property
    def size(self) -> int:
        dtypes = (side.tensor.dtype for side in self.match)
        return self.elements * max(DTYPE_BITS[dtype] for dtype in dtypes) // _BYTE


class Comparer:
    """Compares the tensors of two sides and counts what was read for it."""

    def __init__(
        self,
        base: Side,
        other: Side,
        leading: LeadingReader | None = None,
        contents: Contents = lambda _: None,
    ) -> None:
        """With ``leading`` only leading bits of floats are read."""
        self._base, self._other = base, other
        self._leading, self._contents = leading, contents
        self._buffers = _Buffers()
        self.bytes_read = 0

    def weigh(self, matches: Sequence[Match], *, rank: bool = True) -> Iterator[Weighed]:
        """The figures of each match, in order; the pieces of several are worked on at once.

        Ranks are not told of leading bits, and without ``rank``.
        """
        tally = Tally()
        leading = self._leading is not None
        pieces = _pieces(matches, rank=rank and not leading)
        for piece, found, read in _in_order(self._compare, pieces):
            self.bytes_read += read
            tally.add(found)
            if not piece.last:
                continue
            if piece.sample is None or not tally.numbers:
                figures = tally.figures(leading=leading)
            else:
                found_rank = piece.sample.effective_rank()
                sampled = piece.sample.sampled
                figures = tally.figures(found_rank, piece.sample.limit, rank_sampled=sampled)
            yield Weighed(figures, tally)
            tally = Tally()

    def _compare(self, pieces: list[_Piece]) -> list[tuple[_Piece, Tally, int]]:
        return [(piece, *self._compare_piece(piece)) for piece in pieces]

    def _compare_piece(self, piece: _Piece) -> tuple[Tally, int]:
        base, other = piece.match
        dtypes = base.tensor.dtype, other.tensor.dtype
        given = self._contents(other)
        is_same = given is None and _is_same_chunk(piece)
        first, read = self._read(self._base, base, piece, 0)
        if is_same:
            second = first
        elif given is not None:
            start = piece.start * DTYPE_BITS[dtypes[1]] // _BYTE
            second = given[start : start + piece.elements * DTYPE_BITS[dtypes[1]] // _BYTE]
        else:
            second, more = self._read(self._other, other, piece, 1)
            read += more
        tally = compare(dtypes[0], first, dtypes[1], second)
        if self._leading is not None and self._is_leading(piece.match):
            add_errors(tally, dtypes[0], first, None if is_same else second, self._leading.bits)
        if piece.sample is not None and not is_same:
            piece.sample.fill(piece.start, dtypes[0], first, dtypes[1], second)
        return tally, read

    def _read(
        self, side: Side, tensor: SideTensor, piece: _Piece, number: int
    ) -> tuple[memoryview, int]:
        bits = DTYPE_BITS[tensor.tensor.dtype]
        start, size = piece.start * bits // _BYTE, piece.elements * bits // _BYTE
        buffer = self._buffers.view(number, size)
        if self._leading is not None and self._is_leading(piece.match):
            return buffer, side.read_leading(tensor, start, buffer, self._leading)
        side.read(tensor, start, buffer)
        return buffer, size

    def _is_leading(self, match: Match) -> bool:
        """Whether only leading bits are read; of two dtypes, and of integers, all of them are."""
        dtype, other = (side.tensor.dtype for side in match)
        assert self._leading is not None
        return dtype == other and self._leading.bits < _BYTE * FLOATS.get(dtype, 0)


class _Buffers(local):
    """Two buffers for each thread: fresh memory costs more than what is done to it."""

    def __init__(self) -> None:
        self._buffers = [bytearray(), bytearray()]

    def view(self, number: int, size: int) -> memoryview:
        """The first ``size`` bytes of one of them."""
        if len(self._buffers[number]) < size:
            self._buffers[number] = bytearray(size)
        return memoryview(self._buffers[number])[:size]


def check_comparable(match: Match) -> None:
    """UnsupportedError for two dtypes of which one has no numbers."""
    if not match.is_comparable:
        dtypes = " and ".join(side.tensor.dtype for side in match)
        raise UnsupportedError(f"'{match.other.key}': {dtypes} cannot be compared")


def _pieces(matches: Iterable[Match], *, rank: bool) -> Iterator[_Piece]:
    for match in matches:
        check_comparable(match)
        dtypes = [side.tensor.dtype for side in match]
        shape = match.base.tensor.shape
        sample = ChangeSample(shape) if rank and has_rank(dtypes, shape) else None
        bits = max(DTYPE_BITS[dtype] for dtype in dtypes)
        # Whole elements in whole bytes: three bytes hold four elements of six bits.
        unit = math.lcm(bits, _BYTE) // _BYTE
        step = CHUNK_SIZE // unit * unit * _BYTE // bits
        total = math.prod(shape)
        for start in range(0, max(total, 1), step):
            last = start + step >= total
            yield _Piece(match, start, min(step, total - start), sample, last)


def _is_same_chunk(piece: _Piece) -> bool:
    """Whether a piece is the same chunk on both sides."""
    first, second = (side.tensor for side in piece.match)
    at, rest = divmod(piece.start * DTYPE_BITS[first.dtype] // _BYTE, CHUNK_SIZE)
    if first.dtype != second.dtype or rest:
        return False
    ids = [tensor.chunks[at * ID_SIZE : (at + 1) * ID_SIZE] for tensor in (first, second)]
    return bool(ids[0]) and ids[0] == ids[1] and piece.size in (CHUNK_SIZE, _tail(piece, at))


def _tail(piece: _Piece, at: int) -> int:
    """Bytes of the tensor from chunk number ``at`` on."""
    return piece.match.base.size - at * CHUNK_SIZE


def _in_order(
    work: Callable[[list[_Piece]], list[tuple[_Piece, Tally, int]]], pieces: Iterable[_Piece]
) -> Iterator[tuple[_Piece, Tally, int]]:
    """What ``work`` makes of the pieces, in their order; a few of them are worked on ahead."""
    waiting: deque[Future[list[tuple[_Piece, Tally, int]]]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="mstore-diff") as pool:
        try:
            for batch in batches(pieces, MAX_BATCH):
                waiting.append(pool.submit(work, batch))
                if len(waiting) > THREADS + 1:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

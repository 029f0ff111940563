"""The effective rank of a change: in how many directions a matrix was moved.

It is ``exp`` of the entropy of the squared singular values over their sum: 1 for a change of rank
one, n when n directions were moved equally far. (O. Roy and M. Vetterli, "The effective rank",
EUSIPCO 2007, take the singular values themselves; squared, small noise beside a low-rank change
counts for little.)

A matrix that is longer than ``MAX_RANK`` both ways, or has more than ``MAX_WHOLE`` elements, is
looked at in a sample of ``MAX_RANK`` rows, evenly spaced, and their first ``COLUMNS`` numbers: no
more than so many directions can then be seen.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mstore.ids import Buffer
from mstore.numerics.values import PARTS, Array, is_numeric, values, width_of

MAX_WHOLE = 1 << 16
MAX_RANK = 64
"""Above it LAPACK starts threads beside those at work, and takes longer than the comparison."""
COLUMNS = 1024
_MIN_DIMENSIONS = 2
_SMALL_PRODUCT = 1 << 16
"""Multiplications of a product that BLAS computes on the calling thread."""


Spans = Sequence[tuple[int, int, int]]
"""The number of a row, and the first element of it and the one after the last."""


class ChangeSample:
    """The rows of a change whose rank is told, filled piece by piece from any thread."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """``shape`` is the tensor's, of two dimensions or more; all but the first are joined."""
        self._row = math.prod(shape[1:])
        self.sampled = min(shape[0], self._row) > MAX_RANK or math.prod(shape) > MAX_WHOLE
        rows = min(shape[0], MAX_RANK) if self.sampled else shape[0]
        self._numbers = [at * shape[0] // rows for at in range(rows)]
        columns = min(self._row, COLUMNS) if self.sampled else self._row
        self._changes = np.zeros((rows, columns))

    @property
    def limit(self) -> int:
        """The greatest rank that can be found."""
        return min(self._changes.shape)

    def fill(self, start: int, base_dtype: str, base: Buffer, dtype: str, other: Buffer) -> None:
        """Take what is wanted of the elements from number ``start`` on."""
        spans = list(self._spans(start, start + memoryview(base).nbytes // width_of(base_dtype)))
        a, b = (
            _gathered(kind, view, start, spans)
            for kind, view in ((base_dtype, base), (dtype, other))
        )
        with np.errstate(invalid="ignore", over="ignore"):
            change = b - a
        change[~np.isfinite(change)] = 0
        done = 0
        for at, low, high in spans:
            row = self._numbers[at] * self._row
            self._changes[at, low - row : high - row] = change[done : done + high - low]
            done += high - low

    def _spans(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Each row that has wanted elements among those from ``start`` to ``stop``, and which."""
        for at, number in enumerate(self._numbers):
            row = number * self._row
            low, high = max(row, start), min(row + self._changes.shape[1], stop)
            if low < high:
                yield at, low, high

    def effective_rank(self) -> float:
        """The effective rank; 0 when nothing changed."""
        return effective_rank(self._changes)


def _gathered(dtype: str, content: Buffer, start: int, spans: Spans) -> Array:
    """The numbers of some spans of elements one after another; ``content`` begins at ``start``."""
    view, width = memoryview(content), width_of(dtype)
    parts = (view[(low - start) * width : (high - start) * width] for _, low, high in spans)
    return values(dtype, b"".join(parts))


def has_rank(dtypes: Iterable[str], shape: tuple[int, ...]) -> bool:
    """Whether a change between tensors of these dtypes and this shape is a matrix of numbers."""
    numbers = all(is_numeric(dtype) and dtype not in PARTS for dtype in dtypes)
    return numbers and len(shape) >= _MIN_DIMENSIONS and 0 not in shape


def effective_rank(matrix: Array) -> float:
    """The effective rank of a matrix of finite numbers; 0 when all of them are 0."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if not largest:
        return 0.0
    scaled = matrix / largest
    short = scaled if scaled.shape[0] <= scaled.shape[1] else scaled.T
    squares = np.clip(np.linalg.eigvalsh(_gram(short)), 0.0, None)
    shares = squares / squares.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _gram(rows: Array) -> Array:
    """``rows @ rows.T``, in parts so small that BLAS starts no threads beside those at work."""
    step = max(1, _SMALL_PRODUCT // len(rows) ** 2)
    found = np.zeros((len(rows), len(rows)))
    for at in range(0, rows.shape[1], step):
        part = np.ascontiguousarray(rows[:, at : at + step])
        found += part @ part.T
    return found

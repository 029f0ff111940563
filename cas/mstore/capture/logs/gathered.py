"""Numbers of a log while it is read: bounded in names and in count."""

import sys
from array import array
from collections.abc import Iterator
from typing import BinaryIO

from mstore.errors import InvalidInputError
from mstore.objects import Series

MAX_SERIES = 1_000
MAX_NAME = 256
"""Characters of the name of a series; a longer one is cut."""
MAX_POINTS = 600_000
"""Numbers of a log that are kept: as many as a record holds (SPEC §11)."""
MAX_READ = 20_000_000
"""Numbers of a log that are read."""
MAX_LINE = 1 << 20
"""Bytes of a line; a longer one is left out."""

_MIN_STEP, _MAX_STEP = -(1 << 63), (1 << 63) - 1
_EARLIEST, _LATEST = 1e8, 1e11
"""Seconds since 1970 that a clock may have said: from 1973 to long after us."""


class _Points:
    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        self.times = array("q")


class Gathered:
    """The series of one log as far as it was read; ``remark`` says what is not in them."""

    def __init__(self, label: str) -> None:
        self.remark = ""
        self._label = label
        self._series: dict[str, _Points] = {}
        self._count = 0

    def add(self, name: str, step: int, value: float, seconds: float | None = None) -> None:
        """One number; ``seconds`` since 1970 are when it was written, if that is known.

        InvalidInputError when there are too many series, or numbers.
        """
        if not _MIN_STEP <= step <= _MAX_STEP:
            return
        points = self._points(name)
        self._count += 1
        if self._count > MAX_READ:
            raise InvalidInputError(f"log '{self._label}' has more than {MAX_READ} numbers")
        points.steps.append(step)
        points.values.append(value)
        if seconds is not None and _EARLIEST < seconds < _LATEST:
            points.times.append(round(seconds * 1_000_000))

    def _points(self, name: str) -> _Points:
        kept = name[:MAX_NAME].encode("utf-8", "replace").decode("utf-8")
        if kept not in self._series:
            if len(self._series) >= MAX_SERIES:
                raise InvalidInputError(f"log '{self._label}' has more than {MAX_SERIES} series")
            self._series[kept] = _Points()
        return self._series[kept]

    def note(self, remark: str) -> None:
        """Say what is left out; of several remarks the first is kept."""
        self.remark = self.remark or remark

    def series(self) -> tuple[Series, ...]:
        """All of them; where they are more than a record holds, only every n-th number of each."""
        stride = max(1, -(-self._count // MAX_POINTS))
        if stride > 1:
            self.note(f"of its {self._count} numbers one in {stride} is kept")
        return tuple(
            Series(
                name,
                _little(points.steps[::stride]),
                _little(points.values[::stride]),
                _little(points.times[::stride]) if len(points.times) == len(points.steps) else b"",
            )
            for name, points in self._series.items()
        )


def _little(numbers: "array[int] | array[float]") -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def whole_lines(file: BinaryIO, gathered: Gathered) -> Iterator[tuple[int, str, bool]]:
    """The lines of a text file with their numbers, from 1, and whether they are whole.

    The last one is not when no line break follows it. Lines that are too long are left out.
    """
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        is_whole = line.endswith(b"\n")
        if not is_whole and len(line) == MAX_LINE:
            gathered.note(f"line {number} is too long and left out")
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE)
            continue
        yield number, line.decode("utf-8", "replace").strip("\r\n\ufeff"), is_whole

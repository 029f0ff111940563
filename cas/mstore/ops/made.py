"""Files that stand nowhere: their parts are made, or read from the store, when they are read."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

Fill = Callable[[int, memoryview], None]
"""Fills memory with the bytes that begin so far into a part of a file."""


class _Part(NamedTuple):
    start: int
    size: int
    fill: Fill


class MadeSource:
    """A file whose parts are made, or read from the store, when they are asked for."""

    def __init__(self, label: str, fills: Sequence[tuple[int, Fill]]) -> None:
        self.label = label
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self.size = 0
        for size, fill in fills:
            self._starts.append(self.size)
            self._parts.append(_Part(self.size, size, fill))
            self.size += size

    def open(self) -> Self:
        """Itself: there is nothing to open."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open."""

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from the parts that cover it."""
        stop = start + len(buffer)
        for at in range(max(0, bisect_right(self._starts, start) - 1), len(self._parts)):
            part = self._parts[at]
            if part.start >= stop:
                return
            low, high = max(part.start, start), min(part.start + part.size, stop)
            if low < high:
                part.fill(low - part.start, buffer[low - start : high - start])

    def finish(self) -> None:
        """What is in the store does not change."""


def constant(content: bytes) -> tuple[int, Fill]:
    """A part that is known already, with its size."""

    def fill(at: int, buffer: memoryview) -> None:
        buffer[:] = content[at : at + len(buffer)]

    return len(content), fill

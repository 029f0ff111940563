"""Curves and histograms drawn with characters, as wide as the terminal.

A character of braille is two dots wide and four high. Where stdout cannot say braille, a curve is
drawn with its letter.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red", "bright_white", "bright_black")
"""One for each curve; letters tell them apart where there is no colour."""
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = " ▁▂▃▄▅▆▇█"
_GUTTER = 11
"""Characters for the numbers beside the axis."""

Painted = Sequence[tuple[str, str]]
"""A line of text in pieces, each with the name of its colour or ""."""


class Line(NamedTuple):
    """One curve: its letter, its points in order, and the best of them."""

    letter: str
    points: Sequence[tuple[float, float]]
    best: tuple[float, float] | None


class _Canvas:
    """Dots in cells; every cell has the colour of the curve that was drawn there last."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots = [[0] * width for _ in range(height)]
        self._owner = [[-1] * width for _ in range(height)]
        self._letters: dict[tuple[int, int], str] = {}

    def put(self, x: float, y: float, owner: int) -> None:
        """Set the dot at shares of width and height, from the lower left."""
        across = min(int(x * (2 * self.width - 1) + 0.5), 2 * self.width - 1)
        down = min(int((1 - y) * (4 * self.height - 1) + 0.5), 4 * self.height - 1)
        self._dots[down // 4][across // 2] |= _DOTS[across % 2][down % 4]
        self._owner[down // 4][across // 2] = owner

    def write(self, x: float, y: float, letter: str, owner: int) -> None:
        """Put a letter in the cell at shares of width and height."""
        across = min(int(x * (2 * self.width - 1) + 0.5), 2 * self.width - 1) // 2
        down = min(int((1 - y) * (4 * self.height - 1) + 0.5), 4 * self.height - 1) // 4
        self._letters[down, across] = letter
        self._owner[down][across] = owner

    def rows(self, letters: Sequence[str]) -> Iterator[Painted]:
        """Every row; ``letters`` are drawn instead of braille where there are any."""
        for down, (dots, owners) in enumerate(zip(self._dots, self._owner, strict=True)):
            cells = enumerate(zip(dots, owners, strict=True))
            pieces = [
                (owner, self._cell(down, at, dot, owner, letters)) for at, (dot, owner) in cells
            ]
            groups = groupby(pieces, key=itemgetter(0))
            yield [("".join(text for _, text in group), _colour(owner)) for owner, group in groups]

    def _cell(self, down: int, across: int, dot: int, owner: int, letters: Sequence[str]) -> str:
        if (down, across) in self._letters:
            return self._letters[down, across]
        if not dot:
            return " "
        return letters[owner] if letters else chr(0x2800 + dot)


def draw(lines: Sequence[Line], width: int, height: int, *, braille: bool) -> Iterator[Painted]:
    """The curves over each other with axes; each has its letter first, the capital at its best."""
    finite = [p for line in lines for p in line.points if math.isfinite(p[1])]
    if not finite:
        yield [("no finite value", "")]
        return
    x0, x1 = min(p[0] for p in finite), max(p[0] for p in finite)
    y0, y1 = min(p[1] for p in finite), max(p[1] for p in finite)
    canvas = _Canvas(max(width - _GUTTER, 8), height)
    for owner, line in enumerate(lines):
        for x, y in _dotted(line.points, (x0, x1), (y0, y1), 2 * canvas.width):
            canvas.put(x, y, owner)
    for owner, line in enumerate(lines):
        first = next((point for point in line.points if math.isfinite(point[1])), None)
        for point, letter in ((first, line.letter), (line.best, line.letter.upper())):
            if point is not None:
                place = _share(point[0], x0, x1), _share(point[1], y0, y1)
                canvas.write(*place, letter, owner)
    letters = [] if braille else [line.letter for line in lines]
    for at, row in enumerate(canvas.rows(letters)):
        yield [(_label(at, height, y0, y1), "dim"), *row]
    yield [(_below(x0, x1, canvas.width), "dim")]


def spark(bins: Sequence[int], width: int) -> str:
    """A histogram as one line of blocks, at most ``width`` of them."""
    if not bins:
        return ""
    width = min(width, len(bins))
    edges = [at * len(bins) // width for at in range(width + 1)]
    wide = [sum(bins[low:high]) for low, high in pairwise(edges)]
    top = max(*wide, 1)
    return "".join(_BLOCKS[math.ceil(8 * count / top)] for count in wide).rstrip()


def number(value: float) -> str:
    """A number in few digits."""
    return f"{value:.4g}"


def _colour(owner: int) -> str:
    return "" if owner < 0 else COLOURS[owner % len(COLOURS)]


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _dotted(
    points: Sequence[tuple[float, float]],
    across: tuple[float, float],
    up: tuple[float, float],
    dots: int,
) -> Iterable[tuple[float, float]]:
    """The points as shares, and those between two neighbours; not finite ones break the line."""
    before: tuple[float, float] | None = None
    for point in points:
        if not math.isfinite(point[1]):
            before = None
            continue
        here = _share(point[0], *across), _share(point[1], *up)
        if before is not None:
            far = max(abs(here[0] - before[0]), abs(here[1] - before[1]))
            count = max(int(far * dots), 1)
            for step in range(1, count):
                part = step / count
                yield (
                    before[0] + (here[0] - before[0]) * part,
                    before[1] + (here[1] - before[1]) * part,
                )
        yield here
        before = here


def _label(at: int, height: int, low: float, high: float) -> str:
    value = {0: high, height - 1: low, (height - 1) // 2: (low + high) / 2}.get(at)
    text = "" if value is None else number(value)
    return f"{text:>{_GUTTER - 2}} |"


def _below(low: float, high: float, width: int) -> str:
    first, last = f"{low:g}", f"{high:g}"
    return " " * _GUTTER + first + last.rjust(width - len(first))

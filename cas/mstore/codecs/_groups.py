"""Elements set apart by how large the base says that they are (SPEC §8.5).

A step of training moves each weight by about as much; counted in units of its last place, a
small weight moves far and a large one not at all. Coded by themselves, those that stay cost
next to nothing. The base is known on both sides, so who belongs where is never stored.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.codecs._elements import Elements

Keys = npt.NDArray[np.uint8]

MAX_GROUPS = 4
"""In an entry (SPEC §11)."""
WRITTEN = 3
"""docs/decisions/0008-codecs.md: three give most of the gain, and each costs a pass to read."""
MIN_GAIN = 0.02
"""Of the size without groups: below it they are not worth the time to read them."""

_TILE = 1 << 16
_SAMPLE = 1 << 16
_FEWEST = 1 << 12
_CLASSES = 48
_LENGTHS = 65


def keys(guess: Elements) -> Keys:
    """The eight bits below the sign: of bf16 and fp32 the exponent."""
    found = np.empty(len(guess), np.uint8)
    np.right_shift(guess, guess.itemsize * 8 - 9, out=found, dtype=guess.dtype, casting="unsafe")
    return found


def members(found: Keys, bounds: list[int]) -> Iterator[tuple[int, list[npt.NDArray[np.intp]]]]:
    """For each tile: where it starts, and for each group the places in it, ascending."""
    edges = [0, *bounds, 256]
    for start in range(0, len(found), _TILE):
        tile = found[start : start + _TILE]
        places = [
            np.flatnonzero(tile - np.uint8(low) < high - low if low else tile < high)
            for low, high in itertools.pairwise(edges)
        ]
        yield start, places


def choose_bounds(guess: Elements, differences: Elements) -> list[int]:
    """The first key of each group but the first; none where groups gain too little.

    Groups are chosen on a sample, by the entropy of how many bits each difference has.
    """
    # Odd, so that a sample has all columns of a matrix.
    step = max(len(guess) // _SAMPLE, 1) | 1
    taken = differences[::step]
    if len(guess) < _FEWEST or guess.itemsize == 1:
        return []
    lengths = np.frexp(np.minimum(taken, 0 - taken).astype(np.float64))[1]
    table = np.bincount(keys(guess[::step]) * np.intp(_LENGTHS) + lengths, minlength=256 * 65)
    firsts, counts = _merge_rare(table.reshape(256, _LENGTHS), len(taken) / _CLASSES)
    costs = _costs(counts)
    total = costs[0, -1] + float(lengths.sum())
    bounds = _cut(costs)
    gain = costs[0, -1] - _cost_of(costs, bounds)
    return [int(firsts[at]) for at in bounds] if gain > total * MIN_GAIN else []


def _merge_rare(
    table: npt.NDArray[np.intp], enough: float
) -> tuple[list[int], npt.NDArray[np.intp]]:
    """Neighbouring keys together, until each class has ``enough`` elements."""
    firsts, rows = [0], [np.zeros(_LENGTHS, np.intp)]
    for key in range(256):
        if rows[-1].sum() >= enough and table[key].any():
            firsts.append(key)
            rows.append(np.zeros(_LENGTHS, np.intp))
        rows[-1] = rows[-1] + table[key]
    return firsts, np.array(rows)


def _costs(counts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Bits that classes i up to j take as one group, at [i, j]."""
    until = np.concatenate([np.zeros((1, _LENGTHS), np.intp), counts.cumsum(axis=0)])
    group = (until[None] - until[:, None]).clip(0)
    size = group.sum(axis=2)
    return np.asarray(_plogp(size) - _plogp(group).sum(axis=2))


def _plogp(count: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    return np.asarray(count * np.log2(count.clip(1)))


def _cut(costs: npt.NDArray[np.float64]) -> list[int]:
    """The classes at which the groups after the first begin, for the least bits."""
    last = len(costs) - 1
    best = [[(float(costs[0, stop]), 0) for stop in range(last + 1)]]
    for _ in range(1, WRITTEN):
        before = best[-1]
        best.append(
            [
                min((before[at][0] + float(costs[at, stop]), at) for at in range(stop + 1))
                for stop in range(last + 1)
            ]
        )
    bounds, stop = [], last
    for row in reversed(best[1:]):
        stop = row[stop][1]
        bounds.append(stop)
    return sorted({at for at in bounds if 0 < at < last})


def _cost_of(costs: npt.NDArray[np.float64], bounds: list[int]) -> float:
    edges = [0, *bounds, len(costs) - 1]
    return math.fsum(costs[i, j] for i, j in itertools.pairwise(edges))

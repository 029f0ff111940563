"""Pairing rows with columns so that what the pairs are worth is greatest: exactly, in NumPy.

The shortest augmenting path method of R. Jonker and A. Volgenant, "A shortest augmenting path
algorithm for dense and sparse linear assignment problems", 1987. Rows whose best column nobody else
wants are paired at once; each of the others takes at most n steps of n operations.
"""

import numpy as np

from mstore.numerics.values import Array

_NOBODY = -1


def assign(worth: Array) -> Array:
    """For each row of a square matrix its column, so that the sum of the worths is greatest."""
    cost = -np.asarray(worth, np.float64)
    count = len(cost)
    if not count:
        return np.empty(0, np.intp)
    # Prices that keep every reduced cost at zero or above, with a zero in each row.
    rows, columns = cost.min(axis=1), np.zeros(count)
    owner = np.full(count, _NOBODY)
    for row, column in enumerate(cost.argmin(axis=1)):
        if owner[column] == _NOBODY:
            owner[column] = row
    unpaired = np.setdiff1d(np.arange(count), owner)
    for row in unpaired:
        _augment(cost, int(row), rows, columns, owner)
    found = np.empty(count, np.intp)
    found[owner] = np.arange(count)
    return found


def _augment(cost: Array, row: int, rows: Array, columns: Array, owner: Array) -> None:
    """Pair one more row along the cheapest path of changes; prices follow."""
    count = len(cost)
    away = np.full(count, np.inf)
    before = np.full(count, _NOBODY)
    done = np.zeros(count, bool)
    current, reached, last = row, 0.0, _NOBODY
    while last == _NOBODY:
        through = reached + cost[current] - rows[current] - columns
        shorter = ~done & (through < away)
        away[shorter] = through[shorter]
        before[shorter] = current
        column = int(np.where(done, np.inf, away).argmin())
        reached = float(away[column])
        done[column] = True
        if owner[column] == _NOBODY:
            last = column
        else:
            current = int(owner[column])
    passed = done.copy()
    passed[last] = False
    gains = reached - away[passed]
    rows[row] += reached
    rows[owner[passed]] += gains
    columns[passed] -= gains
    _follow(before, owner, last, row)


def _follow(before: Array, owner: Array, column: int, row: int) -> None:
    """Give each column of the path to the row before it."""
    while True:
        current = int(before[column])
        given_up = np.flatnonzero(owner == current)
        owner[column] = current
        if current == row:
            return
        column = int(given_up[0])

"""How far models are from one another, told from a few numbers of each of their tensors.

The distance of two models is the length of their difference over that of both together:
``sqrt(|a - b|^2 / (|a|^2 + |b|^2))``. It is 0 for equal weights and about 1 for weights that have
nothing to do with each other; a tensor that only one of two models has counts as a difference of
its own length. Lengths are estimated from sketches (``mstore.ops.sketches``).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mstore.numerics.values import Array, leading_values

Key = tuple[str, tuple[int, ...]]
"""What tensors of two models that are compared have in common: name and shape."""


class Sketched(NamedTuple):
    """A tensor of which a sketch is known."""

    id: bytes
    dtype: str
    elements: int
    values: bytes


class Closeness(NamedTuple):
    """What is known of some models: ``lengths`` are squared, as the ``changes`` between two are.

    ``shared[i][j]`` is the squared length of model i in tensors that model j has too. ``kurtosis``
    is the excess kurtosis of a model's weights: how heavy their tails are, 0 for normal ones.
    """

    lengths: list[float]
    changes: list[list[float]]
    shared: list[list[float]]
    kurtosis: list[float]

    def distance(self, first: int, second: int, change: float | None = None) -> float:
        """The distance of two models; ``change`` instead of what the sketches say, if known."""
        both = self.lengths[first] + self.lengths[second]
        if not both:
            return math.inf
        alone = both - self.shared[first][second] - self.shared[second][first]
        moved = self.changes[first][second] if change is None else change
        return math.sqrt(max(0.0, moved + alone) / both)


def closeness(models: Sequence[Mapping[Key, Sketched]]) -> Closeness:
    """What sketches say of models, each with its tensors by name and shape."""
    count = len(models)
    changes, shared = np.zeros((count, count)), np.zeros((count, count))
    lengths, moments = np.zeros(count), np.zeros((count, 2))
    for key in dict.fromkeys(key for model in models for key in model):
        having = [at for at, model in enumerate(models) if key in model]
        rows = np.stack([_numbers(models[at][key]) for at in having])
        scale = models[having[0]][key].elements / max(rows.shape[1], 1)
        squares = np.square(rows).sum(axis=1)
        away = np.clip(squares[:, None] + squares - 2 * (rows @ rows.T), 0, None)
        ids = [models[at][key].id for at in having]
        away[[[first == second for second in ids] for first in ids]] = 0
        changes[np.ix_(having, having)] += scale * away
        shared[np.ix_(having, having)] += scale * squares[:, None]
        lengths[having] += scale * squares
        moments[having] += scale * _moments(rows)
    tails = np.divide(moments[:, 0], moments[:, 1], np.zeros(count), where=moments[:, 1] > 0)
    return Closeness(lengths.tolist(), changes.tolist(), shared.tolist(), (tails - 3).tolist())


def _numbers(tensor: Sketched) -> Array:
    found = leading_values(tensor.dtype, tensor.values)
    return np.where(np.isfinite(found), found, 0)


def _moments(rows: Array) -> Array:
    """The fourth moment of each row over its variance squared, and the weight of that."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    second = np.square(centred).mean(axis=1)
    fourth = np.square(np.square(centred)).mean(axis=1)
    known = second > 0
    tails = np.divide(fourth, np.square(second), np.zeros(len(rows)), where=known)
    return np.stack([tails, known.astype(np.float64)], axis=1)

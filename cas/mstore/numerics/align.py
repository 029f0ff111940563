"""The neurons of one network put in the order of another's, as far as their weights tell.

Weight matching after S. Ainsworth and others, "Git Re-Basin: Merging Models modulo Permutation
Symmetries", ICLR 2023: at one seam after another the order is taken under which the weights agree
best, until nothing changes. At first, from the input on, only by what comes in: the rows of a copy
whose neurons were permuted are found again exactly.
"""

from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np

from mstore.ids import Buffer
from mstore.numerics.assign import assign
from mstore.numerics.seams import Seam, Side
from mstore.numerics.values import Array, values, width_of

MAX_ROUNDS = 20
MAX_WIDTH = 4096
"""Neurons of the widest seam that is looked at: pairing takes n^3 steps at worst."""

Arrays = Mapping[str, Array]


def align(base: Arrays, other: Arrays, seams: Sequence[Seam]) -> list[Array | None]:
    """For each seam the order of ``other``'s neurons that is nearest to ``base``.

    Entry i is the number of the neuron that comes to place i; None where none moves. The arrays
    are float, shaped as the tensors; what is not finite counts as zero. All None where no order
    is nearer than the one there is.
    """
    first = {name: _cleaned(array) for name, array in base.items()}
    moved = {name: _cleaned(array) for name, array in other.items()}
    before = _distance(first, moved)
    orders = [np.arange(seam.width) for seam in seams]
    for number in range(MAX_ROUNDS):
        changed = False
        for at, seam in enumerate(seams):
            if seam.width <= MAX_WIDTH:
                sides = seam.sides if number else seam.outputs
                order = assign(_agreement(first, moved, sides))
                if (order != np.arange(seam.width)).any():
                    changed = True
                    orders[at] = orders[at][order]
                    permute(moved, seam, order)
        if number and not changed:
            break
    if _distance(first, moved) >= before:
        return [None] * len(seams)
    return [order if (order != np.arange(len(order))).any() else None for order in orders]


def permute(arrays: MutableMapping[str, Array], seam: Seam, order: Array) -> None:
    """Put the neurons of a seam in another order, in every tensor that has to follow."""
    for side in seam.sides:
        array = arrays[side.name]
        groups = np.moveaxis(array, side.axis, 0).reshape(
            seam.width, side.repeat, *np.delete(array.shape, side.axis)
        )
        flat = groups[order].reshape(-1, *groups.shape[2:])
        arrays[side.name] = np.ascontiguousarray(np.moveaxis(flat, 0, side.axis))


def floats(dtype: str, shape: tuple[int, ...], content: Buffer) -> Array:
    """A tensor as ``align`` takes it."""
    with np.errstate(over="ignore"):
        return values(dtype, content).astype(np.float32).reshape(shape)


def patterns(dtype: str, shape: tuple[int, ...], content: Buffer) -> Array:
    """A tensor as bit patterns, which ``permute`` takes too."""
    return np.frombuffer(content, f"<u{width_of(dtype)}").reshape(shape)


def content_of(array: Array) -> memoryview:
    """The bytes of an array in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def moved_count(order: Array) -> int:
    """How many neurons an order puts elsewhere."""
    return int(np.count_nonzero(order != np.arange(len(order))))


def _agreement(base: Arrays, other: Arrays, sides: Sequence[Side]) -> Array:
    """How well each neuron of the base agrees with each of the other, in several tensors."""
    found: Array = np.sum([_worth(base, other, side) for side in sides], axis=0)
    return found


def _worth(base: Arrays, other: Arrays, side: Side) -> Array:
    """The same in one tensor."""
    first, second = (_rows(arrays[side.name], side) for arrays in (base, other))
    found: Array = first @ second.T
    return found


def _rows(array: Array, side: Side) -> Array:
    front = np.moveaxis(array, side.axis, 0)
    return front.reshape(front.shape[0] // side.repeat, -1)


def _distance(base: Arrays, other: Arrays) -> float:
    return sum(float(np.square(array - other[name]).sum()) for name, array in base.items())


def _cleaned(array: Array) -> Array:
    return np.where(np.isfinite(array), array, 0)

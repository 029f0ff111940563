"""Where the neurons of a network may be put in another order: found from names and shapes.

Between two layers of which the second takes what the first gives, the order of the neurons is
nobody's business: the rows of the first, its bias and its norm may be permuted if the columns of
the second are. Such a place is a seam. Only plain chains of linear layers and convolutions are
recognised; layers beside one another, shortcuts and attention have ties that shapes do not show.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

MAX_SEARCHED = 12
"""Layers of which an order is searched for when that of their names does not fit."""
_MATRIX = 2
_FIELDS = re.compile(r"(\d+)")

Shape = tuple[int, ...]


class Side(NamedTuple):
    """A tensor at a seam: the axis along which its neurons stand, ``repeat`` numbers of each."""

    name: str
    axis: int
    repeat: int = 1


class Seam(NamedTuple):
    """``width`` neurons, and every tensor that has to follow when they are permuted."""

    width: int
    outputs: tuple[Side, ...]
    inputs: tuple[Side, ...]

    @property
    def sides(self) -> tuple[Side, ...]:
        """All of them."""
        return self.outputs + self.inputs


class _Layer(NamedTuple):
    name: str
    shape: Shape
    vectors: tuple[str, ...]

    @property
    def width(self) -> int:
        return self.shape[0]


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts ``layer.2`` before ``layer.10``."""
    parts = (part for part in _FIELDS.split(name) if part)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def find_seams(shapes: Mapping[str, Shape]) -> list[Seam]:
    """The seams between the layers that these tensors make, from the first to the last."""
    layers = list(_layers(shapes))
    norms = _norms(shapes, layers)
    found = []
    for first, second in _pairs(layers):
        repeat = second.shape[1] // first.width
        vectors = (*first.vectors, *norms.get(first.name, ()))
        outputs = (Side(first.name, 0), *(Side(name, 0) for name in vectors))
        found.append(Seam(first.width, outputs, (Side(second.name, 1, repeat),)))
    return found


def _layers(shapes: Mapping[str, Shape]) -> Iterator[_Layer]:
    """Every tensor of two dimensions or more with the vectors that are named beside it."""
    for name in sorted(shapes, key=natural):
        shape = shapes[name]
        if len(shape) < _MATRIX or 0 in shape:
            continue
        beside = _beside(shapes, name) if _stem(name) else ()
        yield _Layer(name, shape, tuple(v for v in beside if shapes[v] == shape[:1]))


def _norms(shapes: Mapping[str, Shape], layers: Sequence[_Layer]) -> dict[str, list[str]]:
    """The vectors of the norms behind layers, by the layer."""
    taken = {vector for layer in layers for vector in layer.vectors}
    alone = [name for name, shape in shapes.items() if len(shape) == 1 and name not in taken]
    found: dict[str, list[str]] = {}
    for width in {layer.width for layer in layers}:
        vectors = [name for name in alone if shapes[name] == (width,)]
        stems = sorted({_stem(name) for name in vectors}, key=natural)
        hosts = _hosts(stems, [layer.name for layer in layers if layer.width == width])
        for name in vectors:
            if _stem(name) in hosts:
                found.setdefault(hosts[_stem(name)], []).append(name)
    return found


def _hosts(stems: Sequence[str], layers: Sequence[str]) -> dict[str, str]:
    """The layer before each norm: one for one if there are as many, else the nearest by name."""
    if len(stems) == len(layers):
        return dict(zip(stems, layers, strict=True))
    before = {stem: [name for name in layers if natural(name) < natural(stem)] for stem in stems}
    return {stem: names[-1] for stem, names in before.items() if names}


def _pairs(layers: Sequence[_Layer]) -> list[tuple[_Layer, _Layer]]:
    ordered = list(pairwise(layers))
    if all(_follows(*pair) for pair in ordered):
        return ordered
    if len(layers) <= MAX_SEARCHED:
        way = _way([], layers)
        if way is not None:
            return list(pairwise(way))
    return [pair for pair in ordered if _follows(*pair)]


def _way(way: list[_Layer], left: Sequence[_Layer]) -> list[_Layer] | None:
    """All layers in an order in which each takes what the one before gives, if there is one."""
    if not left:
        return way
    for layer in left:
        if not way or _follows(way[-1], layer):
            found = _way([*way, layer], [other for other in left if other is not layer])
            if found is not None:
                return found
    return None


def _follows(first: _Layer, second: _Layer) -> bool:
    repeat, rest = divmod(second.shape[1], first.width)
    if rest or not repeat:
        return False
    # A convolution that was flattened gives several numbers for each of its channels.
    flattened = len(first.shape) > _MATRIX and len(second.shape) == _MATRIX
    return repeat == 1 or flattened


def _beside(shapes: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(other for other in shapes if other != name and _stem(other) == _stem(name))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]

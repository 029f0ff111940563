"""The neurons of one model put in the order of another's before the two are compared.

Holds the tensors of the layers that are aligned: those of both sides as float32, and those that
moved as they are stored. Loads NumPy: it is imported when somebody asks for it.
"""

from collections.abc import Mapping, Sequence

from mstore.ids import Buffer
from mstore.numerics.align import align, content_of, floats, moved_count, patterns, permute
from mstore.numerics.seams import Seam, find_seams
from mstore.numerics.values import PARTS, Array, is_numeric
from mstore.ops.diff_sides import Side, SideTensor
from mstore.ops.diff_structure import Alignment, Pair


class Aligner:
    """Finds the order of the other side's neurons, and gives its tensors in that order."""

    def __init__(self, base: Side, other: Side, pairs: Sequence[Pair]) -> None:
        self.alignments: list[Alignment] = []
        self.bytes_read = 0
        self._moved: dict[str, memoryview] = {}
        found = {pair.other.key: pair for pair in pairs if pair.other and _can_align(pair)}
        seams = find_seams({key: _shape(pair) for key, pair in found.items()})
        names = {side.name for seam in seams for side in seam.sides}
        if not any(_differs(found[name]) for name in names):
            return
        first = {name: self._floats(base, found[name].base) for name in names}
        contents = {name: self._read(other, found[name].other) for name in names}
        second = {name: _floats(found[name].other, contents[name]) for name in names}
        self._move(seams, align(first, second, seams), found, contents)

    def contents(self, tensor: SideTensor) -> memoryview | None:
        """The bytes of a tensor of the other side in the new order; None where nothing moved."""
        return self._moved.get(tensor.key)

    def _move(
        self,
        seams: Sequence[Seam],
        orders: Sequence[Array | None],
        found: Mapping[str, Pair],
        contents: Mapping[str, Buffer],
    ) -> None:
        arrays: dict[str, Array] = {}
        for seam, order in zip(seams, orders, strict=True):
            if order is None:
                continue
            for side in seam.sides:
                if side.name not in arrays:
                    tensor = _other(found[side.name]).tensor
                    shown = (tensor.dtype, tensor.shape)
                    arrays[side.name] = patterns(*shown, contents[side.name])
            permute(arrays, seam, order)
            tensors = tuple(side.name for side in seam.sides)
            self.alignments.append(Alignment(seam.width, moved_count(order), tensors))
        self._moved = {name: content_of(array) for name, array in arrays.items()}

    def _floats(self, side: Side, tensor: SideTensor | None) -> Array:
        return _floats(tensor, self._read(side, tensor))

    def _read(self, side: Side, tensor: SideTensor | None) -> memoryview:
        assert tensor is not None
        content = memoryview(bytearray(tensor.size))
        side.read(tensor, 0, content)
        self.bytes_read += tensor.size
        return content


def _can_align(pair: Pair) -> bool:
    if pair.base is None or pair.other is None:
        return False
    tensors = pair.base.tensor, pair.other.tensor
    plain = all(is_numeric(t.dtype) and t.dtype not in PARTS for t in tensors)
    return plain and tensors[0].shape == tensors[1].shape


def _differs(pair: Pair) -> bool:
    return pair.base is None or pair.other is None or pair.base.id != pair.other.id


def _shape(pair: Pair) -> tuple[int, ...]:
    return _other(pair).tensor.shape


def _other(pair: Pair) -> SideTensor:
    assert pair.other is not None
    return pair.other


def _floats(tensor: SideTensor | None, content: Buffer) -> Array:
    assert tensor is not None
    return floats(tensor.tensor.dtype, tensor.tensor.shape, content)

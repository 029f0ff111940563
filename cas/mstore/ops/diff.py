"""Two or more models side by side: what differs in structure, then by how much in numbers.

Everything is compared with the first of them. Nothing is written; of versions no tensor is read
that has the same id on both sides.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec import Struct

from mstore.errors import InvalidInputError
from mstore.format.dtypes import DTYPE_BITS
from mstore.numerics.figures import Figures, unchanged
from mstore.ops.diff_sides import DiffSide, Side, SideTensor, open_sides
from mstore.ops.diff_structure import (
    Alignment,
    FileChange,
    Pair,
    ValueChange,
    file_changes,
    pair_tensors,
    value_changes,
)
from mstore.ops.intake import Progress
from mstore.ops.read import leading_reader
from mstore.parts import Parts

if TYPE_CHECKING:
    from mstore.numerics.compare import Tally
    from mstore.ops.diff_align import Aligner
    from mstore.ops.leading import LeadingReader

TensorState = Literal["identical", "changed", "retyped", "resized", "added", "removed"]
_BYTE = 8


class TensorChange(Struct, frozen=True):
    """One tensor. What starts with ``base_`` is None for one that was added, the rest for removed.

    ``key`` is its name, with its path where the name occurs twice. ``retyped`` is another dtype,
    ``resized`` another shape. ``figures`` is None where there is nothing to compare.
    """

    key: str
    base_key: str | None
    state: TensorState
    renamed: bool
    moved: bool
    path: str | None
    base_path: str | None
    dtype: str | None
    base_dtype: str | None
    shape: tuple[int, ...] | None
    base_shape: tuple[int, ...] | None
    size_bytes: int | None
    base_size_bytes: int | None
    figures: Figures | None


class LayerChange(Struct, frozen=True):
    """The tensors whose names are alike up to the last dot.

    ``figures`` joins those that are on both sides in one shape; None where there is none. Its
    lengths and angles are of the tensors that changed.
    """

    name: str
    tensors: int
    identical: int
    figures: Figures | None


class Counts(Struct, frozen=True):
    """How many tensors are in each state; renamed and moved ones have a state besides."""

    identical: int
    changed: int
    retyped: int
    resized: int
    added: int
    removed: int
    renamed: int
    moved: int


class Comparison(Struct, frozen=True):
    """What differs between the first model and another one."""

    side: DiffSide
    counts: Counts
    tensors: tuple[TensorChange, ...]
    layers: tuple[LayerChange, ...]
    total: Figures | None
    files: tuple[FileChange, ...]
    values: tuple[ValueChange, ...]
    alignments: tuple[Alignment, ...]


class Diff(Struct, frozen=True):
    """All that was found. ``bits`` is None where all bits were compared.

    ``bytes_read`` is what was read of tensors to compare them, of ``bytes_in_all``; of files on
    disk it does not count that they were hashed.
    """

    base: DiffSide
    others: tuple[Comparison, ...]
    bits: int | None
    aligned: bool
    bytes_read: int
    bytes_in_all: int


def diff(
    parts: Parts | None,
    *texts: str,
    bits: int | None = None,
    align: bool = False,
    progress: Progress | None = None,
) -> Diff:
    """Compare what two or more revisions or paths name with the first of them.

    ``parts`` is None where there is no store: then all are paths, of which all bits are read. With
    ``bits`` only so many leading bits of floats are read and figures have bounds; with ``align``
    neurons are first put in the order of the first model's, which holds the tensors of these layers
    in memory. InvalidInputError for fewer than two, or for ``bits`` together with ``align``.
    """
    if align and bits is not None:
        raise InvalidInputError(
            "neurons are aligned by all bits", hint="leave out either --align or --high and --bits"
        )
    with open_sides(parts, texts) as sides:
        leading = leading_reader(parts, bits) if parts is not None and bits is not None else None
        plans = [_Plan(sides.base, other, align=align) for other in sides.others]
        tell = _Told(progress, sum(plan.bytes_to_read for plan in plans))
        comparisons = tuple(plan.run(leading, tell) for plan in plans)
        read = sum(plan.bytes_read for plan in plans) + (leading.bytes_read if leading else 0)
        every = (sides.base, *sides.others)
        return Diff(
            base=sides.base.shown,
            others=comparisons,
            bits=bits if leading is not None else None,
            aligned=align,
            bytes_read=read,
            bytes_in_all=sum(_size(side, leading) for side in every),
        )


def _size(side: Side, leading: "LeadingReader | None") -> int:
    if leading is not None:
        return side.stored_size(leading)
    return sum(tensor.size for tensor in side.tensors.values())


class _Told:
    """Tells a caller how far it is."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total, 0)


class _Row(NamedTuple):
    pair: Pair
    state: TensorState
    figures: Figures | None
    tally: "Tally | None" = None


class _Plan:
    """One comparison: its pairs, and which of them have to be read."""

    def __init__(self, base: Side, other: Side, *, align: bool) -> None:
        self._base, self._other, self._align = base, other, align
        self._pairs = pair_tensors(base, other)
        self.bytes_read = 0
        self.bytes_to_read = sum(
            pair.base.size for pair in self._pairs if pair.base and _state(pair) in _WEIGHED
        )

    def run(self, leading: "LeadingReader | None", tell: _Told) -> Comparison:
        aligner = self._aligner() if self._align else None
        rows = list(self._rows(leading, tell, aligner))
        tensors = tuple(self._change(row) for row in rows)
        return Comparison(
            side=self._other.shown,
            counts=_counts(tensors),
            tensors=tensors,
            layers=tuple(_layers(rows)),
            total=_joined(rows, brief=False),
            files=tuple(file_changes(self._base, self._other)),
            values=tuple(value_changes(self._base, self._other)),
            alignments=() if aligner is None else tuple(aligner.alignments),
        )

    def _aligner(self) -> "Aligner":
        from mstore.ops.diff_align import Aligner  # noqa: PLC0415 - loads NumPy

        aligner = Aligner(self._base, self._other, self._pairs)
        self.bytes_read += aligner.bytes_read
        return aligner

    def _rows(
        self, leading: "LeadingReader | None", tell: _Told, aligner: "Aligner | None"
    ) -> Iterator[_Row]:
        weighed = self._weigh(leading, aligner)
        for pair in self._pairs:
            state = _state(pair)
            if not self._is_weighed(pair, aligner):
                known = unchanged(_elements(pair.base)) if state == "identical" else None
                yield _Row(pair, state, known)
                continue
            assert pair.base is not None
            figures, tally = next(weighed)
            tell.add(pair.base.size)
            if aligner is not None and state != "retyped":
                # Where neurons were put elsewhere, what is compared is no longer what has the id.
                state = "changed" if figures.changed else "identical"
            yield _Row(pair, state, figures, tally)
        # Runs to the end, so that the count of bytes read is whole.
        assert next(weighed, None) is None

    def _weigh(
        self, leading: "LeadingReader | None", aligner: "Aligner | None"
    ) -> "Iterator[tuple[Figures, Tally]]":
        matches = [pair for pair in self._pairs if self._is_weighed(pair, aligner)]
        if not matches:
            return
        from mstore.ops.diff_weights import Comparer, Match  # noqa: PLC0415 - loads NumPy

        found: list[Match] = []
        for base, other in matches:
            assert base is not None
            assert other is not None
            found.append(Match(base, other))
        contents = (lambda _: None) if aligner is None else aligner.contents
        comparer: Comparer = Comparer(self._base, self._other, leading, contents)
        yield from comparer.weigh(found)
        self.bytes_read += comparer.bytes_read

    @staticmethod
    def _is_weighed(pair: Pair, aligner: "Aligner | None") -> bool:
        if _state(pair) in _WEIGHED:
            return True
        if aligner is None or pair.other is None:
            return False
        return aligner.contents(pair.other) is not None

    def _change(self, row: _Row) -> TensorChange:
        base, other = row.pair
        single = self._base.single and self._other.single
        key = other.key if other is not None else base.key if base is not None else ""
        return TensorChange(
            key=key,
            base_key=base.key if base else None,
            state=row.state,
            renamed=bool(base and other and base.name != other.name),
            moved=bool(base and other and not single and base.path != other.path),
            path=other.path if other else None,
            base_path=base.path if base else None,
            dtype=other.tensor.dtype if other else None,
            base_dtype=base.tensor.dtype if base else None,
            shape=other.tensor.shape if other else None,
            base_shape=base.tensor.shape if base else None,
            size_bytes=other.size if other else None,
            base_size_bytes=base.size if base else None,
            figures=row.figures,
        )


_WEIGHED = ("changed", "retyped")


def _state(pair: Pair) -> TensorState:
    base, other = pair
    if base is None:
        return "added"
    if other is None:
        return "removed"
    if base.id == other.id:
        return "identical"
    if base.tensor.shape != other.tensor.shape:
        return "resized"
    return "changed" if base.tensor.dtype == other.tensor.dtype else "retyped"


def _counts(tensors: Sequence[TensorChange]) -> Counts:
    def of(state: TensorState) -> int:
        return sum(tensor.state == state for tensor in tensors)

    return Counts(
        identical=of("identical"),
        changed=of("changed"),
        retyped=of("retyped"),
        resized=of("resized"),
        added=of("added"),
        removed=of("removed"),
        renamed=sum(tensor.renamed for tensor in tensors),
        moved=sum(tensor.moved for tensor in tensors),
    )


def _layers(rows: Sequence[_Row]) -> Iterator[LayerChange]:
    """The rows by layer, in the order in which layers first occur."""
    order = {name: at for at, name in enumerate(dict.fromkeys(map(_layer, rows)))}
    for name, group in groupby(sorted(rows, key=lambda row: order[_layer(row)]), key=_layer):
        found = list(group)
        identical = sum(row.state == "identical" for row in found)
        yield LayerChange(name, len(found), identical, _joined(found, brief=True))


def _layer(row: _Row) -> str:
    tensor = row.pair.other or row.pair.base
    assert tensor is not None
    stem, _, last = tensor.name.rpartition(".")
    return stem or last


def _joined(rows: Iterable[_Row], *, brief: bool) -> Figures | None:
    """The figures of several tensors together; ``brief`` ones have no histogram."""
    told = [row for row in rows if row.figures is not None]
    same = [row for row in told if row.tally is None]
    elements = sum(_elements(row.pair.base) for row in same)
    if len(same) == len(told):
        return unchanged(elements) if told else None
    from mstore.numerics.compare import Tally, brief_tally  # noqa: PLC0415 - loads NumPy

    joined = brief_tally() if brief else Tally()
    leading = False
    for row in told:
        if row.tally is not None and row.figures is not None:
            joined.add(row.tally)
            leading = leading or row.figures.bounds is not None
    joined.elements += elements
    joined.bits += sum(row.pair.base.size * _BYTE for row in same if row.pair.base)
    return joined.figures(leading=leading)


def _elements(tensor: SideTensor | None) -> int:
    if tensor is None:
        return 0
    return tensor.size * _BYTE // DTYPE_BITS[tensor.tensor.dtype]

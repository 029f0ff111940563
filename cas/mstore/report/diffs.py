"""The page of a diff: what differs between a model and others, by layer and by tensor."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mstore.report.frame import Head, Section, page
from mstore.report.markup import Child, Markup, tag
from mstore.report.numbers import number, size
from mstore.report.tables import Cell, Column, Grid, pairs, table
from mstore.report.tensors import bars
from mstore.report.texts import shown_value

if TYPE_CHECKING:
    from mstore.numerics.figures import Bucket, Figures
    from mstore.objects import Value
    from mstore.ops.diff import Comparison, Counts, Diff, LayerChange, TensorChange

SHOWN = 400
"""Tensors of a table; of more those that changed most."""
_FIGURES = [
    Column("changed", is_number=True),
    Column("relative L2", is_number=True),
    Column("cosine", is_number=True),
    Column("greatest change", is_number=True),
    Column("rank", is_number=True),
    Column("changes"),
]
_OF_LAYERS = 4
"""As many of the figures are known of layers too."""


def diff_page(found: "Diff") -> str:
    """What differs between the first model and each of the others."""
    others = [other.side.label for other in found.others]
    head = Head("diff", f"{found.base.label} → {', '.join(others)}", _read(found))
    if len(found.others) == 1:
        return page(head, list(_sections(found.others[0])))
    return page(head, [_together(other, at) for at, other in enumerate(found.others)])


def _read(found: "Diff") -> str:
    read = f"{size(found.bytes_read)} of weights read"
    return f"{read}, {found.bits} leading bits of floats" if found.bits is not None else read


def _together(found: "Comparison", at: int) -> Section:
    """All of one comparison in one section, with a heading for each part."""
    parts = [[tag("h3", part.title), part.body] for part in _sections(found)]
    return Section(f"other-{at}", found.side.label, parts)


def _sections(found: "Comparison") -> Iterable[Section]:
    yield Section("counts", "At a glance", _counts(found))
    if found.values:
        settings = [
            (value.state, [value.subject, value.key, _said(value.before), _said(value.after)])
            for value in found.values
        ]
        columns = ["where", "setting", "before", "after"]
        yield Section("values", "Settings", _changes(columns, settings))
    if found.layers:
        yield Section("layers", "Layers", _layers(found.layers))
    if found.tensors:
        count = f"{len(found.tensors):,}"
        yield Section("tensors", "Tensors", _tensors(found.tensors), count)
    if found.files:
        files = [
            (file.state, [file.path or file.base_path or "", file.state, file.base_path or ""])
            for file in found.files
        ]
        yield Section("files", "Files", _changes(["file", "state", "was"], files))


def _counts(found: "Comparison") -> Markup:
    counts: Counts = found.counts
    names = ("identical", "changed", "retyped", "resized", "added", "removed", "renamed", "moved")
    rows: list[tuple[str, Child]] = [
        (name, tag("span", f"{getattr(counts, name):,}", class_="figure"))
        for name in names
        if getattr(counts, name) or name in ("identical", "changed")
    ]
    if found.total is not None:
        rows.append(("numbers changed", f"{100 * found.total.changed_share:.3g} %"))
        if found.total.relative_l2 is not None:
            rows.append(("relative L2", number(found.total.relative_l2)))
    for alignment in found.alignments:
        told = f"{alignment.moved:,} of {alignment.width:,}"
        rows.append(("neurons put elsewhere", told))
    return pairs("at a glance", rows)


def _changes(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Child]]]) -> Markup:
    columns = [Column(title) for title in titles]
    cells = [[Cell(value) for value in values] for _, values in rows]
    styles = [state if state in ("added", "removed") else None for state, _ in rows]
    return table(Grid(titles[0], columns, cells, len(cells) > 1, styles=styles))


def _layers(layers: Sequence["LayerChange"]) -> Markup:
    columns = [
        Column("layer"),
        Column("tensors", is_number=True),
        Column("identical", is_number=True),
        *_FIGURES[:_OF_LAYERS],
    ]
    rows = [
        [
            Cell(layer.name),
            Cell(f"{layer.tensors:,}", layer.tensors),
            Cell(f"{layer.identical:,}", layer.identical),
            *_figures(layer.figures)[:_OF_LAYERS],
        ]
        for layer in layers
    ]
    return table(Grid("layers", columns, rows, is_sortable=True))


def _tensors(tensors: Sequence["TensorChange"]) -> Markup:
    shown = tensors
    if len(tensors) > SHOWN:
        chosen = sorted(range(len(tensors)), key=lambda at: _weight(tensors[at]))[:SHOWN]
        shown = [tensors[at] for at in sorted(chosen)]
    columns = [Column("tensor"), Column("state"), Column("form", is_whole=True), *_FIGURES]
    rows = [
        [Cell(_names(row)), Cell(_states(row)), Cell(_forms(row)), *_figures(row.figures)]
        for row in shown
    ]
    styles = [row.state if row.state in ("added", "removed") else None for row in shown]
    rest = len(tensors) - len(shown)
    note = f"and {rest:,} that changed less, not shown"
    return tag(
        "div",
        table(Grid("tensors", columns, rows, is_sortable=True, styles=styles)),
        tag("p", note, class_="note") if rest else None,
    )


def _weight(row: "TensorChange") -> tuple[bool, float]:
    """What changed in form comes first, then what changed most."""
    far = row.figures.relative_l2 if row.figures is not None else None
    return row.state in ("identical", "changed"), -(far or 0.0)


def _names(row: "TensorChange") -> str:
    if row.renamed and row.base_key is not None:
        return f"{row.base_key} → {row.key}"
    return row.key


def _states(row: "TensorChange") -> str:
    marks = {"renamed": row.renamed, "moved": row.moved}
    return ", ".join([row.state, *(name for name, wanted in marks.items() if wanted)])


def _forms(row: "TensorChange") -> str:
    before, after = _form(row.base_dtype, row.base_shape), _form(row.dtype, row.shape)
    if before == after:
        return after
    return " → ".join(form for form in (before, after) if form)


def _form(dtype: str | None, shape: Sequence[int] | None) -> str:
    if dtype is None or shape is None:
        return ""
    return f"{dtype} {'x'.join(map(str, shape)) or 'scalar'}"


def _figures(found: "Figures | None") -> list[Cell]:
    if found is None:
        return [Cell("")] * len(_FIGURES)
    share = found.changed_share
    return [
        Cell(f"{100 * share:.3g} %", share),
        _maybe(found.relative_l2),
        _maybe(found.cosine),
        _maybe(found.max_change),
        _rank(found),
        Cell(_histogram(found.histogram)),
    ]


def _rank(found: "Figures") -> Cell:
    if found.effective_rank is None:
        return Cell("")
    limit = f" of {found.rank_limit:,}" if found.rank_limit is not None else ""
    return Cell(f"{found.effective_rank:.3g}{limit}", found.effective_rank)


def _maybe(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(number(value), value)


def _said(value: "Value") -> str:
    return "\N{EN DASH}" if value is None else shown_value(value)


def _histogram(buckets: Sequence["Bucket"]) -> Markup | None:
    """The changes by powers of two; numbers that did not change are left out."""
    there = [bucket for bucket in buckets if bucket.low or bucket.high]
    if not there:
        return None
    words = f"changes from {number(there[0].low)} to {number(there[-1].high)}"
    negative = sum(bucket.high <= 0 for bucket in there)
    return bars([bucket.count for bucket in there], words, zero=negative / len(there))

"""A comparison of models as lines and tables for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mstore_cli import render

if TYPE_CHECKING:
    from mstore.numerics.figures import Figures, Interval
    from mstore.ops.diff import Comparison, Diff, LayerChange, TensorChange
    from mstore.ops.diff_sides import DiffSide
    from mstore.ops.diff_structure import FileChange, ValueChange

MAX_LISTED = 40
"""Names of one kind that are listed before the rest is only counted."""
_BARS = "▁▂▃▄▅▆▇█"
_MIN_BARS = 8
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}


def lines(diff: "Diff", *, tensors: bool) -> Iterator[render.Part]:
    """Say what differs: each model against the first, then all side by side."""
    yield f"a: {_side(diff.base)}"
    for number, comparison in enumerate(diff.others, 1):
        yield f"{_letter(number)}: {_side(comparison.side)}"
    for number, comparison in enumerate(diff.others, 1):
        yield ""
        if len(diff.others) > 1:
            yield f"a to {_letter(number)}"
        yield from _structure(comparison)
        if tensors:
            yield from _tensors(comparison)
        elif len(diff.others) == 1:
            yield from _layers(comparison.layers)
        yield from _total(comparison.total)
    if len(diff.others) > 1:
        yield ""
        yield _side_by_side(diff.others)
    yield ""
    yield _read(diff)


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else str(number)  # noqa: PLR2004 (letters)


def _side(side: "DiffSide") -> str:
    known = render.short(side.version) if side.version else side.place or ""
    size = f"{render.count(side.tensors, 'tensor')}, {render.size(side.size_bytes)}"
    return f"{side.label}  {known}  {size}"


def _structure(comparison: "Comparison") -> Iterator[str]:
    changes = [
        *(_shown(tensor) for tensor in comparison.tensors if tensor.state in _STRUCTURAL),
        *_renamed(comparison.tensors),
        *_moved(comparison),
    ]
    yield from _some(changes)
    same = sum(tensor.state not in _STRUCTURAL for tensor in comparison.tensors)
    identical = comparison.counts.identical
    yield f"= {render.count(same, 'tensor')} of the same shape, {identical} identical"
    for alignment in comparison.alignments:
        neurons = f"{alignment.moved} of {alignment.width} neurons"
        yield f"aligned {neurons}: {', '.join(alignment.tensors)}"
    if _is_same(comparison):
        yield "nothing differs"
    yield from _some([_file(file) for file in comparison.files])
    yield from _some([_value(value) for value in comparison.values])


def _is_same(comparison: "Comparison") -> bool:
    counts = comparison.counts
    same = counts.identical == len(comparison.tensors) and not (counts.renamed or counts.moved)
    return same and not (comparison.files or comparison.values or comparison.alignments)


_STRUCTURAL = ("added", "removed", "resized", "retyped")


def _shown(tensor: "TensorChange") -> str:
    if tensor.state == "added":
        return f"+ {tensor.key} {_kind(tensor.dtype, tensor.shape)}"
    if tensor.state == "removed":
        return f"- {tensor.key} {_kind(tensor.base_dtype, tensor.base_shape)}"
    before = _kind(tensor.base_dtype, tensor.base_shape)
    return f"~ {tensor.key} {before} -> {_kind(tensor.dtype, tensor.shape)}"


def _kind(dtype: str | None, shape: "tuple[int, ...] | None") -> str:
    return f"{dtype} {'x'.join(map(str, shape or ())) or 'scalar'}"


def _renamed(tensors: "Sequence[TensorChange]") -> Iterator[str]:
    """All renamed ones in one line when only their prefixes differ."""
    found = [tensor for tensor in tensors if tensor.renamed]
    prefixes = {_prefixes(tensor) for tensor in found}
    if len(prefixes) == 1 and len(found) > 1:
        before, after = prefixes.pop()
        yield f"renamed: {len(found)} ({before or 'no prefix'} -> {after or 'no prefix'})"
        return
    if found:
        yield f"renamed: {len(found)}"
    yield from (f"> {tensor.base_key} -> {tensor.key}" for tensor in found)


def _prefixes(tensor: "TensorChange") -> tuple[str, str]:
    """What both names have before the parts, from the last one on, that they share."""
    before, after = (tensor.base_key or "").split("."), tensor.key.split(".")
    while before and after and before[-1] == after[-1]:
        before.pop()
        after.pop()
    return ".".join(before), ".".join(after)


def _moved(comparison: "Comparison") -> Iterator[str]:
    moves = {(t.base_path, t.path) for t in comparison.tensors if t.moved}
    if moves:
        yield f"moved: {comparison.counts.moved}"
    for before, after in sorted((before or "", after or "") for before, after in moves):
        count = sum((t.base_path, t.path) == (before, after) for t in comparison.tensors)
        yield f"> {render.count(count, 'tensor')} from {before} to {after}"


def _file(file: "FileChange") -> str:
    sizes = [
        render.size(size) for size in (file.base_size_bytes, file.size_bytes) if size is not None
    ]
    names = [name for name in (file.base_path, file.path) if name is not None]
    name = " -> ".join(dict.fromkeys(names))
    return f"{_SIGNS[file.state]} file {name} ({' -> '.join(dict.fromkeys(sizes))})"


def _value(value: "ValueChange") -> str:
    name = value.subject if value.key == value.subject else f"{value.subject}: {value.key}"
    before, after = _json(value.before), _json(value.after)
    texts = {"added": after, "removed": before, "changed": f"{before} -> {after}"}
    shown = "" if value.subject in _LISTS else f" = {texts[value.state]}"
    return f"{_SIGNS[value.state]} {name}{shown}"


_LISTS = ("tags", "datasets")


def _json(value: object) -> str:
    return value if isinstance(value, str) else render.compact(value)


def _some(found: Sequence[str]) -> Iterator[str]:
    yield from found[:MAX_LISTED]
    if len(found) > MAX_LISTED:
        yield f"  and {len(found) - MAX_LISTED} more: see --json"


class _Branch(NamedTuple):
    """Layers below one prefix of which every tensor is identical, or one layer."""

    name: str
    tensors: int
    figures: "Figures | None"
    identical: bool


def _layers(layers: "Sequence[LayerChange]") -> Iterator[render.Part]:
    rows = [(branch.name, str(branch.tensors), *_cells(branch)) for branch in _branches(layers)]
    if rows:
        yield ""
        yield render.Table(("LAYER", "TENSORS", *_HEADERS), rows, frozenset((*_HEADERS, "TENSORS")))


_HEADERS = ("CHANGED", "BITS", "REL L2", "COSINE", "GREATEST")


def _cells(branch: _Branch) -> tuple[str, ...]:
    if branch.identical:
        return ("0 (identical)", "", "", "", "")
    return _figures(branch.figures)


def _figures(figures: "Figures | None") -> tuple[str, ...]:
    if figures is None:
        return ("", "", "", "", "")
    return (
        _percent(figures.changed_share),
        _percent(figures.changed_bits_share),
        _number(figures.relative_l2),
        _number(figures.cosine, ".8f"),
        _number(figures.max_change),
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4g} %"


def _number(value: float | None, form: str = ".4g") -> str:
    return "" if value is None else f"{value:{form}}"


def _branches(layers: "Sequence[LayerChange]") -> Iterator[_Branch]:
    """The layers, those below a prefix that is identical throughout as one (``backbone.*``)."""
    changed = {layer.name for layer in layers if layer.identical < layer.tensors}
    done: set[str] = set()
    for layer in layers:
        prefix = None if layer.name in changed else _same_below(layer.name, layers, changed)
        if prefix is None:
            same = layer.name not in changed
            yield _Branch(layer.name, layer.tensors, layer.figures, same)
        elif prefix not in done:
            done.add(prefix)
            below = (other for other in layers if other.name.startswith(f"{prefix}."))
            yield _Branch(
                f"{prefix}.*", sum(other.tensors for other in below), None, identical=True
            )


def _same_below(name: str, layers: "Sequence[LayerChange]", changed: set[str]) -> str | None:
    """The shortest prefix of a name below which several layers stand and none changed."""
    parts = name.split(".")
    for count in range(1, len(parts)):
        prefix = ".".join(parts[:count])
        below = [layer.name for layer in layers if layer.name.startswith(f"{prefix}.")]
        if len(below) > 1 and changed.isdisjoint(below):
            return prefix
    return None


def _tensors(comparison: "Comparison") -> Iterator[render.Part]:
    rows = [
        (tensor.key, tensor.state, *_figures(tensor.figures), _rank(tensor), _bars(tensor.figures))
        for tensor in comparison.tensors
    ]
    headers = ("TENSOR", "STATE", *_HEADERS, "RANK", "CHANGES, NEGATIVE TO POSITIVE")
    yield ""
    yield render.Table(headers, rows, frozenset((*_HEADERS, "RANK")))


def _rank(tensor: "TensorChange") -> str:
    figures = tensor.figures
    if figures is None or figures.effective_rank is None or figures.rank_limit is None:
        return ""
    sampled = " sampled" if figures.rank_sampled else ""
    return f"{figures.effective_rank:.1f} of {figures.rank_limit}{sampled}"


def _bars(figures: "Figures | None") -> str:
    """The histogram as a row of bars, each bucket a power of two."""
    if figures is None or not figures.changed:
        return ""
    counts = [bucket.count for bucket in figures.histogram]
    most = max(counts, default=0)
    scale = len(_BARS) - 1
    return "".join(_BARS[-(-count * scale // most)] for count in counts)


def _total(total: "Figures | None") -> Iterator[str]:
    if total is None or not total.changed:
        return
    cells = _figures(total)
    yield ""
    changed = f"{total.changed:,} of {total.elements:,} numbers changed ({cells[0]})"
    yield changed + (f", {cells[1]} of their bits" if cells[1] else "")
    named = (("relative L2", cells[2]), ("cosine", cells[3]), ("greatest change", cells[4]))
    yield ", ".join(f"{name} {cell}" for name, cell in named if cell)
    if total.not_finite:
        yield f"{render.count(total.not_finite, 'number')} infinite or NaN, left out of these"
    if total.bounds is not None:
        yield f"all bits would give: {', '.join(_bounds(total))}"


def _bounds(total: "Figures") -> Iterator[str]:
    assert total.bounds is not None
    share = (count / max(total.elements, 1) for count in total.bounds.changed)
    low, high = map(_percent, share)
    yield f"{low} to {high} changed"
    for name, interval in (
        ("relative L2", total.bounds.relative_l2),
        ("cosine", total.bounds.cosine),
        ("greatest change", total.bounds.max_change),
    ):
        yield f"{name} {_interval(interval)}"


def _interval(interval: "Interval | None") -> str:
    if interval is None:
        return "unknown"
    return f"{interval.low:.4g} to {interval.high:.4g}"


def _side_by_side(comparisons: "Sequence[Comparison]") -> render.Table:
    """The relative length of the change of each layer, a column for each model."""
    names = dict.fromkeys(layer.name for found in comparisons for layer in found.layers)
    columns = [{layer.name: layer for layer in found.layers} for found in comparisons]
    letters = [_letter(number) for number in range(1, len(comparisons) + 1)]
    rows = [(name, *(_change(column.get(name)) for column in columns)) for name in names]
    rows.append(("all", *(_change_of(found.total) for found in comparisons)))
    return render.Table(("REL L2 TO a", *letters), rows, frozenset(letters))


def _change(layer: "LayerChange | None") -> str:
    if layer is None:
        return ""
    return "identical" if layer.identical == layer.tensors else _change_of(layer.figures)


def _change_of(figures: "Figures | None") -> str:
    return "" if figures is None else _number(figures.relative_l2)


def _read(diff: "Diff") -> str:
    share = 100 * diff.bytes_read / diff.bytes_in_all if diff.bytes_in_all else 0.0
    bits = "" if diff.bits is None else f" for {diff.bits} leading bits"
    return f"read {render.size(diff.bytes_read)} of tensors{bits}, {share:.1f} % of all there are"

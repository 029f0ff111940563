"""The pages: of a version, of versions beside each other, of curves and of a list."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mstore.ops.scores import is_setting
from mstore.report.curves import charts
from mstore.report.frame import Head, Section, page
from mstore.report.made import note_sections, origin_sections
from mstore.report.markup import Child, Markup, tag
from mstore.report.numbers import brief, number, size
from mstore.report.plots import Points, parallel, scatter
from mstore.report.tables import Cell, Column, Grid, pairs, table
from mstore.report.tensors import layers_table, tensors_table
from mstore.report.texts import shown_time, shown_value
from mstore.units import format_quantity

if TYPE_CHECKING:
    from mstore.objects import Value
    from mstore.ops.compare import Comparison, Result
    from mstore.ops.curves import Curve
    from mstore.ops.describe import Kin, Shown, TensorRow
    from mstore.ops.listing import Listed
    from mstore.ops.overview import Overview
    from mstore.report.tensors import Spreads

WITH_IT = "stored with it"
"""Where metrics stand that a version said itself, of no data set by name."""
_ABSENT = tag("span", "\N{EN DASH}", class_="absent")


def version_page(
    found: "Overview",
    tensors: Sequence["TensorRow"],
    spreads: "Spreads",
    history: Sequence["Curve"] = (),
) -> str:
    """Everything known of a version. ``history`` are the curves of its model's versions."""
    shown, version = found.shown, found.shown.version
    spread_note = None
    if spreads:
        spread_note = tag("p", "Spreads show the middle 99.9 % of the numbers.", class_="note")
    sections = [
        Section("facts", "At a glance", _facts(found)),
        *_metrics_sections(found),
        *_curve_sections("curves", "Training curves", found.curves),
        *_curve_sections("history", "Over the versions of the model", history),
        *_value_sections("parameters", "Parameters", version.parameters),
        *_layer_sections(found),
    ]
    if tensors:
        body = [tensors_table(tensors, spreads), spread_note]
        sections.append(Section("tensors", "Tensors", body, f"{len(tensors):,}"))
    sections += _value_sections("metadata", "Metadata", version.metadata)
    sections += origin_sections(found)
    sections += note_sections(shown.notes)
    sections.append(Section("files", "Files", _files(shown), f"{len(shown.files):,}"))
    head = Head("version", found.label, _under(shown), version.message)
    return page(head, sections)


def compare_page(found: "Comparison") -> str:
    """Versions beside each other."""
    labels = [version.label for version in found.versions]
    points = Points(labels, *_dimensions(found)).varied()
    sections = [Section("versions", "Versions", _versions_table(found), f"{len(labels)}")]
    if found.results:
        body = [_results_table(labels, found.results), _legend_of_marks()]
        sections.append(Section("metrics", "Metrics by data set", body))
    sections += _curve_sections("curves", "Training curves", found.curves)
    if found.settings:
        sections.append(Section("parameters", "Parameters", _settings(labels, found)))
    sections += _point_sections(points)
    title = " · ".join(labels) if len(labels) <= 4 else f"{len(labels)} versions"  # noqa: PLR2004 - what fits one line
    return page(Head("comparison", title), sections)


def curves_page(title: str, curves: Sequence["Curve"]) -> str:
    """Curves over each other."""
    return page(Head("curves", title), [Section("curves", "Curves", charts(curves))])


def list_page(title: str, rows: Sequence["Listed"]) -> str:
    """Models, or versions of one, as a table that can be sorted, and as points."""
    metrics = sorted({name for row in rows for name in row.metrics})
    settings = sorted(
        {name for row in rows for name, value in row.parameters.items() if _is_number(value)}
    )
    names = [*metrics, *settings, "size", "parameters"]
    numbers = [
        [
            *(row.metrics.get(name, math.nan) for name in metrics),
            *(_float(row.parameters.get(name)) for name in settings),
            float(row.size_bytes),
            float(row.parameter_count),
        ]
        for row in rows
    ]
    points = Points([row.label for row in rows], names, numbers).varied()
    table_ = Section(
        "list", "Versions" if title else "Models", _list_table(rows, metrics), f"{len(rows):,}"
    )
    head = Head("list", title or "Models")
    return page(head, [table_, *_point_sections(points)])


def _under(shown: "Shown") -> Child:
    origins = [[", ", kin.relation, " from ", tag("b", _kin_name(kin))] for kin in shown.parents]
    others = f", also {', '.join(shown.names[1:])}" if len(shown.names) > 1 else None
    return [tag("code", str(shown.id)[:16]), others, origins]


def _kin_name(kin: "Kin") -> str:
    return kin.label or kin.id.hex()[:12]


def _facts(found: "Overview") -> Markup:
    version, shown = found.shown.version, found.shown
    big = [
        ("parameters", tag("span", brief(found.parameter_count), class_="figure")),
        ("size", tag("span", size(version.size), class_="figure")),
        ("tensors", tag("span", f"{version.tensor_count:,}", class_="figure")),
    ]
    taken = found.footprint
    said = [
        ("memory", "" if taken.memory_bytes is None else size(taken.memory_bytes)),
        (
            "a pass",
            "" if taken.flops is None else format_quantity(taken.flops, "operations", digits=3),
        ),
        (
            "time",
            "" if taken.seconds is None else format_quantity(taken.seconds, "seconds", digits=3),
        ),
        ("state", shown.state if shown.state != "kept" else ""),
        ("stored", shown_time(version.time)),
        ("author", version.author),
        ("task", version.task),
        ("data sets", ", ".join(version.datasets)),
    ]
    tags = [tag("span", name, class_="tag") for name in shown.tags]
    rows: list[tuple[str, Child]] = [*big, *((key, text) for key, text in said if text)]
    if tags:
        rows.append(("tags", tags))
    rows.append(("version", tag("code", str(shown.id))))
    if version.model_hash:
        rows.append(("model hash", tag("code", version.model_hash.hex())))
    return pairs("at a glance", rows)


def _metrics_sections(found: "Overview") -> Iterable[Section]:
    if not found.scores:
        return
    datasets = list(dict.fromkeys(_place(score.dataset, score.split) for score in found.scores))
    values = {
        (s.metric, _place(s.dataset, s.split)): s.value
        for s in sorted(found.scores, key=lambda s: s.time)
    }
    metrics = sorted({metric for metric, _ in values})
    columns = [Column("metric"), *(Column(name or WITH_IT, is_number=True) for name in datasets)]
    rows = [
        [Cell(metric), *(_number_cell(values.get((metric, name))) for name in datasets)]
        for metric in metrics
    ]
    grid = Grid("metrics by data set", columns, rows, len(rows) > 1, is_compact=True)
    yield Section("metrics", "Metrics by data set", table(grid))


def _place(dataset: str, split: str) -> str:
    return f"{dataset}:{split}" if split else dataset


def _curve_sections(anchor: str, title: str, curves: Sequence["Curve"]) -> list[Section]:
    return [Section(anchor, title, charts(curves))] if curves else []


def _value_sections(anchor: str, title: str, values: Mapping[str, "Value"]) -> list[Section]:
    if not values:
        return []
    rows = [[Cell(key), Cell(shown_value(value))] for key, value in sorted(values.items())]
    columns = [Column("name"), Column("value")]
    grid = Grid(title.casefold(), columns, rows, len(rows) > 1, is_compact=True)
    return [Section(anchor, title, table(grid), f"{len(rows):,}")]


def _layer_sections(found: "Overview") -> list[Section]:
    if len(found.layers) < 2:  # noqa: PLR2004 - one layer is the whole model
        return []
    return [Section("layers", "Layers", layers_table(found.layers), f"{len(found.layers):,}")]


def _files(shown: "Shown") -> Markup:
    columns = [
        Column("file"),
        Column("size", is_number=True),
        Column("tensors", is_number=True),
        Column("hash"),
    ]
    rows = [
        [
            Cell(file.path),
            Cell(size(file.size_bytes), file.size_bytes),
            Cell(f"{file.tensors:,}" if file.tensors else "", file.tensors),
            Cell(tag("code", str(file.id)[:12])),
        ]
        for file in shown.files
    ]
    return table(Grid("files", columns, rows, is_sortable=len(rows) > 1))


def _versions_table(found: "Comparison") -> Markup:
    columns = [Column(""), *(Column(each.label, is_number=True) for each in found.versions)]
    lines: list[tuple[str, list[str]]] = [
        ("stored", [shown_time(each.time) for each in found.versions]),
        ("parameters", [f"{each.parameter_count:,}" for each in found.versions]),
        ("size", [size(each.size_bytes) for each in found.versions]),
        ("tensors", [f"{each.tensors:,}" for each in found.versions]),
        ("hash", [str(each.id)[:12] for each in found.versions]),
    ]
    rows = [[Cell(name), *map(Cell, values)] for name, values in lines]
    return table(Grid("the versions", columns, rows))


def _results_table(labels: Sequence[str], results: Sequence["Result"]) -> Markup:
    columns = [
        Column("metric"),
        Column("data set"),
        *(Column(label, is_number=True) for label in labels),
        Column("better"),
    ]
    rows = [
        [
            Cell(result.metric),
            Cell(result.dataset or WITH_IT),
            *(
                _number_cell(value, is_best=at in result.best)
                for at, value in enumerate(result.values)
            ),
            Cell(_better(result)),
        ]
        for result in results
    ]
    return table(Grid("metrics by data set and version", columns, rows, is_sortable=True))


def _better(result: "Result") -> str:
    if is_setting(result.metric):
        return ""
    return "lower" if result.direction == "min" else "higher"


def _legend_of_marks() -> Markup:
    return tag("p", "★ marks the best of each row.", class_="note")


def _settings(labels: Sequence[str], found: "Comparison") -> Markup:
    different = [setting for setting in found.settings if setting.differs]
    same = [setting for setting in found.settings if not setting.differs]
    columns = [Column("parameter"), *(Column(label) for label in labels)]
    rows = [
        [Cell(setting.name), *(Cell(_said(value)) for value in setting.values)]
        for setting in different
    ]
    styles = ["differs"] * len(rows)
    parts: list[Child] = []
    if different:
        parts.append(table(Grid("parameters that differ", columns, rows, styles=styles)))
    if same:
        alike = [[Cell(setting.name), Cell(_said(setting.values[0]))] for setting in same]
        grid = Grid("parameters that are the same", [Column("parameter"), Column("value")], alike)
        noun = "parameter is" if len(same) == 1 else "parameters are"
        parts.append(
            tag(
                "details",
                tag("summary", f"{len(same)} {noun} the same"),
                table(grid),
                open=not different,
            )
        )
    return tag("div", parts)


def _said(value: "Value") -> Child:
    return _ABSENT if value is None else shown_value(value)


def _point_sections(points: Points) -> list[Section]:
    if len(points.names) < 2 or len(points.dimensions) < 2:  # noqa: PLR2004 - two of each make a picture
        return []
    body = tag("div", scatter(points), parallel(points), class_="charts")
    return [Section("dimensions", "Dimensions", body)]


def _dimensions(found: "Comparison") -> tuple[list[str], list[list[float]]]:
    names = [f"{r.metric} ({r.dataset})" if r.dataset else r.metric for r in found.results]
    settings = [s for s in found.settings if any(_is_number(value) for value in s.values)]
    names += [setting.name for setting in settings] + ["size", "parameters"]
    rows = [
        [
            *(_float(result.values[at]) for result in found.results),
            *(_float(setting.values[at]) for setting in settings),
            float(version.size_bytes),
            float(version.parameter_count),
        ]
        for at, version in enumerate(found.versions)
    ]
    return names, rows


def _list_table(rows: Sequence["Listed"], metrics: Sequence[str]) -> Markup:
    columns = [
        Column("version"),
        Column("stored", is_whole=True),
        Column("parent"),
        Column("parameters", is_number=True),
        Column("size", is_number=True),
        *(Column(name, is_number=True) for name in metrics),
        Column("tags"),
        Column("message"),
    ]
    cells = [
        [
            Cell(row.label),
            Cell(shown_time(row.time), row.time),
            Cell(", ".join(f"{kin.relation} from {_kin_name(kin)}" for kin in row.parents)),
            Cell(brief(row.parameter_count), row.parameter_count),
            Cell(size(row.size_bytes), row.size_bytes),
            *(_number_cell(row.metrics.get(name)) for name in metrics),
            Cell([tag("span", name, class_="tag") for name in row.tags]),
            Cell(row.message.partition("\n")[0]),
        ]
        for row in rows
    ]
    return table(Grid("what there is", columns, cells, is_sortable=True))


def _number_cell(value: float | None, *, is_best: bool = False) -> Cell:
    if value is None:
        return Cell(_ABSENT, "")
    return Cell(number(value), value if math.isfinite(value) else "", is_best)


def _is_number(value: "Value") -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: "Value") -> float:
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    )

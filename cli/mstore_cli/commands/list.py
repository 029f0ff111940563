"""``mstore list``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import lineage_text, render
from mstore_cli.drawing import number
from mstore_cli.html import html_options, write_page
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb
from mstore_cli.texts import lacking, tell

if TYPE_CHECKING:
    from mstore import Store
    from mstore.catalog.reports import ModelsReport
    from mstore.ops.listing import Listed

_NUMBERS = frozenset({"VERSIONS", "PARAMS", "SIZE", "STORED"})
_SPARE = ("HASH", "AUTHOR", "STATE", "VERSIONS", "PARENT", "TIME", "MESSAGE", "TAGS", "STORED")


@verb(
    "list",
    "mstore list",
    "mstore list --name lenet --sort val/accuracy --column learning_rate",
    "mstore list --where 'size < 10MB and not has val/accuracy'",
)
@click.option("--name", type=ModelName(), help="Every version of one model instead.")
@click.option("--task", default="", metavar="TASK", help="Only models for this task.")
@click.option(
    "--where",
    default="",
    metavar="QUERY",
    help="Only models whose newest version fits; see search.",
)
@click.option(
    "-c",
    "--column",
    "columns",
    metavar="NAME",
    multiple=True,
    help="Show this metric or parameter too.",
)
@click.option("--sort", metavar="COLUMN", help="Sort by a column, a metric or a parameter.")
@click.option("--reverse", is_flag=True, help="Greatest first.")
@click.option("--graph", "as_graph", is_flag=True, help="Draw all versions of all models.")
@click.option("--stored", is_flag=True, help="Show the bytes that each takes in the store.")
@html_options
def command(
    run: Run,
    *,
    name: str | None,
    task: str,
    where: str,
    columns: tuple[str, ...],
    sort: str | None,
    reverse: bool,
    as_graph: bool,
    stored: bool,
    html: Path | None,
    force: bool,
) -> None:
    """List the models and the newest version of each."""
    store = run.store()
    if as_graph and not run.as_json:
        _draw(store, html, force=force)
        return
    asked = _ask(store, name, where, task) if task or where else None
    rows = _chosen(store.listing(name), asked)
    if sort is not None:
        from mstore.ops.listing import sorted_rows  # noqa: PLC0415 (only when it is wanted)

        rows = sorted_rows(rows, sort, reverse=reverse)
    taken = _taken(run, rows) if stored else {}
    page = write_page(html, lambda: _page(name, rows), force=force)
    found = [{**render.jsonable(row), "stored_bytes": taken.get(row.label)} for row in rows]
    if asked is not None and not run.as_json:
        tell(asked.notices)
    run.answer(
        rows,
        lambda rows: [*_text(rows, columns, taken, page), *_asked_text(rows, asked)],
        models=found,
        html=page,
        lacking=asked.lacking if asked else (),
        remarks=asked.remarks if asked else (),
        notices=asked.notices if asked else (),
    )


def _ask(store: "Store", name: str | None, where: str, task: str) -> "ModelsReport":
    if name is not None:
        wrong = "--task and --where choose models; versions of one are found by search"
        raise click.UsageError(wrong, click.get_current_context())
    return store.find_models(where=where, task=task)


def _chosen(rows: "list[Listed]", asked: "ModelsReport | None") -> "list[Listed]":
    """The models that fit, in the order that the search gives them."""
    if asked is None:
        return rows
    known = {row.name: row for row in rows}
    return [known[model.name] for model in asked.models if model.name in known]


def _asked_text(rows: "Sequence[Listed]", asked: "ModelsReport | None") -> Iterator[render.Part]:
    if asked is None:
        if not rows:
            yield "no models yet; store one: mstore put PATH"
        return
    yield from asked.remarks if rows else (*asked.remarks, "no model fits")
    yield from lacking(asked.lacking)


def _draw(store: "Store", html: Path | None, *, force: bool) -> None:
    """Draw every version, in a page too if one is wanted."""
    from mstore.report.lineages import lineage_page  # noqa: PLC0415 (only when it is wanted)

    history = store.history()
    page = write_page(html, lambda: lineage_page("All versions", history), force=force)
    render.write(lineage_text.drawing(history))
    if page:
        render.write([f"written to {page}"])


def _page(name: str | None, rows: "Sequence[Listed]") -> str:
    from mstore.report.pages import list_page  # noqa: PLC0415 (only when a page is wanted)

    return list_page(name or "", rows)


def _taken(run: Run, rows: "Sequence[Listed]") -> dict[str, int]:
    used = run.store().du([row.label for row in rows])
    return {
        row.label: use.exclusive_bytes + use.shared_bytes
        for row, use in zip(rows, used, strict=True)
    }


def _text(
    rows: "Sequence[Listed]", columns: Sequence[str], taken: Mapping[str, int], page: str | None
) -> Iterator[render.Part]:
    if not rows:
        return
    best = best_labels(rows)
    cells = [_cells(row, columns, taken, best) for row in rows]
    wanted = [column.upper() for column in columns]
    headers = [
        *("MODEL", "STATE", "HASH", "VERSIONS", "PARAMS", "SIZE"),
        *(["STORED"] if taken else []),
        *("PARENT", "METRIC", *wanted, "TIME", "TAGS", "MESSAGE"),
    ]
    spare = [header for header in _SPARE if header in headers]
    yield render.Table(headers, cells, _NUMBERS | set(wanted), spare)
    if page:
        yield f"written to {page}"


def _cells(
    row: "Listed", columns: Sequence[str], taken: Mapping[str, int], best: Mapping[str, set[str]]
) -> list[str]:
    return [
        row.label,
        "" if row.state == "kept" else row.state,
        render.short(row.version),
        str(row.versions),
        render.brief(row.parameter_count),
        render.size(row.size_bytes),
        *([render.size(taken[row.label])] if taken else []),
        parents_cell(row),
        headline_cell(row, best),
        *(_said(row, column) for column in columns),
        render.local_time(row.time),
        ", ".join(row.tags),
        render.first_line(row.message),
    ]


def parents_cell(row: "Listed") -> str:
    """What a version came from, and how."""
    return ", ".join(f"{kin.relation} {kin.label or render.short(kin.id)}" for kin in row.parents)


def headline_cell(row: "Listed", best: Mapping[str, set[str]]) -> str:
    """The metric that says most of a version, marked where no other is better."""
    if row.headline is None:
        return ""
    told = f"{row.headline} {number(row.metrics[row.headline])}"
    is_best = row.label in best.get(row.headline, ())
    return render.Strong(f"{told} {render.BEST}") if is_best else told


def best_labels(rows: "Sequence[Listed]") -> dict[str, set[str]]:
    """The labels of the best of several versions, for each metric."""
    from mstore.ops.scores import best_of  # noqa: PLC0415 (the library is loaded by now)

    found = {}
    for metric in {row.headline for row in rows if row.headline is not None}:
        values = [row.metrics.get(metric) for row in rows]
        several = len({value for value in values if value is not None}) > 1
        places = best_of(metric, values) if several else ()
        found[metric] = {rows[at].label for at in places}
    return found


def _said(row: "Listed", column: str) -> str:
    from mstore.ops.listing import value_of  # noqa: PLC0415 (as above)

    value = value_of(row, column)
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)

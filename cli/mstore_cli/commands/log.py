"""``mstore log``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import graph, render
from mstore_cli.commands.list import best_labels, headline_cell, parents_cell
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.describe import LogRow
    from mstore.ops.listing import Listed

_HEADERS = (
    *("VERSION", "HASH", "STATE", "PARAMS", "SIZE", "PARENT", "METRIC"),
    *("TIME", "AUTHOR", "TAGS", "MESSAGE"),
)
_SPARE = ("AUTHOR", "STATE", "PARENT", "HASH", "TIME", "SIZE", "MESSAGE", "TAGS")


@verb("log", "mstore log lenet", "mstore log lenet --graph", "mstore log lenet --sort val/loss")
@click.argument("name", type=ModelName())
@click.option("--graph", "as_graph", is_flag=True, help="Draw which version came from which.")
@click.option("--sort", metavar="COLUMN", help="Sort by a column, a metric or a parameter.")
@click.option("--reverse", is_flag=True, help="Greatest first.")
def command(run: Run, *, name: str, as_graph: bool, sort: str | None, reverse: bool) -> None:
    """List the versions of a model, newest first."""
    if as_graph and sort is not None:
        message = "--graph goes with the order of versions, not with --sort"
        raise click.UsageError(message)
    store = run.store()
    rows = store.log(name)
    listed = [] if as_graph or (run.as_json and sort is None) else store.listing(name, rows)
    if sort is not None:
        from mstore.ops.listing import sorted_rows  # noqa: PLC0415 (only when it is wanted)

        rows = _reordered(rows, sorted_rows(listed, sort, reverse=reverse))
    text = _graph if as_graph else lambda rows: _table(rows, listed)
    run.answer(rows, text, name=name, versions=rows)


def _reordered(rows: "Sequence[LogRow]", order: "Sequence[Listed]") -> "list[LogRow]":
    """Rows in the order given; deleted ones, which say nothing to sort by, come last."""
    by_number = {row.number: row for row in rows}
    known = [by_number.pop(row.number) for row in order]
    return [*known, *by_number.values()]


def _table(rows: "Sequence[LogRow]", listed: "Sequence[Listed]") -> Iterator[render.Part]:
    told = {row.number: row for row in listed}
    best = best_labels(listed)
    cells = [
        (f"{row.name}@{row.number}", render.short(row.id), *_cells(row, told.get(row.number), best))
        for row in rows
    ]
    yield render.Table(_HEADERS, cells, frozenset({"PARAMS", "SIZE"}), _SPARE)


def _cells(row: "LogRow", told: "Listed | None", best: Mapping[str, set[str]]) -> tuple[str, ...]:
    version, tags = row.version, ", ".join(row.tags)
    if version is None:
        return (row.state, "", "", "", "", "", "", tags, "")
    return (
        row.state,
        "" if told is None else render.brief(told.parameter_count),
        render.size(version.size),
        "" if told is None else parents_cell(told),
        "" if told is None else headline_cell(told, best),
        render.local_time(version.time),
        version.author,
        tags,
        render.first_line(version.message),
    )


def _graph(rows: "Sequence[LogRow]") -> Iterator[render.Part]:
    here = {bytes(row.id) for row in rows}
    return graph.draw([graph.Node(row.id, _parents(row, here), _label(row, here)) for row in rows])


def _parents(row: "LogRow", here: set[bytes]) -> tuple[bytes, ...]:
    parents = row.version.parents if row.version else ()
    return tuple(parent.id for parent in parents if parent.id in here)


def _label(row: "LogRow", here: set[bytes]) -> str:
    parents = row.version.parents if row.version else ()
    outside = [
        f"<- {parent.relation} {render.short(parent.id)}"
        for parent in parents
        if parent.id not in here
    ]
    words = [
        f"{row.name}@{row.number}",
        render.short(row.id),
        row.state if row.state != "kept" else "",
        f"({', '.join(row.tags)})" if row.tags else "",
        render.first_line(row.version.message) if row.version else "",
        *outside,
    ]
    return " ".join(word for word in words if word)

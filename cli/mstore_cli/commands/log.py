"""``mstore log``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import graph, render
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.describe import LogRow


@verb("log", "mstore log lenet", "mstore log lenet --graph")
@click.argument("name", type=ModelName())
@click.option("--graph", "as_graph", is_flag=True, help="Draw which version came from which.")
def command(run: Run, *, name: str, as_graph: bool) -> None:
    """List the versions of a model, newest first."""
    rows = run.store().log(name)
    run.answer(rows, _graph if as_graph else _table, name=name, versions=rows)


def _table(rows: "Sequence[LogRow]") -> Iterator[render.Part]:
    cells = [(f"{row.name}@{row.number}", render.short(row.id), *_cells(row)) for row in rows]
    headers = ("VERSION", "HASH", "STATE", "SIZE", "TIME", "AUTHOR", "TAGS", "MESSAGE")
    yield render.Table(headers, cells, frozenset({"SIZE"}))


def _cells(row: "LogRow") -> tuple[str, ...]:
    version, tags = row.version, ", ".join(row.tags)
    if version is None:
        return (row.state, "", "", "", tags, "")
    time = render.local_time(version.time)
    size = render.size(version.size)
    return (row.state, size, time, version.author, tags, render.first_line(version.message))


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

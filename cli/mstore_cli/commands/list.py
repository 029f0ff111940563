"""``mstore list``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import lineage_text, render
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.describe import ModelRow


@verb("list", "mstore list", "mstore list --graph", "mstore list --json")
@click.option("--graph", "as_graph", is_flag=True, help="Draw all versions of all models.")
def command(run: Run, *, as_graph: bool) -> None:
    """List the models and the newest version of each."""
    store = run.store()
    if as_graph and not run.as_json:
        render.write(lineage_text.drawing(store.history()))
        return
    rows = store.models()
    run.answer(rows, _text, models=rows)


def _text(rows: "Sequence[ModelRow]") -> Iterator[render.Part]:
    if not rows:
        yield "no models yet; store one: mstore put PATH"
        return
    cells = [
        (
            f"{row.name}@{row.number}",
            "" if row.state == "kept" else row.state,
            render.short(row.version),
            str(row.versions),
            str(row.tensors),
            render.size(row.size_bytes),
            render.local_time(row.time),
            ", ".join(row.tags),
            render.first_line(row.message),
        )
        for row in rows
    ]
    headers = ("MODEL", "STATE", "HASH", "VERSIONS", "TENSORS", "SIZE", "TIME", "TAGS", "MESSAGE")
    yield render.Table(headers, cells, frozenset({"VERSIONS", "TENSORS", "SIZE"}))

"""``mstore import``; a module cannot have that name."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.importers.report import ImportedVersion, ImportReport


@verb(
    "import",
    "mstore import bert-tiny",
    "mstore import bert-tiny --name team/bert --dry-run",
    "mstore import mlflow.db",
)
@click.argument("place", metavar="PLACE", type=click.Path(path_type=Path))
@click.option("--name", type=ModelName(), help="The model; of MLflow's, what names begin with.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be imported.")
def command(run: Run, *, place: Path, name: str | None, dry_run: bool) -> None:
    """Bring in a Hugging Face folder, or what MLflow has tracked.

    PLACE is a folder with weights and a config.json or a model card, or the SQLite file or folder
    of an MLflow tracking store. What it says (license, data sets, results, base model; parameters,
    metrics, tags) comes along. Importing again makes nothing that is there.
    """
    from mstore.importers.places import import_place  # noqa: PLC0415 (only when needed)

    store = run.store()
    report = import_place(store, place, name, author=run.author, dry_run=dry_run)
    run.answer(report, _text)


def _text(report: "ImportReport") -> Iterator[render.Part]:
    did = "would import" if report.dry_run else "imported"
    new = sum(row.state == "new" for row in report.versions)
    there = len(report.versions) - new
    rest = f", {there:,} there already" if there else ""
    yield f"{did} {render.count(new, 'version')}{rest}"
    if report.versions:
        headers = ("model", "hash", "metrics", "params", "state")
        rows = [_row(row) for row in report.versions]
        yield render.Table(headers, rows, frozenset({"metrics", "params"}))
    yield from (f"note: {remark}" for remark in report.remarks)


def _row(row: "ImportedVersion") -> tuple[str, ...]:
    model = row.model if row.number is None else f"{row.model}@{row.number}"
    found = "" if row.version is None else render.short(row.version)
    return (model, found, str(row.metrics), str(row.params), row.state)

"""``mstore adopt``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.importers.adopting import AdoptedVersion, AdoptReport

SHOWN = 10
"""Files that are no models which are named in the text; JSON names all."""


@verb(
    "adopt",
    "mstore adopt old-runs --dry-run",
    "mstore adopt old-runs",
    "mstore adopt old-runs --name team",
)
@click.argument("top", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", "prefix", type=ModelName(), help="Put the models below this name.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be adopted.")
def command(run: Run, *, top: Path, prefix: str | None, dry_run: bool) -> None:
    """Take over a folder of checkpoints that nobody managed.

    Runs, and the order of their checkpoints, are guessed from names such as epoch-3,
    checkpoint-500 and model_v2_final. Logs, settings and CSV sheets of results give metrics and
    parameters. What was unsure is listed with the reason. The folder itself is not changed, and
    adopting it again takes only what is new.
    """
    from mstore.importers.adopting import adopt  # noqa: PLC0415 (only when needed)

    store = run.store()
    report = adopt(store, top, prefix=prefix or "", author=run.author, dry_run=dry_run)
    run.answer(report, _text)


def _text(report: "AdoptReport") -> Iterator[render.Part]:
    did = "would adopt" if report.dry_run else "adopted"
    unsure = f"{len(report.unsure):,} unsure"
    yield f"{did} {render.count(report.models, 'model')}, {unsure}"
    there = sum(row.state == "there" for row in report.versions)
    if there:
        yield f"{there:,} of {render.count(len(report.versions), 'version')} there already"
    if report.versions:
        headers = ("model", "at", "from", "metrics", "params", "logs", "size", "state")
        right = frozenset({"metrics", "params", "logs", "size"})
        yield render.Table(headers, [_row(row) for row in report.versions], right)
    if report.unsure:
        yield "unsure:"
        yield from (f"  {found.path}: {found.reason}" for found in report.unsure)
    if report.left:
        more = len(report.left) - SHOWN
        rest = f" and {more:,} more" if more > 0 else ""
        yield f"no models: {', '.join(map(str, report.left[:SHOWN]))}{rest}"


def _row(row: "AdoptedVersion") -> tuple[str, ...]:
    at = "" if row.number is None else f"{row.kind} {row.number}"
    counts = (str(row.metrics), str(row.params), str(row.logs))
    return (row.model, at, str(row.path), *counts, render.size(row.size_bytes), row.state)

"""``mstore retain``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.retain import RetainReport

COUNT = click.IntRange(min=1)


@verb(
    "retain",
    "mstore retain lenet --last 3 --every 1000 --best val/loss:min --dry-run",
    "mstore retain lenet --last 3 --every 1000 --best val/loss:min && mstore gc",
    "mstore retain lenet --keep-optimizer-last 1",
)
@click.argument("name", type=ModelName())
@click.option("--last", metavar="K", type=COUNT, help="Keep the K newest versions.")
@click.option("--every", metavar="N", type=COUNT, help="Keep the steps that N divides.")
@click.option(
    "--best",
    multiple=True,
    metavar="METRIC[:min|max]",
    help="Keep the version with the best of a metric, the greatest unless said. May be repeated.",
)
@click.option(
    "--keep-optimizer-last",
    "optimizer_last",
    metavar="K",
    type=COUNT,
    help="Of the kept versions, keep the optimizer state of the K newest only.",
)
@click.option("--forget", is_flag=True, help="Delete the versions, descriptions too.")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Only say what would go, and what gc could free."
)
def command(
    run: Run,
    *,
    name: str,
    last: int | None,
    every: int | None,
    best: tuple[str, ...],
    optimizer_last: int | None,
    forget: bool,
    dry_run: bool,
) -> None:
    """Strip the versions of a model that no rule keeps.

    The newest version and those with a tag always stay. A stripped version can still be listed,
    shown and recognised; the next 'mstore gc' removes its bytes, and until then 'mstore undo NAME'
    takes it back. The optimizer states of NAME are the versions of NAME/optimizer.
    """
    result = run.store().retain(
        name,
        last=last,
        every=every,
        best=best,
        optimizer_last=optimizer_last,
        forget=forget,
        dry_run=dry_run,
        author=run.author,
    )
    run.answer(result, _text)


def _text(report: "RetainReport") -> Iterator[render.Part]:
    will = "would be " if report.dry_run else ""
    kept = [(row.label, _step(row.step), ", ".join(row.reasons)) for row in report.kept]
    yield render.Table(("KEPT", "STEP", "WHY"), kept, frozenset({"STEP"}))
    yield from (f"{will}{report.fate} {row.label}" for row in report.removed)
    if not report.removed:
        yield "every version stays"
    elif report.freed_bytes is not None:
        yield f"gc could then free {render.size(report.freed_bytes)}"
    else:
        yield "run 'mstore gc' to give the bytes back"


def _step(step: int | None) -> str:
    return "" if step is None else str(step)

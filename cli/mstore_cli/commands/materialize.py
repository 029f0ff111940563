"""``mstore materialize``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.materialize import MaterializeReport


@verb(
    "materialize",
    "mstore materialize lenet",
    "mstore materialize lenet@3 prod --dry-run",
)
@click.argument("revisions", metavar="REV...", nargs=-1, required=True, type=Revision())
@click.option("-n", "--dry-run", is_flag=True, help="Only say what it would take.")
def command(run: Run, *, revisions: tuple[str, ...], dry_run: bool) -> None:
    """Make versions raw, so that they load without decoding.

    Their tensors are stored as they are, each in one piece, and are mapped when they are loaded.
    That takes more bytes; what they were stored as before goes with the next 'mstore gc'.
    """
    store = run.store()
    with progress("materialize", counts_new=False) as report:
        result = store.materialize(revisions, dry_run=dry_run, progress=report)
    run.answer(result, _text)


def _text(report: "MaterializeReport") -> Iterator[render.Part]:
    will = "would be " if report.dry_run else ""
    yield from (f"{will}raw: {label}" for label in report.versions)
    before, after = render.size(report.bytes_before), render.size(report.bytes_after)
    tensors = render.count(report.tensors_total, "tensor")
    yield f"{tensors}, {report.tensors} not raw before: {before} before, {after} after"
    yield f"{render.size(report.written_bytes)} {will}written"
    if report.condemned:
        packs = render.count(len(report.condemned), "pack")
        freed = render.size(report.condemned_bytes)
        yield f"{packs} condemned: 'mstore gc' gives {freed} back"

"""``mstore tier``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.tier import TierReport

SHOWN = 20
"""Versions that are shown to people; ``--json`` has all."""


@verb(
    "tier",
    "mstore tier --low /archive/store --dry-run",
    "mstore tier --low /archive/store lenet@1 --bits 16 && mstore gc",
    "mstore tier",
    "mstore tier --back",
)
@click.argument("revisions", metavar="[REV]...", nargs=-1, type=Revision())
@click.option(
    "--low",
    metavar="PLACE",
    type=click.Path(path_type=Path),
    help="Another store that is to have the low planes.",
)
@click.option("--back", is_flag=True, help="Have all low planes here again.")
@click.option(
    "--bits",
    metavar="N",
    type=click.IntRange(1, 64),
    help="What '--bits N' reads stays here.  [default: the first step alone]",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would travel.")
def command(
    run: Run,
    *,
    revisions: tuple[str, ...],
    low: Path | None,
    back: bool,
    bits: int | None,
    dry_run: bool,
) -> None:
    """Keep the low planes of models in another store.

    What 'mstore archive --planes' stored apart goes to PLACE: it is read there and only then let go
    of here, and the next 'mstore gc' gives its bytes back. Looking at models and reading leading
    bits then need no other place. Reading a model whole fetches the rest from there.

    Without --low and --back it says which places have low planes. PLACE keeps what it was given,
    also after --back, as a backup of this store may need it. After the store there was moved,
    name it again with --low.
    """
    if back and (low is not None or revisions or bits is not None):
        message = "--back takes everything back: give it alone"
        raise click.UsageError(message, click.get_current_context())
    if not back and low is None and (revisions or bits is not None or dry_run):
        message = "say where low planes go: --low PLACE"
        raise click.UsageError(message, click.get_current_context())
    with progress("tier") as report:
        result = run.store().tier(
            low, revisions, bits=bits or 1, back=back, dry_run=dry_run, progress=report
        )
    run.answer(result, text_of)


def text_of(report: "TierReport") -> Iterator[render.Part]:
    """Give what was done, and where low planes are, as lines for people."""
    if report.action == "given":
        yield from _given(report)
    if report.action == "taken back":
        yield from _taken_back(report)
    if report.action == "shown" and not report.places:
        yield "all of this store is here"
    for row in () if report.action == "taken back" else report.places:
        size, chunks = render.size(row.size_bytes), render.count(row.chunks, "chunk")
        yield f"{row.place}: {chunks}, {size} decoded"
        if row.problem:
            yield f"  {row.problem}"
    if report.versions:
        shown = ", ".join(report.versions[:SHOWN])
        more = len(report.versions) - SHOWN
        rest = f" and {more} more" if more > 0 else ""
        would = "would need" if report.dry_run else "need"
        yield f"{would} it to be read whole: {shown}{rest}"


def _given(report: "TierReport") -> Iterator[str]:
    moved, staying = render.size(report.bytes_moved), render.size(report.bytes_staying)
    if not report.chunks:
        yield "no low planes to give: first 'mstore archive --planes 8,16', or they are there"
        return
    would = "would go" if report.dry_run else "went"
    yield f"{moved} {would}, {staying} of leading bits {'stay' if report.dry_run else 'stayed'}"
    sent = render.size(report.bytes_sent)
    yield f"{sent} {'would travel' if report.dry_run else 'travelled'}, decoded"
    if report.condemned:
        packs = render.count(len(report.condemned), "pack")
        yield f"{packs} condemned: 'mstore gc' gives {render.size(report.condemned_bytes)} back"


def _taken_back(report: "TierReport") -> Iterator[str]:
    sent, chunks = render.size(report.bytes_sent), render.count(report.chunks, "chunk")
    yield f"{chunks}, {sent} decoded, {'would come' if report.dry_run else 'came'} back"
    for row in report.places:
        yield f"{row.place} keeps them: delete there what no backup of this store needs"

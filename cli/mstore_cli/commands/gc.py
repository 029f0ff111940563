"""``mstore gc``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.gc import GcReport


@verb("gc", "mstore gc --dry-run", "mstore gc", "mstore gc --now")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed, and why.")
@click.option("--now", is_flag=True, help="Do not hold what is condemned for a day.")
def command(run: Run, *, dry_run: bool, now: bool) -> None:
    """Remove what no name reaches any more.

    What is removed is first condemned: for a day, and while anybody still writes, 'mstore undo'
    brings it back. It is safe beside running writers and readers, and changes nothing when
    anything that a name needs cannot be read.
    """
    store = run.store()
    with progress("gc", counts_new=False) as report:
        result = store.gc(dry_run=dry_run, now=now, progress=report)
    run.answer(result, _text, **gc_fields(result))


def gc_fields(report: "GcReport") -> dict[str, object]:
    """Give what JSON says: the report, and the two sums of its plan."""
    fields = dict(render.jsonable(report))
    sums = {"dead_bytes": report.plan.dead_bytes, "freed_bytes": report.plan.freed_bytes}
    return {**fields, "plan": {**fields["plan"], **sums}}


def _text(report: "GcReport") -> Iterator[render.Part]:
    will = "would be " if report.dry_run else ""
    yield from _why(report)
    condemned = f"{render.count(len(report.condemned), 'pack')} {will}condemned"
    deleted = f"{render.count(len(report.deleted), 'pack')} {will}deleted"
    yield f"{condemned}, {render.size(report.condemned_bytes)}"
    yield f"{deleted}, {render.size(report.deleted_bytes)}"
    if report.repacked:
        packs = render.count(len(report.repacked), "pack")
        yield f"{packs} {will}written again without what is dead"
    if report.removed_tmp:
        count = render.count(len(report.removed_tmp), "unfinished file")
        yield f"{count} {will}removed, {render.size(report.removed_tmp_bytes)}"
    yield from (f"kept back: {held.key}: {held.reason}" for held in report.held)
    yield from (f"brought back, because it is needed again: {key}" for key in report.resurrected)
    yield from report.deferred
    if report.skipped:
        yield report.skipped


def _why(report: "GcReport") -> Iterator[render.Part]:
    if not report.plan.freed:
        yield "nothing is dead: every stored byte is needed"
        return
    rows = [
        (freed.label, freed.reason, str(freed.objects), render.size(freed.stored_bytes))
        for freed in report.plan.freed
    ]
    headers = ("WHOSE", "WHY", "OBJECTS", "SIZE")
    yield render.Table(headers, rows, frozenset({"OBJECTS", "SIZE"}))

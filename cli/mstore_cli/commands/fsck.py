"""``mstore fsck``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.findings import FsckReport

DAMAGED = 5
"""The exit code when damage is left: that of "corrupt"."""


@verb(
    "fsck",
    "mstore fsck",
    "mstore fsck --full",
    "mstore fsck --repair --from /backup/store",
    "mstore fsck --repair --from old/model.safetensors",
)
@click.option("--full", is_flag=True, help="Read every stored byte, so that no flip goes unseen.")
@click.option("--repair", is_flag=True, help="Heal what is hurt; implies --full.")
@click.option(
    "--from",
    "places",
    multiple=True,
    metavar="PLACE",
    type=click.Path(path_type=Path),
    help="Another store, or files that were once stored, to heal from. May be repeated.",
)
def command(run: Run, *, full: bool, repair: bool, places: tuple[Path, ...]) -> int:
    """Check the store, say what is wrong and which versions it hurts, and heal it.

    A repair is exact to the bit and deletes nothing: what is damaged is moved to quarantine. The
    exit code is 5 when damage is left.
    """
    if places and not repair:
        message = "--from says where to heal from; it needs --repair"
        raise click.UsageError(message, click.get_current_context())
    store = run.store()
    with progress("fsck", counts_new=False) as report:
        if repair:
            result = store.repair(places, progress=report)
        else:
            result = store.fsck(full=full, progress=report)
    more = {"clean": result.clean, "hurt": result.hurt}
    run.answer(result, _text, **render.jsonable(result), **more)
    return 0 if result.clean else DAMAGED


def _text(report: "FsckReport") -> Iterator[render.Part]:
    for finding in report.findings:
        hurts = f" (hurts {', '.join(finding.versions)})" if finding.versions else ""
        yield f"{finding.severity}: {finding.message}{hurts}"
    yield from (f"healed {what}" for what in report.healed)
    yield from (f"moved to quarantine: {key}" for key in report.quarantined)
    counts = ", ".join(
        render.count(number, noun)
        for number, noun in (
            (report.versions, "version"),
            (report.objects, "object"),
            (report.packs, "pack"),
        )
    )
    read = f", {render.size(report.size_bytes)} read" if report.full else ""
    yield f"{_verdict(report)}: {counts}{read}"
    if not report.clean:
        yield "heal it from a copy: mstore fsck --repair --from PLACE"


def _verdict(report: "FsckReport") -> str:
    if report.clean:
        return "sound" if report.full else "sound, payload not read (--full reads it)"
    return f"damaged, {render.count(len(report.errors), 'error')}"

"""``mstore archive``."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mstore_cli import render
from mstore_cli.parameters import Levels, Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.archive import ArchiveReport, Terms
    from mstore.ops.planes import PlanesReport

Function = TypeVar("Function", bound=Callable[..., Any])

SHOWN = 20
"""Versions that are shown to people; ``--json`` has all."""


def terms_options(function: Function) -> Function:
    """Add the options that say what is asked of a plan."""
    for option in reversed(
        (
            click.option(
                "--alpha",
                type=click.FloatRange(min=1),
                help="How much dearer than at best a version may be to read.  [default: 1.6]",
            ),
            click.option(
                "--within",
                metavar="MS",
                type=click.FloatRange(min=0, min_open=True),
                help="At most so many milliseconds for each version, instead of --alpha.",
            ),
            click.option(
                "--scheme",
                type=click.Choice(["independent", "parallel", "reusable"]),
                default="independent",
                show_default=True,
                help="Tensors are read one by one, all at once, or what they share only once.",
            ),
            click.option(
                "--cost",
                type=click.Choice(["time", "bytes"]),
                default="time",
                show_default=True,
                help="What reading costs: time on this machine, or bytes read.",
            ),
            click.option(
                "--disk",
                metavar="MB/S",
                type=click.FloatRange(min=0, min_open=True),
                help="How fast the disk gives bytes, instead of what was measured.",
            ),
            click.option("--recalibrate", is_flag=True, help="Measure this machine again."),
        )
    ):
        function = option(function)
    return function


def terms_of(asked: dict[str, Any]) -> "Terms":
    """Turn the options into what the store is asked for."""
    from mstore.ops.archive import ALPHA, Terms  # noqa: PLC0415 (only when it is run)

    alpha, within, disk = asked["alpha"], asked["within"], asked["disk"]
    if alpha is not None and within is not None:
        message = "give --alpha or --within, not both"
        raise click.UsageError(message, click.get_current_context())
    return Terms(
        alpha=ALPHA if alpha is None else alpha,
        within=within,
        scheme=asked["scheme"],
        measure=asked["cost"],
        disk=None if disk is None else disk * 1e6,
        recalibrate=asked["recalibrate"],
    )


@verb(
    "archive",
    "mstore archive --dry-run",
    "mstore archive --alpha 1.6 && mstore gc",
    "mstore archive lenet@1 lenet@2 --within 50",
    "mstore archive lenet --planes 8,16 && mstore gc",
    "mstore archive 'lenet:#fc*.weight' --planes 8,16 --dry-run",
)
@click.argument("revisions", metavar="[REV]...", nargs=-1, type=Revision())
@click.option("--all", "everything", is_flag=True, help="Every kept version; so without REV.")
@terms_options
@click.option(
    "--planes",
    metavar="BITS",
    type=Levels(),
    help="Plan nothing: store floats so that '--bits' reads no more, in steps such as 8,16.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only print the plan.")
def command(
    run: Run,
    *,
    revisions: tuple[str, ...],
    everything: bool,
    planes: tuple[int, ...] | None,
    dry_run: bool,
    **asked: Any,  # noqa: ANN401 (as the options give them)
) -> None:
    """Store versions in the fewest bytes that keep reading quick.

    Each tensor is kept raw, coded, or as its difference from a related one. What is read often,
    is the newest of its model or has a tag is held to a tighter bound. All of it is verified, then
    the next 'mstore gc' removes the old form: until then the disk holds both. What was cut into
    planes before stays so.

    With --planes the floats of the versions named are cut instead: their first bits, of which the
    first eight are sign and exponent, are stored apart from the others. REV:#PATTERN and REV:FILE
    choose some tensors. Without REV that is done to what is not stored as a difference.
    """
    if revisions and everything:
        message = "give REV or --all, not both"
        raise click.UsageError(message, click.get_current_context())
    store = run.store()
    if planes is not None:
        if any(asked[name] for name in ("alpha", "within", "disk", "recalibrate")):
            message = "give --planes alone: it plans nothing"
            raise click.UsageError(message, click.get_current_context())
        with progress("archive") as report:
            cut = store.archive_planes(revisions, planes, dry_run=dry_run, progress=report)
        run.answer(cut, planes_text)
        return
    with progress("archive") as report:
        result = store.archive(revisions, terms=terms_of(asked), dry_run=dry_run, progress=report)
    run.answer(result, text_of)


def planes_text(report: "PlanesReport") -> Iterator[render.Part]:
    """Give what was cut into planes as lines for people."""
    levels = ", ".join(map(str, report.levels))
    tensors = render.count(report.tensors_total, "tensor")
    before = render.size(report.bytes_before)
    if report.dry_run:
        yield f"{tensors}, {before}: {report.tensors} would be cut after {levels} bits"
        return
    yield f"{tensors}, {report.tensors} of them cut now, after {levels} bits"
    after, leading = render.size(report.bytes_after), render.size(report.leading_bytes)
    yield f"{before} before, {after} after; {report.levels[0]} bits are in {leading}"
    if report.condemned:
        packs = render.count(len(report.condemned), "pack")
        yield f"{packs} condemned: 'mstore gc' gives {render.size(report.condemned_bytes)} back"


def text_of(report: "ArchiveReport") -> Iterator[render.Part]:
    """Give the plan as lines for people."""
    unit = report.unit
    rows = [
        (
            row.label,
            str(row.reads),
            f"{row.cost_before:.1f}",
            f"{row.cost_after:.1f}",
            f"{row.bound:.1f}",
        )
        for row in report.versions[-SHOWN:]
    ]
    if rows:
        headers = ("VERSION", "READS", f"{unit} BEFORE", f"{unit} AFTER", "BOUND")
        yield render.Table(headers, rows, right=frozenset(headers[1:]))
    if len(report.versions) > SHOWN:
        yield f"and {len(report.versions) - SHOWN} older versions"
    found = [
        f"{row.name} {render.size(row.storage)}" + ("" if row.is_within else " (over a bound)")
        for row in report.planners
    ]
    yield f"planner {report.planner}; found: {', '.join(found)}"
    kept = f", {report.tensors_kept} as they are" if report.tensors_kept else ""
    yield (
        f"{render.count(report.tensors, 'tensor')}: {report.tensors_raw} raw, "
        f"{report.tensors_coded} coded, {report.tensors_delta} deltas{kept}"
    )
    yield from _bytes(report)


def _why_more(report: "ArchiveReport") -> Iterator[str]:
    """Say why the new forms take more than the old, where they do."""
    over = sum(row.cost_before > row.bound for row in report.versions)
    if report.bytes_after > report.bytes_before and over:
        versions = render.count(over, "version")
        yield f"more than before: {versions} took longer to read than the bound (see --alpha)"


def _bytes(report: "ArchiveReport") -> Iterator[str]:
    before, after = render.size(report.bytes_before), render.size(report.bytes_after)
    raw = render.size(report.bytes_raw)
    if not report.is_changed:
        yield f"nothing to gain: {before} of {raw} raw stay as they are"
        return
    written = render.size(report.written_bytes)
    if report.dry_run:
        yield f"would be {after}, now {before}, raw {raw}"
        yield from _why_more(report)
        yield f"{written} would be written; until 'mstore gc' the old form takes its place too"
        return
    yield f"{before} before, {after} after, raw {raw}; {written} written and verified"
    yield from _why_more(report)
    packs = render.count(len(report.condemned), "pack")
    yield f"{packs} condemned: 'mstore gc' gives {render.size(report.condemned_bytes)} back"

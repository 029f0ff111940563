"""``mstore strip``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.sending import Form
    from mstore.ops.strip import StripReport


@verb(
    "strip",
    "mstore strip --keep prod --to /srv/device",
    "mstore strip --keep prod --to /srv/device --codec raw",
    "mstore strip --keep lenet@9 --dry-run",
    "mstore strip --keep lenet@9 --yes && mstore gc",
)
@click.option(
    "--keep",
    multiple=True,
    required=True,
    metavar="REV",
    type=Revision(),
    help="A version whose payload stays. May be repeated.",
)
@click.option(
    "--to",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make a slim store there, and leave this one as it is.",
)
@click.option(
    "--codec",
    type=click.Choice(["keep", "raw", "auto"]),
    default="keep",
    show_default=True,
    help="With --to: as stored here; raw, to be mapped; or coded, nothing as a difference.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be stripped.")
@click.option("--yes", is_flag=True, help="Strip this store without asking.")
def command(
    run: Run,
    *,
    keep: tuple[str, ...],
    to: Path | None,
    codec: "Form",
    dry_run: bool,
    yes: bool,
) -> None:
    """Keep the payload of some versions and the description of all.

    A stripped version can still be listed, shown and recognised. Without --to this store itself
    is stripped, and the next 'mstore gc' removes the bytes.
    """
    store = run.store()
    if to is None and codec != "keep":
        message = "--codec is for a new store: give --to DIR, or see 'mstore materialize'"
        raise click.UsageError(message, click.get_current_context())
    if to is None and not dry_run and not yes:
        _ask(store.strip(keep, dry_run=True), asked_in_vain=run.as_json or not sys.stdin.isatty())
    announce = _announce if to is not None and not dry_run and not run.as_json else _nothing
    with progress("strip") as report:
        result = store.strip(
            keep, to=to, codec=codec, dry_run=dry_run, announce=announce, progress=report
        )
    run.answer(result, _text)


def _announce(plan: "StripReport") -> None:
    render.write([f"{plan.place}: will take {render.size(plan.bytes_foreseen)}"])


def _nothing(_: "StripReport") -> None:
    """Say nothing."""


def _ask(plan: "StripReport", *, asked_in_vain: bool) -> None:
    if asked_in_vain:
        message = "this strips the store itself; look with --dry-run, then give --yes, or --to DIR"
        raise click.UsageError(message, click.get_current_context())
    freed = render.size(plan.bytes_before - plan.bytes_after)
    versions = render.count(len(plan.stripped), "version")
    question = f"Strip the payload of {versions} ({freed}) from this store?"
    click.confirm(question, abort=True, err=True)


def _text(report: "StripReport") -> Iterator[render.Part]:
    will = "would be " if report.dry_run else ""
    yield from (f"{will}kept {label}" for label in report.kept)
    yield from (f"{will}stripped {label}" for label in report.stripped)
    place = "this store" if report.place is None else report.place
    before, after = render.size(report.bytes_before), render.size(report.bytes_after)
    yield f"{place}: {after} of {before}"
    if report.bytes_bases:
        bases = render.size(report.bytes_bases)
        yield f"{bases} of that {will or 'are '}kept only as bases of what stays"
        yield "to let go of these too: mstore materialize REV"
    if report.place is None and not report.dry_run:
        yield "run 'mstore gc' to give the bytes back"

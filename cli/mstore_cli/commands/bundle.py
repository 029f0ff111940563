"""``mstore bundle``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render, texts
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import BriefHelp, Run, verb, write_examples

if TYPE_CHECKING:
    from mstore.ops.bundle import BundleReport

BUNDLE = click.Path(path_type=Path, dir_okay=False)


@verb(
    "create",
    "mstore bundle create lenet.bundle lenet",
    "mstore bundle create new.bundle lenet --since lenet@3",
)
@click.argument("file", type=BUNDLE)
@click.argument("revisions", metavar="[NAME|REV]...", nargs=-1, type=Revision())
@click.option(
    "--since",
    multiple=True,
    metavar="REV",
    type=Revision(),
    help="What the far side has already. May be repeated.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def create(
    run: Run, *, file: Path, revisions: tuple[str, ...], since: tuple[str, ...], force: bool
) -> None:
    """Write models, single versions or everything to FILE."""
    store = run.store()
    with progress("bundle") as report:
        result = store.bundle(file, revisions, since=since, force=force, progress=report)
    run.answer(result, _text, **_fields(result))


@verb("apply", "mstore bundle apply lenet.bundle")
@click.argument("file", type=BUNDLE)
@click.option("--force", is_flag=True, help="Move tags that stand elsewhere here.")
def apply(run: Run, *, file: Path, force: bool) -> None:
    """Bring everything in FILE into the store, verified; 'mstore pull FILE' does the same."""
    store = run.store()
    with progress("bundle") as report:
        result = store.unbundle(file, force=force, progress=report)
    run.answer(result, texts.transferred, **texts.transfer_fields(result))


@verb("verify", "mstore bundle verify lenet.bundle")
@click.argument("file", type=BUNDLE)
def verify(run: Run, *, file: Path) -> None:
    """Read FILE to its end, check every byte of it and say what it holds. Needs no store."""
    from mstore.ops.bundle import verify_bundle  # noqa: PLC0415 (only when run)

    result = verify_bundle(file)
    run.answer(result, _text, **_fields(result))


def _fields(report: "BundleReport") -> dict[str, object]:
    return {**render.jsonable(report), "names": dict(report.names)}


def _text(report: "BundleReport") -> Iterator[render.Part]:
    count = render.count(report.objects, "object")
    yield f"{report.path}: {count}, {render.size(report.size_bytes)}"
    yield from (f"  {name}: {render.count(held, 'version')}" for name, held in report.names)
    yield from (f"  tag {tag}" for tag in report.tags)
    yield from (f"  needs {label}" for label in report.prerequisites)


class BundleGroup(BriefHelp, click.Group):
    """The three commands; the help ends with an example as that of every command does."""

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples of all three."""
        write_examples(formatter, [*create.examples, *apply.examples, *verify.examples])


command = BundleGroup(
    "bundle", [create, apply, verify], help="Carry versions from store to store in one file."
)

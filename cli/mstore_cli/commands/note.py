"""``mstore note``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mstore_cli import render
from mstore_cli.parameters import Metric, Revision, collect, read_metadata
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.notes import Noted


@verb(
    "note",
    "mstore note lenet@3 -m 'confuses 4 and 9'",
    "mstore note lenet@3 --metric accuracy=0.91 --dataset digits-2027 --split test",
    "mstore note lenet@3 --tag reviewed",
    "mstore note lenet@3 --retract 3fa1c2e0",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.option("-m", "--message", default="", metavar="TEXT", help="What there is to say.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=Metric(),
    callback=collect,
    help="A result, as a number. May be repeated.",
)
@click.option("--dataset", default="", metavar="NAME", help="What the results are measured on.")
@click.option("--split", default="", metavar="NAME", help="Which part of it, such as test.")
@click.option(
    "--step", type=click.IntRange(min=0), metavar="N", help="The training step that they belong to."
)
@click.option("--tag", "tags", multiple=True, metavar="WORD", help="A word to find it by.")
@click.option("--topic", default="", metavar="WORD", help="What kind of note it is.")
@click.option(
    "--meta",
    "metadata",
    metavar="FILE",
    callback=read_metadata,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with one JSON object to keep with the note.",
)
@click.option("--retract", metavar="NOTE", help="Take back the note with this id.")
def command(
    run: Run,
    *,
    revision: str,
    retract: str | None,
    **said: Any,  # noqa: ANN401 (every other option goes to Store.note under its own name)
) -> None:
    """Add results, tags or a comment to a version, long after it was stored.

    The version and its hash stay as they are. Notes are shown with the version, travel with it,
    and stay when it is stripped.
    """
    if retract is None:
        run.answer(run.store().note(revision, author=run.author, **said), _noted)
        return
    given = {name: value for name, value in said.items() if value}
    if given:
        wrong = "--retract takes back a note, it says nothing new"
        raise click.UsageError(wrong, click.get_current_context())
    run.answer(run.store().retract(revision, retract, author=run.author), _retracted)


def _noted(result: "Noted") -> Iterator[render.Part]:
    yield f"{result.label}: noted {render.short(result.id)}"


def _retracted(result: "Noted") -> Iterator[render.Part]:
    yield f"{result.label}: took back {render.short(result.id)}"

"""``mstore undo``."""

import click

from mstore_cli import texts
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb


@verb("undo", "mstore undo lenet")
@click.argument("name", metavar="NAME|TAG", type=Revision())
def command(run: Run, *, name: str) -> None:
    """Take back the last change of a model's name or of a tag; a second undo does it again."""
    run.answer(run.store().undo(name, author=run.author), texts.moved)

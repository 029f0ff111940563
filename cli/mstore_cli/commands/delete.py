"""``mstore delete``."""

import click

from mstore_cli import texts
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb


@verb("delete", "mstore delete lenet@2 --dry-run", "mstore delete lenet@2", "mstore delete lenet")
@click.argument("name", metavar="NAME|REV|TAG", type=Revision())
@click.option(
    "-n",
    "--dry-run",
    is_flag=True,
    help="Only say what would be deleted, and what gc could free then.",
)
def command(run: Run, *, name: str, dry_run: bool) -> None:
    """Delete one version (NAME@N), a model with all its versions (NAME), or a tag.

    'mstore undo NAME' takes it back until 'mstore gc' has deleted the bytes.
    """
    run.answer(run.store().delete(name, dry_run=dry_run, author=run.author), texts.deleted)

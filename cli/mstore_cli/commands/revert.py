"""``mstore revert``."""

import click

from mstore_cli import texts
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb


@verb("revert", "mstore revert lenet@2")
@click.argument("revision", metavar="REV", type=Revision())
@click.option("-m", "--message", default="", metavar="TEXT", help="Why.")
def command(run: Run, *, revision: str, message: str) -> None:
    """Make an older version the newest of its model again, as a version of its own.

    It takes no new space.
    """
    result = run.store().revert(revision, author=run.author, message=message)
    run.answer(result, texts.moved)

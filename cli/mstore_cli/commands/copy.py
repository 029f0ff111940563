"""``mstore copy``."""

import click

from mstore_cli import texts
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb


@verb("copy", "mstore copy lenet@3 lenet-cats", "mstore copy prod team/next -m 'start from prod'")
@click.argument("revision", metavar="REV", type=Revision())
@click.argument("new")
@click.option("-m", "--message", default="", metavar="TEXT", help="Why.")
def command(run: Run, *, revision: str, new: str, message: str) -> None:
    """Begin the new model NEW from a version; its files take no space again.

    The first version of NEW has REV as its parent, so its lineage is kept.
    """
    moved = run.store().copy(revision, new, author=run.author, message=message)
    run.answer(moved, texts.moved)

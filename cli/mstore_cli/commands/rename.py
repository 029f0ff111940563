"""``mstore rename``."""

import click

from mstore_cli import texts
from mstore_cli.parameters import ModelName
from mstore_cli.run import Run, verb


@verb("rename", "mstore rename lenet team/lenet")
@click.argument("old", type=ModelName())
@click.argument("new")
def command(run: Run, *, old: str, new: str) -> None:
    """Give a model another name; its versions keep their numbers."""
    run.answer(run.store().rename(old, new, author=run.author), texts.moved)

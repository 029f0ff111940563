"""``mstore push``."""

import click

from mstore_cli import texts
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb


@verb(
    "push",
    "mstore push /srv/models",
    "mstore push /srv/models lenet",
    "mstore push /mnt/usb lenet@3 --as lenet-tom",
)
@click.argument("place")
@click.argument("revisions", metavar="[NAME|REV]...", nargs=-1, type=Revision())
@click.option("--as", "as_name", metavar="NAME", help="The name that the model gets there.")
@click.option("--force", is_flag=True, help="Move tags that stand elsewhere there.")
def command(
    run: Run, *, place: str, revisions: tuple[str, ...], as_name: str | None, force: bool
) -> None:
    """Send models, single versions or everything to the store at PLACE.

    Only what it lacks travels; a push that was cut off goes on where it stopped.
    """
    with progress("push") as report:
        result = run.store().push(place, *revisions, as_name=as_name, force=force, progress=report)
    run.answer(result, texts.transferred, **texts.transfer_fields(result))

"""``mstore pull``."""

from pathlib import Path

import click

from mstore_cli import texts
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb


@verb(
    "pull",
    "mstore pull /srv/models",
    "mstore pull /srv/models lenet prod",
    "mstore pull lenet.bundle",
)
@click.argument("place")
@click.argument("revisions", metavar="[NAME|REV]...", nargs=-1, type=Revision())
@click.option("--as", "as_name", metavar="NAME", help="The name that the model gets here.")
@click.option("--force", is_flag=True, help="Move tags that stand elsewhere here.")
def command(
    run: Run, *, place: str, revisions: tuple[str, ...], as_name: str | None, force: bool
) -> None:
    """Bring models, single versions or everything from the store or the bundle at PLACE.

    Only what is missing here travels, and is verified. A stripped version that is asked for gets
    its bytes back.
    """
    bundled = Path(place).is_file()
    if bundled and (revisions or as_name):
        message = f"'{place}' is a bundle, which comes as a whole; give neither REV nor --as"
        raise click.UsageError(message, click.get_current_context())
    store = run.store()
    with progress("pull") as report:
        if bundled:
            result = store.unbundle(place, force=force, progress=report)
        else:
            result = store.pull(place, *revisions, as_name=as_name, force=force, progress=report)
    run.answer(result, texts.transferred, **texts.transfer_fields(result))

"""``mstore clone``."""

from pathlib import Path

import click

from mstore_cli import texts
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb


@verb("clone", "mstore clone /srv/models", "mstore clone /srv/models /data/models")
@click.argument("place")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
def command(run: Run, *, place: str, directory: Path | None) -> None:
    """Copy the store at PLACE to DIRECTORY, else to a folder here that has its name.

    A clone that was cut off goes on where it stopped.
    """
    import mstore  # noqa: PLC0415 (only when run)

    target = directory or run.place or default_directory(place)
    with progress("clone") as report:
        _, result = mstore.clone(place, target, progress=report)
    run.answer(result, texts.transferred, **texts.transfer_fields(result))


def default_directory(place: str) -> Path:
    """Give the last component of PLACE; ``team/.mstore`` for a store in a folder ``team``."""
    from mstore.discovery import STORE_NAME, store_directory  # noqa: PLC0415 (not for --help)

    found = store_directory(Path(place).resolve())
    if found.name == STORE_NAME:
        return Path(found.parent.name) / STORE_NAME
    return Path(found.name)

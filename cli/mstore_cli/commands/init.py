"""``mstore init``."""

from collections.abc import Iterator
from pathlib import Path

import click

from mstore_cli.run import Run, verb


@verb("init", "mstore init", "mstore init /srv/models")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
def command(run: Run, *, directory: Path | None) -> None:
    """Make a store in DIRECTORY, else in .mstore here.

    A second time says so and changes nothing.
    """
    import mstore  # noqa: PLC0415 (only when run)
    from mstore.discovery import STORE_NAME  # noqa: PLC0415 (not for --help)

    place = directory or run.place or Path(STORE_NAME)
    _, created = mstore.init(place)

    def text(_: object) -> Iterator[str]:
        yield f"made a store in {place}" if created else f"there is a store in {place} already"

    run.answer(None, text, path=place.absolute(), created=created)

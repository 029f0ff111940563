"""``--html FILE``: the same as on the terminal, as one page."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., object])


def html_options(function: Function) -> Function:
    """Add ``--html FILE`` and ``--force``, given as ``html`` and ``force``."""
    path = click.Path(path_type=Path, dir_okay=False)
    page = click.option("--html", metavar="FILE", type=path, help="Also write it as a web page.")
    force = click.option("--force", is_flag=True, help="Replace the page that stands there.")
    return page(force(function))


def write_page(path: Path | None, make: Callable[[], str], *, force: bool) -> str | None:
    """Make and write the page if one is wanted; where it is now."""
    if path is None:
        return None
    from mstore.ops.output import write_text  # noqa: PLC0415 (only when a page is wanted)

    write_text(path, make(), force=force)
    return str(path.absolute())

"""``mstore du``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.usage import Usage


@verb("du", "mstore du", "mstore du lenet@1 lenet@2")
@click.argument("revisions", metavar="[REV]...", nargs=-1, type=Revision())
def command(run: Run, *, revisions: tuple[str, ...]) -> None:
    """Show how many bytes each version uses: of its files, and stored alone and shared.

    FREED is what deleting it and then 'mstore gc' would give back. Without REV, every version.
    """
    rows = run.store().du(revisions)
    run.answer(rows, _text, versions=rows)


def _text(rows: "Sequence[Usage]") -> Iterator[render.Part]:
    cells = [
        (
            row.label,
            render.short(row.version),
            render.size(row.size_bytes),
            render.size(row.exclusive_bytes),
            render.size(row.shared_bytes),
            render.size(row.freed_bytes),
        )
        for row in rows
    ]
    numbers = ("SIZE", "EXCLUSIVE", "SHARED", "FREED")
    yield render.Table(("VERSION", "HASH", *numbers), cells, frozenset(numbers))

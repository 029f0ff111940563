"""``mstore checkout-code``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.captured import CheckedOut


@verb(
    "checkout-code",
    "mstore checkout-code lenet@3 lenet-code",
    "mstore checkout-code lenet@3 lenet-code --from ~/src/lenet",
    "mstore checkout-code lenet@3 lenet-code --from https://example.com/lenet.git",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.argument("destination", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    metavar="PLACE",
    help="A clone or an address with the commit; else the work tree here, else the recorded one.",
)
@click.option("--force", is_flag=True, help="Replace what stands at DIR.")
def command(run: Run, *, revision: str, destination: Path, source: str | None, force: bool) -> None:
    """Give back the source code that a version was made with.

    DIR becomes the very tree that was captured, with changes and new files that no commit has; if
    that is not to be had, nothing is written.
    """
    done = run.store().checkout_code(revision, destination, source=source, force=force)
    run.answer(done, _text)


def _text(done: "CheckedOut") -> Iterator[render.Part]:
    changes = " and its patch" if done.patched else ""
    commit = f"commit {done.commit[: render.SHORT]}{changes}" if done.commit else "patch"
    yield f"{done.destination}: {commit}, tree {done.tree[: render.SHORT]}"
    yield f"the commit came from {done.source}"

"""``mstore get``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore import Store
    from mstore.ops.get import GetResult


@verb(
    "get",
    "mstore get lenet@3",
    "mstore get lenet@3 out/",
    "mstore get prod model.safetensors --force",
    "mstore get prod:config.json",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.argument("destination", metavar="[DEST]", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite what stands there.")
@click.option("--sync", is_flag=True, help="Wait until the files would survive a power cut.")
def command(run: Run, *, revision: str, destination: Path | None, force: bool, sync: bool) -> None:
    """Give back the exact files of a version, or one of them, verified while they are written.

    A version put from one file comes back as that file, at DEST or inside it when DEST is a
    folder; one put from a folder comes back as the folder DEST. Without DEST it is written here,
    under its own name.
    """
    store = run.store()
    target = destination or default_destination(store, revision)
    with progress("get", counts_new=False) as report:
        result = store.get(revision, target, force=force, sync=sync, progress=report)
    run.answer(result, _text)


def default_destination(store: "Store", revision: str) -> Path:
    """Give the working directory for one file, else a folder in it named after the model."""
    found = store.resolve(revision)
    if found.path is not None or store.show(revision).version.single:
        return Path()
    name = found.name or found.label
    return Path(name.rsplit("/", 1)[-1])


def _text(result: "GetResult") -> Iterator[render.Part]:
    yield f"{result.path}: {render.count(result.files, 'file')}, {render.size(result.size_bytes)}"

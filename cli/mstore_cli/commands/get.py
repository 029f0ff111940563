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
    "mstore get prod rough.safetensors --bits 16",
)
@click.argument("revision", metavar="REV", type=Revision())
@click.argument("destination", metavar="[DEST]", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite what stands there.")
@click.option("--sync", is_flag=True, help="Wait until the files would survive a power cut.")
@click.option(
    "--bits",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Read only so many leading bits of each float.",
)
def command(
    run: Run, *, revision: str, destination: Path | None, force: bool, sync: bool, bits: int | None
) -> None:
    """Give back the exact files of a version, or one of them, verified while they are written.

    A version put from one file comes back as that file, at DEST or inside it when DEST is a
    folder; one put from a folder comes back as the folder DEST. Without DEST it is written here,
    under its own name.

    With --bits the floats are not the exact ones: each is the middle of where its first N bits let
    it lie, and the safetensors files say so in their metadata, as "mstore_bits". What is stored in
    planes ('mstore archive --planes') is read only so far.
    """
    store = run.store()
    target = destination or default_destination(store, revision)
    with progress("get", counts_new=False) as report:
        result = store.get(revision, target, force=force, sync=sync, bits=bits, progress=report)
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
    if result.bits is not None and result.bytes_read is not None:
        read, stored = render.size(result.bytes_read), render.size(result.stored_bytes or 0)
        yield f"{result.bits} leading bits of each float: read {read} of {stored}"

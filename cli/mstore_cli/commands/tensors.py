"""``mstore tensors``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.describe import TensorRow


@verb("tensors", "mstore tensors lenet@3", "mstore tensors lenet --json")
@click.argument("revision", metavar="REV", type=Revision())
def command(run: Run, *, revision: str) -> None:
    """List the tensors of a version: their file, name, type, shape, bytes and hash."""
    rows = run.store().tensors(revision)
    run.answer(rows, _text, revision=revision, tensors=rows)


def _text(rows: "Sequence[TensorRow]") -> Iterator[render.Part]:
    cells = [
        (
            row.path,
            row.name,
            row.dtype,
            "x".join(map(str, row.shape)) or "scalar",
            render.size(row.size_bytes),
            render.short(row.id),
        )
        for row in rows
    ]
    headers = ("FILE", "TENSOR", "DTYPE", "SHAPE", "SIZE", "HASH")
    yield render.Table(headers, cells, frozenset({"SIZE"}))

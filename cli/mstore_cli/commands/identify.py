"""``mstore identify``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.progress import progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.identify import Identified

NOT_EXACT = 3
"""The exit code when no version is exactly this: that of "not found"."""


@verb("identify", "mstore identify model.safetensors", "mstore identify ~/Downloads/checkpoint/")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Look at what symbolic links point at.")
def command(run: Run, *, path: Path, follow: bool) -> int:
    """Say which version a stray file or folder is.

    It is recognised after re-saving, re-sharding and stripping too. When no version is exactly
    it, the nearest is named and the exit code is 3.
    """
    store = run.store()
    with progress("identify", counts_new=False) as report:
        result = store.identify(path, follow=follow, progress=report)
    run.answer(result, _text)
    return 0 if result.exact else NOT_EXACT


def _text(result: "Identified") -> Iterator[render.Part]:
    for match in result.exact:
        yield f"{match.label} {match.version} (same {match.how})"
    if result.exact:
        return
    yield "no version is exactly this"
    near = result.nearest
    if near is not None:
        yield f"nearest is {near.label}: {near.agreeing} of {near.total} tensors agree"

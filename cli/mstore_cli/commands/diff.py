"""``mstore diff``."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import diff_text, render
from mstore_cli.html import html_options, write_page
from mstore_cli.parameters import Revision
from mstore_cli.place import open_existing
from mstore_cli.progress import Callback, progress
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.ops.diff import Diff

HIGH_BITS = 16
"""What ``--high`` reads: as much as a bf16 number has, which is what planes are mostly cut at."""


@verb(
    "diff",
    "mstore diff lenet@1 lenet@3",
    "mstore diff lenet tuned pruned --tensors",
    "mstore diff lenet ./download/model.safetensors",
    "mstore diff one two --align",
    "mstore diff large@1 large@2 --high",
)
@click.argument("revisions", metavar="A B [C]...", nargs=-1, required=True, type=Revision())
@click.option("--tensors", is_flag=True, help="Show every tensor, not only every layer.")
@click.option("--align", is_flag=True, help="Recognise neurons that stand in another order.")
@click.option("--high", is_flag=True, help="Read 16 leading bits of floats, and bound the figures.")
@click.option("--bits", type=int, metavar="N", help="As --high, with N leading bits.")
@html_options
def command(
    run: Run,
    *,
    revisions: tuple[str, ...],
    tensors: bool,
    align: bool,
    high: bool,
    bits: int | None,
    html: Path | None,
    force: bool,
) -> None:
    """Show what differs between models: structure, settings, weights.

    All are compared with the first. Each is a revision, a file of one (REV:path), or a file or
    folder on disk; what begins with ./ or / is always on disk. Equal tensors are not read.
    """
    if bits is None and high:
        bits = HIGH_BITS
    with progress("diff", counts_new=False) as report:
        result = _compare(run, revisions, bits, align=align, report=report)
    page = write_page(html, partial(_page, result), force=force)
    text = partial(_text, tensors=tensors, page=page)
    run.answer(result, text, **render.jsonable(result), html=page)


def _page(found: "Diff") -> str:
    from mstore.report.diffs import diff_page  # noqa: PLC0415 (only when a page is wanted)

    return diff_page(found)


def _text(found: "Diff", *, tensors: bool, page: str | None) -> Iterator[render.Part]:
    yield from diff_text.lines(found, tensors=tensors)
    if page:
        yield f"written to {page}"


def _compare(
    run: Run, revisions: tuple[str, ...], bits: int | None, *, align: bool, report: Callback | None
) -> "Diff":
    """Compare; files on disk need no store, so none is made for them."""
    from mstore.ops.diff import diff  # noqa: PLC0415 (a command that fails earlier needs it not)

    store = open_existing(run.place)
    parts = None if store is None else store.parts
    return diff(parts, *revisions, bits=bits, align=align, progress=report)

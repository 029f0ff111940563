"""``mstore lineage``."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mstore_cli import lineage_text, render
from mstore_cli.html import html_options, write_page
from mstore_cli.parameters import Revision
from mstore_cli.run import Run, verb

if TYPE_CHECKING:
    from mstore.provenance.infer import Inferred, InferredParent
    from mstore.provenance.lineage import Lineage


@verb(
    "lineage",
    "mstore lineage lenet@3 --graph",
    "mstore lineage lenet@3 --down --depth 2",
    "mstore lineage --dataset cifar10",
    "mstore lineage --infer",
    "mstore lineage --infer found --record",
)
@click.argument("revisions", metavar="[REV]...", nargs=-1, type=Revision())
@click.option("--up", is_flag=True, help="Only what it came from.")
@click.option("--down", is_flag=True, help="Only what was made of it.")
@click.option("--depth", type=click.IntRange(min=0), metavar="N", help="At most N steps away.")
@click.option("--graph", "as_graph", is_flag=True, help="Draw which came from which.")
@click.option("--dataset", metavar="NAME|HASH", help="Everything made from a data set.")
@click.option("--infer", is_flag=True, help="Guess parents that nobody recorded, from the weights.")
@click.option("--record", is_flag=True, help="With --infer: add what was guessed as a note.")
@html_options
def command(
    run: Run,
    *,
    revisions: tuple[str, ...],
    up: bool,
    down: bool,
    depth: int | None,
    as_graph: bool,
    dataset: str | None,
    infer: bool,
    record: bool,
    html: Path | None,
    force: bool,
) -> None:
    """Show what a version came from and what was made of it, across models.

    With --infer nothing recorded is needed: models of the same layers are compared by their
    weights, and each guess has its confidence and its reason. It is printed, not stored, unless
    --record adds it as a note.
    """
    _check(revisions, dataset, infer=infer, record=record)
    store = run.store()
    if infer:
        inferred = store.infer_parents(*revisions, record=record, author=run.author)
        guessed = partial(_page, "inferred", store.history(), inferred.parents)
        named = {"versions": [], "duplicates": inferred.duplicates, "inferred": inferred}
        page = write_page(html, guessed, force=force)
        run.answer(inferred, partial(_inferred, page=page), **named, html=page)
        return
    if dataset is not None:
        found = store.made_from(dataset, depth=depth)
    else:
        both = up == down
        found = store.lineage(revisions[0], up=up or both, down=down or both, depth=depth)
    page = write_page(html, partial(_page, dataset or revisions[0], found), force=force)
    drawing = partial(lineage_text.drawing, mark_start=dataset is None)
    text = drawing if as_graph else lineage_text.table
    run.answer(found, partial(_text, text=text, page=page), **_named(found), html=page)


def _check(revisions: tuple[str, ...], dataset: str | None, *, infer: bool, record: bool) -> None:
    if infer and dataset is not None:
        message = "--infer and --dataset are two questions"
        raise click.UsageError(message)
    if record and not infer:
        message = "--record goes with --infer"
        raise click.UsageError(message)
    if not infer and len(revisions) != (0 if dataset is not None else 1):
        message = "give one REV, or --dataset NAME, or --infer"
        raise click.UsageError(message)


def _page(title: str, found: "Lineage", guesses: "Sequence[InferredParent]" = ()) -> str:
    from mstore.report.lineages import lineage_page  # noqa: PLC0415 (only when a page is wanted)

    return lineage_page(title, found, guesses)


def _text(
    found: "Lineage", text: "Callable[[Lineage], Iterable[render.Part]]", page: str | None
) -> Iterator[render.Part]:
    yield from text(found)
    if page:
        yield f"written to {page}"


def _named(found: "Lineage") -> dict[str, object]:
    return {"versions": found.versions, "duplicates": found.duplicates, "inferred": None}


def _inferred(found: "Inferred", page: str | None) -> Iterator[render.Part]:
    for edge in found.parents:
        yield from _edge(edge)
    for duplicate in found.duplicates:
        yield f"the same weights: {', '.join(duplicate.names)}"
    if not found.parents:
        yield "no parent could be inferred"
    if found.considered < found.versions_in_all:
        yield (
            f"compared {found.considered} of {found.versions_in_all} versions:"
            " the newest of each model first"
        )
    if page:
        yield f"written to {page}"


def _edge(edge: "InferredParent") -> Iterator[render.Part]:
    sure = f"{100 * edge.confidence:.0f} %"
    yield f"{edge.label} <- {edge.parent_label}  inferred, confidence {sure}"
    yield f"    {edge.reason}" + ("; recorded as a note" if edge.recorded else "")

"""Texts that several commands print."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from mstore_cli import render
from mstore_cli.failures import plain

if TYPE_CHECKING:
    from mstore.catalog.reports import Lacking
    from mstore.ops.names import Deleted, Moved
    from mstore.ops.transfer import TransferReport


def moved(result: "Moved") -> Iterator[render.Part]:
    """Say what a change of a name did, and to which versions."""
    version = f" {result.version}" if result.version else ""
    labels = f": {', '.join(result.labels)}" if result.labels else ""
    yield f"{result.action} {result.name}{version}{labels}"


def deleted(result: "Deleted") -> Iterator[render.Part]:
    """Say what was or would be deleted, and what gc could free then."""
    if not result.dry_run:
        yield from moved(result)
        return
    labels = f": {', '.join(result.labels)}" if result.labels else ""
    yield f"would delete {result.name}{labels}"
    if result.freed_bytes is not None:
        yield f"gc could then free {render.size(result.freed_bytes)}"


def transfer_fields(report: "TransferReport") -> dict[str, object]:
    """Give what JSON says of a transfer: the names are an object, not pairs."""
    return {**render.jsonable(report), "names": dict(report.names)}


def transferred(report: "TransferReport") -> Iterator[render.Part]:
    """Say what travelled, and which names it went to."""
    yield (
        f"{report.place}: {render.count(report.versions, 'version')}, "
        f"{render.count(report.objects, 'object')}; {render.size(report.bytes_sent)} sent, "
        f"{render.size(report.bytes_already)} already there"
    )
    for name, gained in report.names:
        yield f"  {name}: {render.count(gained, 'version')}" if gained else f"  {name}: up to date"
    for tag in report.tags:
        yield f"  tag {tag}"
    if report.notes:
        yield f"  {render.count(report.notes, 'note')}"
    for tag in report.refused_tags:
        yield f"  tag {tag} stands elsewhere there and was left (--force moves it)"


def tell(notices: Iterable[str]) -> None:
    """Say on stderr what was unusual on the way to an answer."""
    for notice in notices:
        click.echo(f"mstore: {plain(notice)}", err=True)


LISTED = 5
"""Labels that are shown of versions which lack a value."""


def lacking(groups: "Iterable[Lacking]") -> Iterator[render.Part]:
    """Say which versions may fit as well, and what is not known of them."""
    for group in groups:
        values = " and ".join(f"'{value}'" for value in group.values)
        verb = "lacks" if group.count == 1 else "lack"
        rest = ", ..." if group.count > LISTED else ""
        labels = ", ".join(group.labels[:LISTED])
        yield f"{render.count(group.count, 'version')} {verb} {values}: {labels}{rest}"

"""Versions of several models and how they came from one another, drawn with characters."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mstore_cli import graph, render

if TYPE_CHECKING:
    from mstore.provenance.lineage import Lineage, LineageRow, Origin


def drawing(lineage: "Lineage", *, mark_start: bool = False) -> Iterator[render.Part]:
    """Draw versions, newest first; with ``mark_start`` those where the question started stand out.

    A parent that is not drawn is named behind its child.
    """
    here = {bytes(row.id) for row in lineage.versions}
    nodes = [_node(row, here, mark_start=mark_start) for row in lineage.versions]
    yield from graph.draw(nodes)
    yield from duplicates(lineage)


def table(lineage: "Lineage") -> Iterator[render.Part]:
    """List versions with their parents: ancestors above, descendants below."""
    rows = sorted(lineage.versions, key=lambda row: (row.steps, row.time))
    cells = [
        (
            f"{row.steps:+}" if row.steps else "0",
            name_of(row),
            render.short(row.id),
            "" if row.state == "kept" else row.state,
            ", ".join(f"{parent.relation} from {_parent(parent)}" for parent in row.parents),
            render.first_line(row.message),
        )
        for row in rows
    ]
    headers = ("STEPS", "VERSION", "HASH", "STATE", "CAME FROM", "MESSAGE")
    yield render.Table(headers, cells, frozenset({"STEPS"}))
    yield from duplicates(lineage)


def duplicates(lineage: "Lineage") -> Iterator[render.Part]:
    """Point out weights that have several names."""
    for found in lineage.duplicates:
        yield f"the same weights: {', '.join(found.names)}"


def name_of(row: "LineageRow") -> str:
    """Give all names of a version, or say that it has none."""
    return ", ".join(row.names) or "(no name)"


def _node(row: "LineageRow", here: set[bytes], *, mark_start: bool) -> graph.Node:
    drawn = tuple(dict.fromkeys(p.id for p in row.parents if bytes(p.id) in here))
    words = [
        name_of(row),
        render.short(row.id),
        "" if row.state == "kept" else row.state,
        f"({', '.join(row.tags)})" if row.tags else "",
        render.first_line(row.message),
        *_relations(row, here),
        "<= here" if mark_start and row.steps == 0 else "",
    ]
    return graph.Node(row.id, drawn, " ".join(word for word in words if word))


def _relations(row: "LineageRow", here: set[bytes]) -> Iterator[str]:
    """Say how it came from others, unless it simply follows a version of its own model."""
    models = {name.rpartition("@")[0] for name in row.names}
    for parent in row.parents:
        own = parent.label is not None and parent.label.rpartition("@")[0] in models
        if parent.relation != "derived" or not own or bytes(parent.id) not in here:
            yield f"<- {parent.relation} {_parent(parent)}"


def _parent(parent: "Origin") -> str:
    return parent.label or render.short(parent.id)

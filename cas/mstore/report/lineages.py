"""The page of a lineage: a picture of it, and the same as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mstore.report.dag import Edge, Node, graph
from mstore.report.frame import Head, Section, page
from mstore.report.markup import Child, Markup, tag
from mstore.report.tables import Cell, Column, Grid, frame, table
from mstore.report.texts import shown_time

if TYPE_CHECKING:
    from mstore.provenance.infer import InferredParent
    from mstore.provenance.lineage import Lineage, LineageRow

DRAWN = 300
"""Versions that are drawn; of more the newest, and the table has the others too."""


def lineage_page(title: str, found: "Lineage", guesses: Sequence["InferredParent"] = ()) -> str:
    """What came from what; ``guesses`` are drawn with broken lines."""
    rows = found.versions
    asked = any(row.steps for row in rows)
    nodes = [_node(row, is_chosen=asked and row.steps == 0) for row in rows[:DRAWN]]
    edges = [
        Edge(str(origin.id), str(row.id), origin.relation) for row in rows for origin in row.parents
    ]
    edges += [_guess(guess) for guess in guesses]
    picture: list[Child] = [frame(graph(nodes, edges), "lineage")]
    if len(rows) > DRAWN:
        note = f"The newest {DRAWN:,} of {len(rows):,} versions; the table has all."
        picture.append(tag("p", note, class_="note"))
    sections = [
        Section("graph", "What came from what", picture),
        Section("versions", "Versions", _table(rows), f"{len(rows):,}"),
    ]
    if guesses:
        sections.append(Section("guesses", "Guessed parents", _guesses(guesses)))
    if found.duplicates:
        same = [tag("li", ", ".join(each.names)) for each in found.duplicates]
        sections.append(Section("same", "The same weights under several names", tag("ul", same)))
    return page(Head("lineage", title), sections)


def _node(row: "LineageRow", *, is_chosen: bool) -> Node:
    state = "" if row.state == "kept" else row.state
    note = ", ".join(word for word in (*row.tags, state) if word)
    note = note or row.message.partition("\n")[0]
    return Node(str(row.id), _name(row), note, is_chosen)


def _name(row: "LineageRow") -> str:
    return row.names[0] if row.names else str(row.id)[:12]


def _guess(guess: "InferredParent") -> Edge:
    sure = f"guessed, {100 * guess.confidence:.0f} %"
    return Edge(str(guess.parent), str(guess.version), sure, is_guess=True)


def _table(rows: Sequence["LineageRow"]) -> Markup:
    columns = [
        Column("version"),
        Column("stored", is_whole=True),
        Column("came from"),
        Column("steps", is_number=True),
        Column("tags"),
        Column("message"),
    ]
    cells = [
        [
            Cell(_name(row)),
            Cell(shown_time(row.time), row.time),
            Cell(", ".join(f"{o.relation} {o.label or str(o.id)[:12]}" for o in row.parents)),
            Cell(f"{row.steps:+d}" if row.steps else "0", row.steps),
            Cell([tag("span", name, class_="tag") for name in row.tags]),
            Cell(row.message.partition("\n")[0]),
        ]
        for row in rows
    ]
    return table(Grid("versions of the lineage", columns, cells, is_sortable=True))


def _guesses(guesses: Sequence["InferredParent"]) -> Markup:
    columns = [
        Column("version"),
        Column("came from"),
        Column("confidence", is_number=True),
        Column("why"),
    ]
    rows = [
        [
            Cell(guess.label),
            Cell(guess.parent_label),
            Cell(f"{100 * guess.confidence:.0f} %", guess.confidence),
            Cell(guess.reason),
        ]
        for guess in guesses
    ]
    return table(Grid("guessed parents", columns, rows, is_sortable=True))

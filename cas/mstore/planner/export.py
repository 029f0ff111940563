"""A storage graph and a plan over it as JSON values, for ``plan --graph`` and other solvers.

    {"format": "mstore-plan-1", "root": "root", "max_depth": 8,
     "vertices": ["m1", ...],
     "edges": [{"source": "root", "target": "m1", "storage": 2, "recreation": 1, "label": null}],
     "groups": [{"name": "s1", "members": ["m1"], "bound": 3, "weight": 1}, ...],
     "plan": {"m1": 0, ...}}

``bound`` is null where there is none. ``plan`` gives for each vertex the place of its edge in
``edges``. Vertices are written as texts.
"""

from collections.abc import Callable, Hashable, Mapping
from math import inf, isfinite
from typing import TypedDict

from mstore.errors import InvalidInputError
from mstore.planner.graph import Edge, Graph, Group, Plan, Vertex, check_plan

FORMAT = "mstore-plan-1"

Label = str | int | float | bool | list["Label"] | None


class EdgeRow(TypedDict):
    """One edge; costs in the units of the graph."""

    source: str
    target: str
    storage: float
    recreation: float
    label: Label


class GroupRow(TypedDict):
    """One group; ``members`` are sorted."""

    name: str
    members: list[str]
    bound: float | None
    weight: float


class Document(TypedDict):
    """The whole of an export."""

    format: str
    root: str
    max_depth: int
    vertices: list[str]
    edges: list[EdgeRow]
    groups: list[GroupRow]
    plan: dict[str, int]


def to_json(graph: Graph, plan: Plan, name: Callable[[Vertex], str] = str) -> Document:
    """The export; InvalidInputError if ``name`` gives two vertices the same text.

    ``plan`` must be a plan of ``graph``. A label is written as it is if JSON has its type, a tuple
    as an array, and any other as its text.
    """
    names = {vertex: name(vertex) for vertex in graph.vertices}
    if len(set(names.values())) < len(names):
        raise InvalidInputError("two vertices of the graph have the same name")
    place = {edge: number for number, edge in reversed(list(enumerate(graph.edges)))}
    return {
        "format": FORMAT,
        "root": names[graph.root],
        "max_depth": graph.max_depth,
        "vertices": [names[vertex] for vertex in graph.vertices[1:]],
        "edges": [_edge_row(edge, names) for edge in graph.edges],
        "groups": [_group_row(group, names) for group in graph.groups],
        "plan": {names[vertex]: place[plan.parents[vertex]] for vertex in graph.vertices[1:]},
    }


def _edge_row(edge: Edge, names: Mapping[Vertex, str]) -> EdgeRow:
    return {
        "source": names[edge.source],
        "target": names[edge.target],
        "storage": edge.storage,
        "recreation": edge.recreation,
        "label": _label(edge.label),
    }


def _label(label: object) -> Label:
    if label is None or isinstance(label, str | int | float):
        return label
    if isinstance(label, tuple):
        return [_label(each) for each in label]
    return str(label)


def _group_row(group: Group, names: Mapping[Vertex, str]) -> GroupRow:
    return {
        "name": group.name,
        "members": sorted(names[vertex] for vertex in group.members),
        "bound": group.bound if isfinite(group.bound) else None,
        "weight": group.weight,
    }


def from_json(document: Document) -> tuple[Graph, Plan]:
    """The graph and the plan of an export, with the texts as vertices.

    InvalidInputError unless ``document`` is one, and the plan a spanning tree within its depth.
    """
    try:
        if document["format"] != FORMAT:
            raise InvalidInputError(f"the document has not the format '{FORMAT}'")
        graph = Graph(
            [_edge(row) for row in document["edges"]],
            [_group(row) for row in document["groups"]],
            root=document["root"],
            max_depth=document["max_depth"],
        )
        edges = graph.edges
        plan = Plan({vertex: edges[number] for vertex, number in document["plan"].items()})
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise InvalidInputError(f"the document is not a plan: {error!r}") from error
    check_plan(graph, plan)
    return graph, plan


def _edge(row: EdgeRow) -> Edge:
    label = _frozen(row["label"])
    return Edge(row["source"], row["target"], row["storage"], row["recreation"], label)


def _group(row: GroupRow) -> Group:
    bound = inf if row["bound"] is None else row["bound"]
    return Group(row["name"], frozenset(row["members"]), bound, row["weight"])


def _frozen(label: Label) -> Hashable:
    return tuple(map(_frozen, label)) if isinstance(label, list) else label

"""Graphs and plans as JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from tests.unit.planner.graphs import figure5, graphs

from mstore.errors import InvalidInputError
from mstore.planner import ROOT, Edge, Graph, choose, from_json, to_json


def renamed(graph: Graph) -> Graph:
    """The graph with the texts of its vertices for vertices."""
    document = to_json(graph, choose(graph, effort=0).best.plan)
    return from_json(document)[0]


@given(graphs())
def test_round_trip(graph: Graph) -> None:
    """What is exported, through JSON text, is what comes back."""
    graph = renamed(graph)
    plan = choose(graph, effort=0).best.plan
    document = json.loads(json.dumps(to_json(graph, plan)))
    again, planned = from_json(document)
    assert (again.edges, again.groups, again.vertices) == (
        graph.edges,
        graph.groups,
        graph.vertices,
    )
    assert again.max_depth == graph.max_depth
    assert planned == plan


def test_labels_come_back() -> None:
    """A label of texts, numbers and tuples is the same after the round trip."""
    labels = ["pco", ("delta", 4, None), 7, None]
    graph = Graph([Edge(ROOT, "a", 1, 1, label) for label in labels])
    document = json.loads(json.dumps(to_json(graph, choose(graph).best.plan)))
    assert [edge.label for edge in from_json(document)[0].edges] == labels


def test_names_must_differ() -> None:
    """Two vertices with one name cannot be told apart in the export."""
    graph = Graph([Edge(ROOT, 1, 1, 1), Edge(ROOT, "1", 1, 1)])
    with pytest.raises(InvalidInputError, match="same name"):
        to_json(graph, choose(graph).best.plan)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"edges": None},
        {"edges": [{"source": "root"}]},
        {"groups": [{}]},
        {"plan": {}},
        {"plan": {"m1": 999}},
        {"plan": []},
        {"plan": dict.fromkeys(["m1", "m2", "m3", "m4", "m5"], 0)},
        {"root": "m1"},
        {"max_depth": -1},
        {"max_depth": "deep"},
    ],
)
def test_bad_documents_are_refused(change: dict[str, Any]) -> None:
    """What is no export is refused as the caller's mistake."""
    graph = figure5()
    document: Any = {**to_json(graph, choose(graph).best.plan), **change}
    with pytest.raises(InvalidInputError):
        from_json(document)

"""What a storage graph and a plan must be."""

from math import inf, nan

import pytest
from tests.unit.planner.graphs import figure5

from mstore.errors import InvalidInputError
from mstore.planner import ROOT, Edge, Graph, Group, Plan, check_plan

WHOLE = [Edge(ROOT, "a", 5, 1), Edge(ROOT, "b", 5, 1)]


@pytest.mark.parametrize(
    ("edges", "groups", "words"),
    [
        ([Edge("a", "b", 1, 1)], [], "'a' has no edge from the root"),
        ([*WHOLE, Edge("a", ROOT, 1, 1)], [], "leads to the root"),
        ([*WHOLE, Edge("a", "a", 1, 1)], [], "is a loop"),
        ([Edge(ROOT, "a", -1, 1)], [], "storage cost -1"),
        ([Edge(ROOT, "a", 1, nan)], [], "recreation cost nan"),
        ([Edge(ROOT, "a", inf, 1)], [], "storage cost inf"),
        (WHOLE, [Group("s", frozenset({"c"}))], "group 's' has unknown vertex 'c'"),
        (WHOLE, [Group("s", frozenset({ROOT}))], "group 's' has unknown vertex 'root'"),
        (WHOLE, [Group("s", frozenset({"a"}), -1)], "the bound -1"),
        (WHOLE, [Group("s", frozenset({"a"}), nan)], "the bound nan"),
        (WHOLE, [Group("s", frozenset({"a"}), 1, 0)], "the weight 0"),
    ],
)
def test_bad_graphs_are_refused(edges: list[Edge], groups: list[Group], words: str) -> None:
    """A graph that breaks an invariant is refused, and the message names what does."""
    with pytest.raises(InvalidInputError, match=words):
        Graph(edges, groups)


def test_a_negative_depth_is_refused() -> None:
    """A chain cannot have fewer than no deltas."""
    with pytest.raises(InvalidInputError, match="-1"):
        Graph(WHOLE, max_depth=-1)


def test_an_empty_graph_has_an_empty_plan() -> None:
    """Nothing to keep is kept by nothing."""
    check_plan(Graph([]), Plan({}))


CHAIN = [*WHOLE, Edge("a", "b", 1, 1), Edge("b", "a", 1, 1)]


@pytest.mark.parametrize(
    ("parents", "words"),
    [
        ({"a": CHAIN[0]}, "differ in vertex 'b'"),
        ({"a": CHAIN[3], "b": CHAIN[2]}, "circle"),
        ({"a": CHAIN[0], "b": CHAIN[0]}, "'b' by an edge that is not its own"),
        ({"a": CHAIN[0], "b": Edge("a", "b", 9, 9)}, "'b' by an edge that is not its own"),
        ({"a": CHAIN[0], "b": CHAIN[2]}, "depth 1, the limit is 0"),
    ],
)
def test_bad_plans_are_refused(parents: dict[str, Edge], words: str) -> None:
    """What is no spanning tree of the graph within its depth is refused."""
    with pytest.raises(InvalidInputError, match=words):
        check_plan(Graph(CHAIN, max_depth=0), Plan(parents))


def test_a_path_begins_at_the_vertex() -> None:
    """The last edge of a path comes first."""
    plan = Plan({"a": CHAIN[0], "b": CHAIN[2]})
    assert plan.path("b") == [CHAIN[2], CHAIN[0]]


def test_vertices_keep_their_order() -> None:
    """Vertices are numbered as they appear, the root first."""
    assert figure5().vertices == (ROOT, "m1", "m2", "m3", "m4", "m5")

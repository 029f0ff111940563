"""Graphs of versions drawn in layers."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mstore.report.dag import Edge, Node, graph

Pairs = list[tuple[int, int]]


def boxes(drawn: str) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, width and height of every node by its name."""
    number = r'="([-\d.e+]+)"'
    shape = " ".join(f"{name}{number}" for name in ("x", "y", "width", "height"))
    found = re.findall(rf"<title>(\w+)</title><rect {shape}", drawn)
    return {name: tuple(map(float, places)) for name, *places in found}


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=24))
def test_children_stand_below_and_nothing_overlaps(pairs: Pairs) -> None:
    """Whatever the graph, every child is below its parents and no two boxes meet."""
    nodes = [Node(str(at), f"n{at}") for at in range(12)]
    ordered = [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
    edges = [Edge(str(parent), str(child), "derived") for parent, child in ordered]
    drawn = graph(nodes, edges)
    found = boxes(drawn)
    assert len(found) == 12
    assert drawn.count('class="edge"') == len(edges)
    for edge in edges:
        assert found[f"n{edge.parent}"][1] < found[f"n{edge.child}"][1]
    places = sorted(found.values(), key=lambda box: (box[1], box[0]))
    for one, two in pairwise(places):
        assert one[1] != two[1] or one[0] + one[2] < two[0] + 0.1


def test_a_circle_is_drawn_too() -> None:
    """Parents that go round in a circle, which no sound store has, are drawn and not followed."""
    nodes = [Node("a", "a"), Node("b", "b")]
    drawn = graph(nodes, [Edge("a", "b", "derived"), Edge("b", "a", "derived")])
    assert len(boxes(drawn)) == 2


def test_edges_to_what_is_not_there_are_left_out() -> None:
    """An edge from a version that is not drawn is not drawn."""
    drawn = graph([Node("a", "a")], [Edge("z", "a", "derived")])
    assert 'class="edge"' not in drawn


def test_a_guess_is_a_broken_line() -> None:
    """An inferred parent is drawn otherwise than a recorded one, and a long name is cut."""
    nodes = [Node("a", "a" * 100), Node("b", "b")]
    drawn = graph(nodes, [Edge("a", "b", "guessed, 71 %", is_guess=True)])
    assert 'class="edge guessed"' in drawn
    assert "…" in drawn

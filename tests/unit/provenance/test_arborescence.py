"""The cheapest directed tree."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from mstore.provenance.arborescence import Edge, arborescence


def trees(count: int, edges: list[Edge]) -> Iterator[tuple[float, dict[int, int]]]:
    """Every tree from node 0, with what it costs."""
    incoming = [[edge for edge in edges if edge.stop == node] for node in range(1, count)]
    for chosen in product(*incoming):
        parents = {edge.stop: edge.start for edge in chosen}
        if all(reaches_root(parents, node) for node in parents):
            yield sum(edge.cost for edge in chosen), parents


def reaches_root(parents: dict[int, int], node: int) -> bool:
    """Whether the parents of a node lead to node 0."""
    for _ in range(len(parents)):
        node = parents.get(node, 0)
    return node == 0


@pytest.mark.parametrize("count", range(1, 7))
def test_no_tree_is_cheaper(count: int) -> None:
    """The tree costs as little as the cheapest of all, ties, cycles and gaps included."""
    rng = np.random.default_rng(count)
    for trial in range(30):
        edges = [Edge(0, node, 5.0 + rng.random()) for node in range(1, count)]
        for start, stop in product(range(1, count), repeat=2):
            if start != stop and rng.random() < 0.8:
                cost = float(rng.integers(1, 4)) if trial % 2 else float(rng.random() * 6)
                edges.append(Edge(start, stop, cost))
        parents = arborescence(count, edges, 0)
        assert sorted(parents) == list(range(1, count))
        assert all(reaches_root(parents, node) for node in parents)
        costs = {(edge.start, edge.stop): edge.cost for edge in edges}
        cost = sum(costs[parent, node] for node, parent in parents.items())
        assert cost == pytest.approx(min(cost for cost, _ in trees(count, edges)))


def test_a_cycle_inside_a_cycle() -> None:
    """Cycles that only show once another one was joined are undone too."""
    edges = [Edge(0, node, 10.0) for node in range(1, 5)]
    edges += [Edge(1, 2, 1.0), Edge(2, 1, 1.0), Edge(3, 4, 1.0), Edge(4, 3, 1.0)]
    edges += [Edge(2, 3, 2.0), Edge(4, 1, 2.0)]
    parents = arborescence(5, edges, 0)
    assert parents in ({1: 0, 2: 1, 3: 2, 4: 3}, {3: 0, 4: 3, 1: 4, 2: 1})

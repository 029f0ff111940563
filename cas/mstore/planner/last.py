"""LAST, the light approximate shortest-path tree (Khuller, Raghavachari and Young, 1995).

The baseline of the ModelHub paper. It knows no groups: it walks the tree of least storage and,
where the path to a vertex is longer than alpha times the shortest, puts the shortest path in. On
undirected graphs with c_s = c_r its storage is at most 1 + 2/(alpha-1) times the least.
"""

from collections.abc import Sequence
from math import inf

from mstore.planner.cost import Scheme
from mstore.planner.graph import NONE, Graph
from mstore.planner.minimum import limit_depth, minimum_arborescence, shortest_path_tree
from mstore.planner.tree import Tree


def last(graph: Graph, scheme: Scheme) -> Tree:
    """The tree of LAST, where the alpha of a vertex is the smallest of its groups'.

    The alpha of a group is its bound over its cost in the shortest path tree. Paths that are longer
    than the graph allows are cut, which may break bounds. Costs O(|V| + |E|) beyond the two trees.
    """
    shortest = Tree(graph, scheme, shortest_path_tree(graph))
    least = limit_depth(graph, minimum_arborescence(graph))
    walk = _Walk(graph, shortest, least)
    walk.run()
    return Tree(graph, scheme, limit_depth(graph, walk.parent))


def _longest(tree: Tree) -> list[float]:
    """How long the path to each vertex may be: alpha times that in ``tree``, the shortest."""
    ledger = tree.ledger
    pairs = zip(ledger.limits, ledger.costs, strict=True)
    alphas = [limit / cost if cost else 1.0 for limit, cost in pairs]
    return [
        min(alphas[line] for line in lines) * cost if lines else inf
        for lines, cost in zip(ledger.lines, tree.cost, strict=True)
    ]


class _Walk:
    """``parent`` and ``cost`` only ever get better, as in Bellman's and Ford's algorithm."""

    def __init__(self, graph: Graph, shortest: Tree, least: Sequence[int]) -> None:
        self._graph = graph
        self._shortest = shortest
        self._longest = _longest(shortest)
        self._least = Tree(graph, "independent", least)
        self.parent = [NONE] * len(least)
        self.cost = [0.0] + [inf] * (len(least) - 1)

    def run(self) -> None:
        """Walk the tree of least storage depth first, up again by the edges that lead back."""
        stack = [(vertex, True) for vertex in sorted(self._least.children[0])]
        while stack:
            vertex, down = stack.pop()
            edge = self._least.parent[vertex]
            if not down:
                self._relax_back(edge)
                continue
            self._relax(edge)
            if self.cost[vertex] > self._longest[vertex]:
                self._add_path(vertex)
            stack.append((vertex, False))
            stack.extend((child, True) for child in sorted(self._least.children[vertex]))

    def _relax(self, edge: int) -> None:
        source, vertex = self._graph.source[edge], self._graph.target[edge]
        cost = self.cost[source] + self._graph.recreation[edge]
        if cost < self.cost[vertex]:
            self.cost[vertex] = cost
            self.parent[vertex] = edge

    def _relax_back(self, edge: int) -> None:
        source, target = self._graph.source[edge], self._graph.target[edge]
        for back in self._graph.into[source]:
            if self._graph.source[back] == target:
                self._relax(back)
                break

    def _add_path(self, vertex: int) -> None:
        for each in reversed(self._shortest.up(vertex)):
            self._relax(self._shortest.parent[each])

"""The plan of least storage within all bounds, by branch and bound, for small graphs (Problem 1).

The problem is NP-hard (Theorem 1), so this is for some twelve vertices. A node of the search
allows some of the edges into each vertex. Its tree of least storage is a lower bound; where that
breaks a bound, one of the edges on a path to blame is either kept for good or forbidden.
"""

from heapq import heappop, heappush
from itertools import count
from math import inf
from operator import gt

from mstore.errors import InvalidInputError
from mstore.planner.cost import Scheme
from mstore.planner.graph import Graph
from mstore.planner.minimum import minimum_arborescence, shortest_path_tree
from mstore.planner.tree import Tree

MAX_VERTICES = 12

Allowed = tuple[tuple[int, ...], ...]
"""By vertex number: the edges into it that a node of the search may use."""


def exact(graph: Graph, scheme: Scheme) -> Tree | None:
    """The tree of least storage within all bounds and the depth limit; None if there is none.

    InvalidInputError for more than ``MAX_VERTICES`` vertices. The cost grows exponentially with
    the vertices; some milliseconds for ten.
    """
    if len(graph) > MAX_VERTICES:
        raise InvalidInputError(
            f"the graph has {len(graph)} vertices, an exact plan can be found for {MAX_VERTICES}"
        )
    search = _Search(Tree(graph, scheme, shortest_path_tree(graph)))
    tickets = count()
    queue: list[tuple[float, int, Allowed, Tree]] = []
    nodes = [tuple(map(tuple, graph.into))]
    while True:
        for node in nodes:
            if (allowed := search.narrow(node)) is not None:
                tree = Tree(graph, scheme, minimum_arborescence(graph, allowed))
                heappush(queue, (tree.storage, next(tickets), allowed, tree))
        if not queue:
            return None
        _, _, allowed, tree = heappop(queue)
        if not tree.excess() and not tree.is_deep():
            return tree
        nodes = _branch(tree, allowed)


def _branch(tree: Tree, allowed: Allowed) -> list[Allowed]:
    """Two nodes: one edge on a path to blame kept for good, and forbidden; none if all are kept."""
    for vertex in _to_blame(tree):
        for above in reversed(tree.up(vertex)):
            edges, edge = allowed[above], tree.parent[above]
            if len(edges) > 1:
                others = tuple(each for each in edges if each != edge)
                return [
                    (*allowed[:above], choice, *allowed[above + 1 :])
                    for choice in ((edge,), others)
                ]
    return []


def _to_blame(tree: Tree) -> list[int]:
    """The members of a group over its bound, the dearest first; else the deepest vertex."""
    members = [vertex for line in list(tree.excess())[:1] for vertex in tree.ledger.members[line]]
    if members:
        return sorted(members, key=lambda vertex: -tree.cost[vertex])
    return [max(range(len(tree.depth)), key=tree.depth.__getitem__)]


class _Search:
    """What every node of one search shares: the limits of the groups, by line of the ledger."""

    def __init__(self, tree: Tree) -> None:
        self._graph = tree.graph
        self._sums = tree.scheme != "reusable"
        self._lines = tuple(zip(tree.ledger.members, tree.ledger.limits, strict=True))

    def narrow(self, allowed: Allowed) -> Allowed | None:
        """Without the edges that no tree within bounds has; None if a vertex needs one of them.

        An edge is dropped when, with every other vertex at its shortest path, it takes a group
        over its bound already.
        """
        graph = self._graph
        shortest = _distances(graph, allowed)
        room = self._room(shortest)
        if inf in shortest or any(map(gt, shortest, room)):
            return None
        return tuple(
            tuple(
                edge
                for edge in edges
                if shortest[graph.source[edge]] + graph.recreation[edge] <= longest
            )
            for edges, longest in zip(allowed, room, strict=True)
        )

    def _room(self, shortest: list[float]) -> list[float]:
        """How long the path to each vertex may be while the others' are the shortest.

        Under ψr all that is known is that a group costs no less than its longest path.
        """
        room = [inf] * len(shortest)
        for members, limit in self._lines:
            others = sum(shortest[vertex] for vertex in members) if self._sums else 0.0
            for vertex in members:
                own = shortest[vertex] if self._sums else 0.0
                room[vertex] = min(room[vertex], limit - others + own)
        return room


def _distances(graph: Graph, allowed: Allowed) -> list[float]:
    """The shortest path to each vertex (Bellman and Ford); infinite where there is none."""
    shortest = [0.0] + [inf] * (len(allowed) - 1)
    improved = True
    while improved:
        improved = False
        for vertex, edges in enumerate(allowed):
            for edge in edges:
                cost = shortest[graph.source[edge]] + graph.recreation[edge]
                if cost < shortest[vertex]:
                    shortest[vertex] = cost
                    improved = True
    return shortest

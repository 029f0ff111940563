"""A spanning tree under change: the one mutable thing all planners work on.

The only change is a swap: another edge becomes the parent of the vertex it leads to.

1. The parent edges are a spanning tree with the root on top, before and after every swap.
2. ``cost`` is exactly the sum of recreation costs along the path, in the order from the root.
3. The work of a swap is proportional to the vertices that hang from the one that moves. Their mean
   over all vertices is the mean depth plus one, so it is small where chains are bounded.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from mstore.planner.cost import Scheme
from mstore.planner.graph import NONE, Graph, Plan
from mstore.planner.ledger import open_ledger


class Swap(Struct, frozen=True):
    """A swap that is possible, and what it would change; it holds until the tree changes."""

    edge: int
    subtree: list[int]
    shift: float
    storage: float
    changes: dict[int, float]


class Tree:
    """The tree of the parent edges ``chosen`` (by vertex number; the root has ``NONE``).

    The root is at depth -1, so that a vertex kept whole is at depth 0.
    """

    def __init__(self, graph: Graph, scheme: Scheme, chosen: Sequence[int]) -> None:
        self.graph = graph
        self.scheme = scheme
        self.parent = list(chosen)
        self.children: list[set[int]] = [set() for _ in graph.vertices]
        for vertex in range(1, len(graph.vertices)):
            self.children[graph.source[self.parent[vertex]]].add(vertex)
        self.cost = [0.0 for _ in graph.vertices]
        self.depth = [-1 for _ in graph.vertices]
        self._settle(self.subtree(0)[1:])
        self.storage = sum(graph.storage[edge] for edge in self.parent[1:])
        self.ledger = open_ledger(self, scheme)
        self.considered = 0
        """How many swaps were looked at: the unit of work."""

    def plan(self) -> Plan:
        """The tree as it stands, as a plan."""
        numbers = self.parent[1:]
        return Plan({self.graph.edges[edge].target: self.graph.edges[edge] for edge in numbers})

    def subtree(self, vertex: int) -> list[int]:
        """``vertex`` and all that hangs from it, each after its parent."""
        found = [vertex]
        for each in found:
            found.extend(self.children[each])
        return found

    def up(self, vertex: int) -> list[int]:
        """``vertex`` and those above it, without the root."""
        found = []
        while vertex:
            found.append(vertex)
            vertex = self.graph.source[self.parent[vertex]]
        return found

    def excess(self, lines: Iterable[int] | None = None) -> dict[int, float]:
        """By how much lines of the ledger (all, if none are named) are over their limit, if so."""
        costs, limits = self.ledger.costs, self.ledger.limits
        if lines is None:
            lines = range(len(limits))
        return {line: costs[line] - limits[line] for line in lines if costs[line] > limits[line]}

    def is_deep(self) -> bool:
        """Whether a chain is longer than the graph allows."""
        return max(self.depth) > self.graph.max_depth

    def consider(self, edge: int) -> Swap | None:
        """The swap to ``edge``; None where it changes nothing, makes a circle or is too deep."""
        self.considered += 1
        graph = self.graph
        source, vertex = graph.source[edge], graph.target[edge]
        if self.parent[vertex] == edge or self._is_below(source, vertex):
            return None
        subtree = self.subtree(vertex)
        deeper = self.depth[source] + 1 - self.depth[vertex]
        if deeper > 0 and deeper + max(self.depth[each] for each in subtree) > graph.max_depth:
            return None
        shift = self.cost[source] + graph.recreation[edge] - self.cost[vertex]
        storage = graph.storage[edge] - graph.storage[self.parent[vertex]]
        return Swap(edge, subtree, shift, storage, self.ledger.changes(subtree, edge, shift))

    def fits(self, swap: Swap) -> bool:
        """Whether no line that the swap makes dearer would be over its limit."""
        costs, limits = self.ledger.costs, self.ledger.limits
        return all(
            change <= 0 or costs[line] + change <= limits[line]
            for line, change in swap.changes.items()
        )

    def apply(self, swap: Swap) -> int:
        """Carry the swap out; the number of the edge it replaced."""
        vertex = swap.subtree[0]
        old = self.parent[vertex]
        self.ledger.record(swap.subtree, swap.edge, swap.changes)
        self.children[self.graph.source[old]].remove(vertex)
        self.children[self.graph.source[swap.edge]].add(vertex)
        self.parent[vertex] = swap.edge
        self.storage += swap.storage
        self._settle(swap.subtree)
        return old

    def undo(self, replaced: Sequence[int]) -> None:
        """Take swaps back, the last one first; ``replaced`` is what ``apply`` returned."""
        for edge in reversed(replaced):
            swap = self.consider(edge)
            assert swap is not None
            self.apply(swap)

    def _is_below(self, vertex: int, above: int) -> bool:
        source, parent = self.graph.source, self.parent
        while vertex and vertex != above:
            vertex = source[parent[vertex]]
        return vertex == above

    def _settle(self, vertices: Sequence[int]) -> None:
        graph = self.graph
        for vertex in vertices:
            edge = self.parent[vertex]
            assert edge != NONE
            source = graph.source[edge]
            self.cost[vertex] = self.cost[source] + graph.recreation[edge]
            self.depth[vertex] = self.depth[source] + 1

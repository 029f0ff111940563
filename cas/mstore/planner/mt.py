"""PAS-MT of ModelHub: from the tree of least storage, swap until every group is within its bound.

Each round takes the swap with the largest marginal gain: recreation cost taken off the groups that
are over their bound, for each byte of storage added. The paper looks at every edge in every round,
O(|E|² |S|). Here the gains stand in a queue and only those that a swap may have raised are computed
again: O(k d log |E|) for k swaps that touch d edges each.
"""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import inf

from mstore.planner.cost import Scheme
from mstore.planner.graph import Graph
from mstore.planner.minimum import limit_depth, minimum_arborescence
from mstore.planner.tree import Swap, Tree

Gain = tuple[float, float, int]
"""Minus the marginal gain, the storage added, the edge: the best swap sorts first."""


def pas_mt(graph: Graph, scheme: Scheme, *, capped: bool = False) -> Tree:
    """The tree of PAS-MT; it may break bounds, where no swap gains any more.

    ``capped`` counts of each group only what it is over its bound, so that the last swaps are
    chosen for what is still missing and not for what they could do beyond it.
    """
    tree = Tree(graph, scheme, limit_depth(graph, minimum_arborescence(graph)))
    mend(tree, capped=capped)
    return tree


def mend(
    tree: Tree,
    lines: Iterable[int] | None = None,
    *,
    capped: bool = False,
    locked: int = 0,
) -> list[int]:
    """Swap by marginal gain until all groups are within bounds, or no swap gains.

    ``lines`` of the ledger (all, if none are named) are those that may be over their limits.
    The vertex ``locked`` keeps its parent. Returns the edges replaced, as ``Tree.undo`` takes them.
    """
    mending = _Mending(tree, tree.excess(lines), capped=capped, locked=locked)
    replaced: list[int] = []
    while (swap := mending.best()) is not None:
        replaced.append(mending.apply(swap))
    return replaced


def graft(tree: Tree, shortest: Tree) -> Tree:
    """The tree with the members of each group over its bound on their shortest paths.

    Under ψi and ψp no group gets dearer by that. ``tree`` itself is returned where the new one
    would be too deep or, as may be under ψr, further over its bounds.
    """
    excess, members = tree.excess(), tree.ledger.members
    below = {vertex for line in excess for vertex in members[line]}
    chosen = list(tree.parent)
    for vertex in {above for each in below for above in shortest.up(each)}:
        chosen[vertex] = shortest.parent[vertex]
    grafted = Tree(tree.graph, tree.scheme, chosen)
    is_worse = sum(grafted.excess().values()) > sum(excess.values())
    return tree if is_worse or grafted.is_deep() else grafted


class _Mending:
    """The groups over their bound (``excess``), and the gains of the swaps that help them.

    An entry of the queue may be out of date. One that promises too much is put back with what it
    is worth now; one that promises too little has a newer entry beside it.
    """

    def __init__(self, tree: Tree, excess: dict[int, float], *, capped: bool, locked: int) -> None:
        self._tree = tree
        self._capped = capped
        self._locked = locked
        self._excess = excess
        gains = (self._gain(edge) for edge in self._candidates())
        self._queue = [gain for gain in gains if gain is not None]
        heapify(self._queue)

    def best(self) -> Swap | None:
        """The swap of largest gain; None when no group needs one or none gains."""
        queue = self._queue
        while queue and self._excess:
            promised = heappop(queue)
            gain = self._gain(promised[2])
            if gain is None:
                continue
            if gain <= promised or not queue or gain <= queue[0]:
                return self._tree.consider(gain[2])
            heappush(queue, gain)
        return None

    def apply(self, swap: Swap) -> int:
        """Carry a swap out and renew the gains it may have raised; the edge replaced."""
        tree = self._tree
        above = tree.up(swap.subtree[0])[1:]
        replaced = tree.apply(swap)
        costs, limits = tree.ledger.costs, tree.ledger.limits
        for line in swap.changes.keys() & self._excess.keys():
            self._excess[line] = costs[line] - limits[line]
            if self._excess[line] <= 0:
                del self._excess[line]
        above.extend(tree.up(swap.subtree[0])[1:])
        for edge in self._stirred(swap.subtree, above):
            if (gain := self._gain(edge)) is not None:
                heappush(self._queue, gain)
        return replaced

    def _candidates(self) -> Iterator[int]:
        """The edges into each vertex that a group over its bound is read through."""
        members = self._tree.ledger.members
        below = {vertex for line in self._excess for vertex in members[line]}
        reached = {above for vertex in below for above in self._tree.up(vertex)}
        for vertex in sorted(reached):
            yield from self._tree.graph.into[vertex]

    def _stirred(self, subtree: list[int], above: list[int]) -> list[int]:
        """The edges whose gain a swap may have raised.

        Those at what has moved, and those into the vertices above it, before and after.
        """
        graph = self._tree.graph
        edges = {edge for vertex in subtree for edge in graph.out[vertex]}
        edges.update(edge for vertex in (*subtree, *above) for edge in graph.into[vertex])
        return sorted(edges)

    def _gain(self, edge: int) -> Gain | None:
        """Σ over the groups in excess of what the swap saves, by the storage it adds.

        None where the swap is not possible, saves nothing, or takes another group over its
        bound. A swap that adds no storage has infinite gain.
        """
        if self._tree.graph.target[edge] == self._locked:
            return None
        swap = self._tree.consider(edge)
        if swap is None:
            return None
        costs, limits = self._tree.ledger.costs, self._tree.ledger.limits
        saved = 0.0
        for line, change in swap.changes.items():
            if line in self._excess:
                saved += min(-change, self._excess[line]) if self._capped else -change
            elif change > 0 and costs[line] + change > limits[line]:
                return None
        if saved <= 0:
            return None
        return (-saved / swap.storage if swap.storage > 0 else -inf, swap.storage, edge)

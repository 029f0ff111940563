"""Local search: make a tree within bounds cheaper, and never break a bound that it keeps.

A step down is a swap that saves storage and fits. An exchange is a swap that saves storage but
breaks a bound, with the swaps that mend the bound and the steps down that those open, if all of
them together save storage. It may begin with a swap that saves nothing, when what follows does.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

from mstore.planner.graph import TOLERANCE
from mstore.planner.minimum import cheapest_whole
from mstore.planner.mt import mend
from mstore.planner.tree import Swap, Tree

EFFORT = 300_000
"""How many swaps are looked at in exchanges: some seconds."""


def improve(tree: Tree, effort: int = EFFORT) -> None:
    """Lower the storage of a tree, which must be within its bounds, by steps and exchanges.

    Of equal storage the tree with the shorter paths is kept. A round of steps looks at O(|E|)
    swaps; ``effort`` bounds the swaps looked at for exchanges.
    """
    descend(tree, range(1, len(tree.parent)))
    end = tree.considered + effort
    while _exchange(tree, end):
        pass


def descend(tree: Tree, vertices: Iterable[int], locked: int = 0) -> list[int]:
    """Step down from ``vertices`` until no swap saves storage, or keeps it and shortens paths.

    The vertex ``locked`` keeps its parent. Returns the edges replaced, as ``Tree.undo`` takes
    them.
    """
    replaced: list[int] = []
    waiting: Iterable[int] = vertices
    while waiting:
        moved: set[int] = set()
        for vertex in waiting:
            if vertex != locked and (swap := _step(tree, vertex)) is not None:
                replaced.append(tree.apply(swap))
                moved.update(swap.subtree)
        waiting = _around(tree, moved)
    return replaced


def _around(tree: Tree, vertices: Iterable[int]) -> list[int]:
    """The vertices whose steps may have opened when ``vertices`` became cheaper or shallower."""
    graph, ledger = tree.graph, tree.ledger
    lines = {line for vertex in vertices for line in ledger.lines[vertex]}
    members = {vertex for line in lines for vertex in ledger.members[line]}
    found = {above for vertex in members for above in tree.up(vertex)}
    found.update(graph.target[edge] for vertex in vertices for edge in graph.out[vertex])
    return sorted(found)


def _step(tree: Tree, vertex: int) -> Swap | None:
    """The cheapest edge into a vertex that is better than the one it has, and fits."""
    graph = tree.graph
    stored = graph.storage[tree.parent[vertex]]
    for edge in graph.into[vertex]:
        if graph.storage[edge] > stored:
            return None
        swap = tree.consider(edge)
        if swap and (swap.storage < 0 or swap.shift < 0) and tree.fits(swap):
            return swap
    return None


def _exchange(tree: Tree, end: int) -> bool:
    """Try exchanges, the largest saving first; whether one paid before the effort's ``end``."""
    graph = tree.graph
    stored = [0.0] + [graph.storage[edge] for edge in tree.parent[1:]]
    gaps = ((cost - stored[graph.target[edge]], edge) for edge, cost in enumerate(graph.storage))
    for _, edge in sorted(gaps):
        if tree.considered >= end:
            return False
        if _pays(tree, edge):
            return True
    return _move_centres(tree, end)


def _move_centres(tree: Tree, end: int) -> bool:
    """Try pairs of centres: vertices kept whole, to which all moves that is cheaper there."""
    whole = [cheapest_whole(tree.graph, vertex) for vertex in range(1, len(tree.parent))]
    for first, second in combinations(whole, 2):
        if tree.considered >= end:
            return False
        fans = [*_fan(tree, first), *_fan(tree, second)]
        if _trade(tree, [first, second, *fans]):
            return True
    return False


def _pays(tree: Tree, edge: int) -> bool:
    """Make the exchange that begins with ``edge``; take it back unless storage went down.

    It is tried twice: as it is, and with all that is cheaper as a delta of its target moved there.
    """
    if tree.parent[tree.graph.target[edge]] == edge:
        return False
    return _trade(tree, [edge]) or _trade(tree, [edge, *_fan(tree, edge)])


def _fan(tree: Tree, edge: int) -> list[int]:
    """The edges from the target of ``edge`` that are cheaper than what their targets have now."""
    graph = tree.graph
    source, vertex = graph.source[edge], graph.target[edge]
    above = set(tree.up(source)) if source else set()
    return [
        each
        for each in graph.out[vertex]
        if graph.target[each] not in above
        and graph.storage[each] < graph.storage[tree.parent[graph.target[each]]]
    ]


def _trade(tree: Tree, edges: Sequence[int]) -> bool:
    """Swap to ``edges``, mend, step down; take all back unless storage went down."""
    before, vertex = tree.storage, tree.graph.target[edges[0]]
    replaced: list[int] = []
    for edge in edges:
        replaced += _make_room(tree, edge)
        if (swap := tree.consider(edge)) is not None:
            replaced.append(tree.apply(swap))
    lines = _lines_below(tree, replaced)
    replaced += mend(tree, lines, capped=True, locked=vertex)
    if not tree.excess(lines):
        moved = {tree.graph.target[each] for each in replaced}
        replaced += descend(tree, _around(tree, moved), vertex)
        if tree.storage < before * (1 - TOLERANCE):
            return True
    tree.undo(replaced)
    return False


def _lines_below(tree: Tree, replaced: Iterable[int]) -> set[int]:
    """The lines of the ledger that swaps may have changed."""
    moved = {each for edge in replaced for each in tree.subtree(tree.graph.target[edge])}
    return {line for vertex in moved for line in tree.ledger.lines[vertex]}


def _make_room(tree: Tree, edge: int) -> list[int]:
    """Keep whole what stands in the way of a swap; the edges replaced.

    That is its source where it is below the target or too deep, and what would hang too deep from
    the target.
    """
    graph = tree.graph
    source, vertex = graph.source[edge], graph.target[edge]
    replaced: list[int] = []
    if source and (vertex in tree.up(source) or tree.depth[source] >= graph.max_depth):
        replaced += _whole(tree, source)
    deepest = graph.max_depth + tree.depth[vertex] - tree.depth[source] - 1
    for each in tree.subtree(vertex):
        if tree.depth[each] > deepest and each != vertex:
            replaced += _whole(tree, each)
    return replaced


def _whole(tree: Tree, vertex: int) -> list[int]:
    swap = tree.consider(cheapest_whole(tree.graph, vertex))
    return [tree.apply(swap)] if swap is not None else []

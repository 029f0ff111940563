"""PAS-PT of ModelHub: grow a tree from the root by rising storage cost, within bounds all the way.

A vertex that is not placed yet waits where it is cheapest to read, in the shortest path tree: there
its recreation cost is the lower bound by which the paper decides whether a placement still fits. So
the tree is whole at every moment, and if the shortest paths keep all bounds it never breaks one.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from mstore.planner.cost import Scheme
from mstore.planner.graph import Graph
from mstore.planner.minimum import shortest_path_tree
from mstore.planner.tree import Tree


def pas_pt(graph: Graph, scheme: Scheme) -> Tree:
    """The tree of PAS-PT; within every bound that the shortest path tree keeps.

    Each edge is looked at when its source is placed and when its turn comes: O(|E| log |E|) and
    the work of the swaps.
    """
    tree = Tree(graph, scheme, shortest_path_tree(graph))
    placed = [False] * len(graph.vertices)
    placed[0] = True
    queue = [(graph.storage[edge], graph.recreation[edge], edge) for edge in graph.out[0]]
    heapify(queue)
    while queue:
        edge = heappop(queue)[2]
        vertex = graph.target[edge]
        if placed[vertex] or not _place(tree, edge):
            continue
        placed[vertex] = True
        for each in _adopted(tree, vertex, placed):
            heappush(queue, (graph.storage[each], graph.recreation[each], each))
    return tree


def _place(tree: Tree, edge: int) -> bool:
    """Give a vertex its edge if it is there already or the groups still fit."""
    if tree.parent[tree.graph.target[edge]] == edge:
        return True
    swap = tree.consider(edge)
    if swap is None or not tree.fits(swap):
        return False
    tree.apply(swap)
    return True


def _adopted(tree: Tree, vertex: int, placed: list[bool]) -> Iterator[int]:
    """The edges from a vertex just placed to those still waiting.

    On the way, what is placed moves here where that is cheaper to store and no dearer to read.
    """
    for edge in tree.graph.out[vertex]:
        if not placed[tree.graph.target[edge]]:
            yield edge
            continue
        swap = tree.consider(edge)
        if swap and swap.storage < 0 and swap.shift <= 0 and tree.fits(swap):
            tree.apply(swap)

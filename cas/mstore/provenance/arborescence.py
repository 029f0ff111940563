"""The cheapest directed tree that reaches every node from a root (Chu and Liu 1965; Edmonds 1967).

Plain Python over a list of edges: every node takes its cheapest incoming edge; a cycle is joined
to one node, whose incoming edges then cost what they cost more than the edge they would replace;
and so on until there is no cycle. Cost: nodes times edges at worst.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Edge(NamedTuple):
    """A way from one node to another and what it costs."""

    start: int
    stop: int
    cost: float


def arborescence(count: int, edges: Sequence[Edge], root: int) -> dict[int, int]:
    """The parent of each node but the root, nodes being numbered from 0.

    The root has an edge to every node.
    """
    chosen = _solve(count, [(edge, at) for at, edge in enumerate(edges)], root)
    return {edges[at].stop: edges[at].start for at in chosen}


def _solve(count: int, edges: Sequence[tuple[Edge, int]], root: int) -> set[int]:
    """The numbers of the edges chosen; each comes with its number in the list first given."""
    best = _cheapest(count, edges, root)
    cycle = _cycle({stop: edge.start for stop, (edge, _) in best.items()}, root)
    if cycle is None:
        return {number for _, number in best.values()}
    inside = set(cycle)
    joined = count
    contracted: list[tuple[Edge, int]] = []
    for at, (edge, _) in enumerate(edges):
        start = joined if edge.start in inside else edge.start
        stop = joined if edge.stop in inside else edge.stop
        if start != stop:
            saved = best[edge.stop][0].cost if edge.stop in inside else 0.0
            contracted.append((Edge(start, stop, edge.cost - saved), at))
    chosen = _solve(count + 1, contracted, root)
    found = {edges[at][1] for at in chosen}
    entered = next(edges[at][0].stop for at in chosen if edges[at][0].stop in inside)
    return found | {best[node][1] for node in inside if node != entered}


def _cheapest(
    count: int, edges: Iterable[tuple[Edge, int]], root: int
) -> dict[int, tuple[Edge, int]]:
    best: dict[int, tuple[Edge, int]] = {}
    for edge, number in edges:
        if edge.stop in (root, edge.start):
            continue
        known = best.get(edge.stop)
        if known is None or edge.cost < known[0].cost:
            best[edge.stop] = (edge, number)
    assert len(best) <= count
    return best


def _cycle(parents: dict[int, int], root: int) -> list[int] | None:
    """The nodes of a cycle among these parents, if there is one."""
    done = {root}
    for start in parents:
        way: dict[int, None] = {}
        node = start
        while node not in done and node not in way and node in parents:
            way[node] = None
            node = parents[node]
        if node in way:
            nodes = list(way)
            return nodes[nodes.index(node) :]
        done.update(way)
    return None

"""The two extreme trees: least storage and least recreation (ModelHub, Lemma 2).

The minimum spanning arborescence is Edmonds' and Chu and Liu's, with queues that are merged
(Tarjan, 1977; Gabow, Galil, Spencer and Tarjan, 1986). The shortest path tree is Dijkstra's.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from mstore.planner.graph import NONE, Graph

Entry = tuple[float, float, int]


def minimum_arborescence(graph: Graph, into: Sequence[Sequence[int]] | None = None) -> list[int]:
    """The spanning tree of least storage: its parent edge by vertex number.

    Its depth is not limited. ``into`` restricts the edges to choose from; each vertex must be
    reachable by them. Costs O(|E| log² |V|).
    """
    return _Arborescence(graph, graph.into if into is None else into).edges()


class _Arborescence:
    """Walk backwards along the cheapest edges; a circle becomes one vertex with a new number.

    ``_enter`` is the edge chosen into each vertex, ``_circle`` the vertex it was made part of.
    A queue holds (cost, recreation, edge), where the queue's offset is still to be added to the
    cost: what has been paid for the edges of a circle is saved when another edge breaks it open.
    """

    def __init__(self, graph: Graph, into: Sequence[Sequence[int]]) -> None:
        self._graph = graph
        self._queues: list[list[Entry]] = []
        for edges in into:
            queue = [(graph.storage[edge], graph.recreation[edge], edge) for edge in edges]
            heapify(queue)
            self._queues.append(queue)
        count = len(into)
        self._offset = [0.0] * count
        self._paid = [0.0] * count
        self._enter = [NONE] * count
        self._circle = [NONE] * count
        self._leader = list(range(count))
        self._done = [False] * count
        self._done[0] = True

    def edges(self) -> list[int]:
        """The chosen edge into each vertex of the graph."""
        count = len(self._queues)
        for start in range(1, count):
            self._walk(start)
        self._open_circles(count)
        return self._enter[:count]

    def _find(self, vertex: int) -> int:
        leader = self._leader
        while leader[vertex] != vertex:
            leader[vertex] = leader[leader[vertex]]
            vertex = leader[vertex]
        return vertex

    def _walk(self, start: int) -> None:
        walk: list[int] = []
        place: dict[int, int] = {}
        vertex = self._find(start)
        while not self._done[vertex]:
            place[vertex] = len(walk)
            walk.append(vertex)
            vertex = self._step(vertex)
            if vertex in place:
                circle = walk[place[vertex] :]
                del walk[place[vertex] :]
                for each in circle:
                    del place[each]
                vertex = self._contract(circle)
        for each in walk:
            self._done[each] = True

    def _step(self, vertex: int) -> int:
        """Choose the cheapest edge into a vertex from outside it; where that comes from."""
        queue = self._queues[vertex]
        while True:
            cost, _, edge = heappop(queue)
            source = self._find(self._graph.source[edge])
            if source != vertex:
                self._enter[vertex] = edge
                self._paid[vertex] = cost + self._offset[vertex]
                return source

    def _contract(self, circle: Sequence[int]) -> int:
        number = len(self._queues)
        for each in circle:
            self._circle[each] = self._leader[each] = number
            self._offset[each] -= self._paid[each]
        largest = max(circle, key=lambda each: len(self._queues[each]))
        for each in circle:
            if each != largest:
                self._pour(each, largest)
        self._queues.append(self._queues[largest])
        self._offset.append(self._offset[largest])
        self._paid.append(0.0)
        self._enter.append(NONE)
        self._circle.append(NONE)
        self._leader.append(number)
        self._done.append(False)
        return number

    def _pour(self, vertex: int, largest: int) -> None:
        queue, more = self._queues[largest], self._offset[vertex] - self._offset[largest]
        for cost, recreation, edge in self._queues[vertex]:
            heappush(queue, (cost + more, recreation, edge))
        self._queues[vertex] = []

    def _open_circles(self, count: int) -> None:
        """Break each circle where the edge into it arrives, the outermost first."""
        opened = [False] * len(self._queues)
        for circle in reversed(range(count, len(self._queues))):
            if opened[circle]:
                continue
            edge = self._enter[circle]
            vertex = self._graph.target[edge]
            while vertex != circle:
                self._enter[vertex] = edge
                opened[vertex] = True
                vertex = self._circle[vertex]


def limit_depth(graph: Graph, chosen: Sequence[int]) -> list[int]:
    """The tree, cut where its chains are too long: there a vertex is kept whole.

    From the leaves upwards, a vertex is cut off when just as much hangs from it as a chain may
    hold. No tree with the same chains needs fewer cuts. Costs O(|V|).
    """
    edges = list(chosen)
    height = [0] * len(edges)
    for vertex in reversed(_downwards(graph, edges)):
        source = graph.source[edges[vertex]]
        if source and height[vertex] >= graph.max_depth:
            edges[vertex] = cheapest_whole(graph, vertex)
        elif source:
            height[source] = max(height[source], height[vertex] + 1)
    return edges


def cheapest_whole(graph: Graph, vertex: int) -> int:
    """The edge from the root that keeps a vertex at the least storage."""
    return next(edge for edge in graph.into[vertex] if not graph.source[edge])


def _downwards(graph: Graph, edges: Sequence[int]) -> list[int]:
    """All vertices but the root, each after its parent."""
    children: list[list[int]] = [[] for _ in edges]
    for vertex in range(1, len(edges)):
        children[graph.source[edges[vertex]]].append(vertex)
    found = [0]
    for vertex in found:
        found.extend(children[vertex])
    return found[1:]


def shortest_path_tree(graph: Graph) -> list[int]:
    """The tree of least recreation: its parent edge by vertex number, within the depth limit.

    Of equally short paths the one whose last edge is cheaper to store. Where the limit cuts the
    shortest path of a vertex, another path is taken, short but not always the shortest. Costs
    O(|E| log |E|).
    """
    chosen = [NONE] * len(graph.vertices)
    depth = [-1] * len(graph.vertices)
    queue = [(graph.recreation[edge], graph.storage[edge], edge) for edge in graph.out[0]]
    heapify(queue)
    while queue:
        cost, _, edge = heappop(queue)
        vertex = graph.target[edge]
        if chosen[vertex] != NONE:
            continue
        chosen[vertex] = edge
        depth[vertex] = depth[graph.source[edge]] + 1
        if depth[vertex] < graph.max_depth:
            for each in graph.out[vertex]:
                if chosen[graph.target[each]] == NONE:
                    heappush(queue, (cost + graph.recreation[each], graph.storage[each], each))
    return chosen

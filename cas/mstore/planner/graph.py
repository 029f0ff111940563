"""The storage graph of an archive, and plans over it (ModelHub, ICDE 2017, Problem 1).

A vertex is something to keep. The root, v0 in the paper, is nothing at all: an edge v0 → m keeps m
whole, an edge m → m' keeps m' as a delta against m, and an undirected delta is two edges. Each edge
has a storage cost c_s (bytes) and a recreation cost c_r (bytes or seconds); parallel edges are
other codecs or other places. A plan keeps one edge into every vertex.

1. Every vertex has an edge from the root, so that some plan always exists.
2. Costs are finite and not negative.
3. Vertices and edges are numbered in the order they were given, so that equal graphs give equal
   plans. The root is number 0.
"""

from collections.abc import Hashable, Iterable, Mapping
from math import inf, isfinite

from msgspec import Struct

from mstore.errors import InvalidInputError

Vertex = Hashable
ROOT: Vertex = "root"
MAX_DEPTH = 8
"""How many deltas may follow one another in a plan, unless the graph says otherwise."""

TOLERANCE = 1e-9
"""Relative: sums of costs in different orders differ by rounding, which breaks no bound."""

NONE = -1
"""The number of no edge: what the root has for a parent."""


class Edge(Struct, frozen=True):
    """One way to keep ``target``; ``label`` is the caller's (a codec, a base, a tier)."""

    source: Vertex
    target: Vertex
    storage: float
    recreation: float
    label: Hashable = None


class Group(Struct, frozen=True):
    """Vertices that are read together, and what reading them may cost at most.

    ``weight`` says how often the group is read, in comparison with others.
    """

    name: str
    members: frozenset[Vertex]
    bound: float = inf
    weight: float = 1.0


class Graph:
    """A storage graph, its groups, and the longest chain of deltas allowed.

    Raises InvalidInputError where an invariant of this module does not hold. Numbers stand for
    vertices and edges in ``source``, ``target``, ``storage``, ``recreation`` (by edge) and in
    ``into`` and ``out`` (edges by vertex; ``into`` by rising storage cost).
    """

    def __init__(
        self,
        edges: Iterable[Edge],
        groups: Iterable[Group] = (),
        *,
        root: Vertex = ROOT,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        self.edges = tuple(edges)
        self.groups = tuple(groups)
        self.root = root
        self.max_depth = max_depth
        ends = (end for edge in self.edges for end in (edge.source, edge.target))
        self.vertices = tuple(dict.fromkeys((root, *ends)))
        self.number = {vertex: number for number, vertex in enumerate(self.vertices)}
        self.source = [self.number[edge.source] for edge in self.edges]
        self.target = [self.number[edge.target] for edge in self.edges]
        self.storage = [edge.storage for edge in self.edges]
        self.recreation = [edge.recreation for edge in self.edges]
        self.into: list[list[int]] = [[] for _ in self.vertices]
        self.out: list[list[int]] = [[] for _ in self.vertices]
        self._connect()
        self._check()

    def __len__(self) -> int:
        """How many vertices there are, the root not counted."""
        return len(self.vertices) - 1

    def with_groups(self, groups: Iterable[Group]) -> "Graph":
        """The same edges under other groups or bounds."""
        return Graph(self.edges, groups, root=self.root, max_depth=self.max_depth)

    def _connect(self) -> None:
        for number, (source, target) in enumerate(zip(self.source, self.target, strict=True)):
            self.into[target].append(number)
            self.out[source].append(number)
        for numbers in self.into:
            numbers.sort(key=lambda number: (self.storage[number], self.recreation[number], number))

    def _check(self) -> None:
        if self.max_depth < 0:
            raise InvalidInputError(f"the depth limit is {self.max_depth}, not 0 or more")
        for edge in self.edges:
            _check_edge(edge, self.root)
        for vertex, numbers in list(zip(self.vertices, self.into, strict=True))[1:]:
            if all(self.source[number] for number in numbers):
                raise InvalidInputError(f"vertex '{vertex}' has no edge from the root")
        for group in self.groups:
            self._check_group(group)

    def _check_group(self, group: Group) -> None:
        for vertex in group.members:
            if vertex == self.root or vertex not in self.number:
                raise InvalidInputError(f"group '{group.name}' has unknown vertex '{vertex}'")
        if not group.bound >= 0:
            raise InvalidInputError(
                f"group '{group.name}' has the bound {group.bound}, not 0 or more"
            )
        if not (isfinite(group.weight) and group.weight > 0):
            raise InvalidInputError(
                f"group '{group.name}' has the weight {group.weight}, not a number above 0"
            )


def _check_edge(edge: Edge, root: Vertex) -> None:
    name = f"edge '{edge.source}' -> '{edge.target}'"
    if edge.target == root:
        raise InvalidInputError(f"{name} leads to the root")
    if edge.source == edge.target:
        raise InvalidInputError(f"{name} is a loop")
    for word, cost in (("storage", edge.storage), ("recreation", edge.recreation)):
        if not (isfinite(cost) and cost >= 0):
            raise InvalidInputError(f"{name} has the {word} cost {cost}, not a number of 0 or more")


class Plan(Struct, frozen=True):
    """The edge that is kept into each vertex: a spanning tree (Lemma 2 of the paper)."""

    parents: Mapping[Vertex, Edge]

    def path(self, vertex: Vertex) -> list[Edge]:
        """The edges from the root to ``vertex``, the last one first.

        It ends where a vertex has no parent: in a plan that is whole, at the root.
        InvalidInputError if it goes round in a circle.
        """
        edges: list[Edge] = []
        while (edge := self.parents.get(vertex)) is not None:
            edges.append(edge)
            vertex = edge.source
            if len(edges) > len(self.parents):
                raise InvalidInputError(f"the plan goes round in a circle at '{vertex}'")
        return edges


def check_plan(graph: Graph, plan: Plan) -> None:
    """InvalidInputError unless ``plan`` is a spanning tree of ``graph`` within its depth limit.

    Bounds of groups are not looked at here: see ``cost.shortfalls``.
    """
    if missing := set(graph.vertices[1:]) ^ set(plan.parents):
        raise InvalidInputError(f"the plan and the graph differ in vertex '{missing.pop()}'")
    known = set(graph.edges)
    for vertex, edge in plan.parents.items():
        if edge.target != vertex or edge not in known:
            raise InvalidInputError(f"the plan keeps '{vertex}' by an edge that is not its own")
    for vertex in plan.parents:
        if (depth := len(plan.path(vertex)) - 1) > graph.max_depth:
            raise InvalidInputError(
                f"vertex '{vertex}' is at depth {depth}, the limit is {graph.max_depth}"
            )

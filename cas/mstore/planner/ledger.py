"""Running totals of what groups cost, kept as a tree changes.

1. ``costs[i] <= limits[i]`` for all i says that every group is within its bound.
2. A group without a bound has no line in the ledger.
3. Under ψp a bound on the dearest member is the same bound on each of them. So each vertex has a
   line of its own, with the tightest of its groups' bounds, and ψp is ψi over single vertices.
"""

from collections.abc import Iterable, Sequence
from math import inf, isfinite
from typing import Protocol

from mstore.planner.cost import Scheme
from mstore.planner.graph import TOLERANCE, Graph


class Links(Protocol):
    """What a ledger needs to know of the tree it is kept for; all lists are by vertex number."""

    graph: Graph
    parent: list[int]
    cost: list[float]

    def up(self, vertex: int) -> list[int]:
        """The vertex and those above it, without the root."""


class Ledger(Protocol):
    """The bounded costs of a tree, and what a swap would change in them."""

    costs: list[float]
    limits: list[float]
    members: list[list[int]]
    """By line: the vertices it is about."""
    lines: list[list[int]]
    """By vertex number: the lines that the vertex is a member of."""

    def changes(self, subtree: Sequence[int], edge: int, shift: float) -> dict[int, float]:
        """What each line would change by if ``edge`` became the parent of ``subtree[0]``.

        ``subtree`` is all that hangs from that vertex and ``shift`` what each path would change by.
        """

    def record(self, subtree: Sequence[int], edge: int, changes: dict[int, float]) -> None:
        """Enter those changes; called before the tree itself changes."""


def open_ledger(links: Links, scheme: Scheme) -> Ledger:
    """The ledger of a tree under one scheme."""
    if scheme == "reusable":
        return _Unions(links)
    if scheme == "parallel":
        return _Sums(links, _each_alone(links.graph))
    return _Sums(links, _bounded(links.graph))


Line = tuple[list[int], float]


def _bounded(graph: Graph) -> list[Line]:
    return [
        (sorted(graph.number[vertex] for vertex in group.members), group.bound)
        for group in graph.groups
        if isfinite(group.bound)
    ]


def _each_alone(graph: Graph) -> list[Line]:
    tightest: dict[int, float] = {}
    for members, bound in _bounded(graph):
        for vertex in members:
            tightest[vertex] = min(bound, tightest.get(vertex, inf))
    return [([vertex], bound) for vertex, bound in sorted(tightest.items())]


def _limit(bound: float) -> float:
    # Half of what a check allows: running totals drift a little.
    return bound * (1 + TOLERANCE / 2)


def _memberships(links: Links, lines: Sequence[Line]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in links.parent]
    for line, (members, _) in enumerate(lines):
        for vertex in members:
            found[vertex].append(line)
    return found


class _Sums:
    """ψi: a line is the sum of its members' path costs."""

    def __init__(self, links: Links, lines: Sequence[Line]) -> None:
        self.members = [members for members, _ in lines]
        self.lines = _memberships(links, lines)
        self.limits = [_limit(bound) for _, bound in lines]
        self.costs = [sum(links.cost[vertex] for vertex in members) for members, _ in lines]

    def changes(self, subtree: Sequence[int], edge: int, shift: float) -> dict[int, float]:
        del edge
        changes: dict[int, float] = {}
        lines = self.lines
        for vertex in subtree:
            for line in lines[vertex]:
                changes[line] = changes.get(line, 0.0) + shift
        return changes

    def record(self, subtree: Sequence[int], edge: int, changes: dict[int, float]) -> None:
        del subtree, edge
        for line, change in changes.items():
            self.costs[line] += change


class _Unions:
    """ψr: a line is the cost of all links that lead to a member, each counted once."""

    def __init__(self, links: Links) -> None:
        lines = _bounded(links.graph)
        self._links = links
        self.members = [members for members, _ in lines]
        self.lines = _memberships(links, lines)
        self.limits = [_limit(bound) for _, bound in lines]
        self.costs = [0.0 for _ in lines]
        self._below: list[dict[int, int]] = [{} for _ in links.parent]
        for vertex, numbers in enumerate(self.lines):
            for above in links.up(vertex) if numbers else ():
                self._count(above, numbers)

    def _count(self, above: int, numbers: Iterable[int]) -> None:
        below = self._below[above]
        for line in numbers:
            if line not in below:
                self.costs[line] += self._link(above)
            below[line] = below.get(line, 0) + 1

    def _link(self, vertex: int) -> float:
        return self._links.graph.recreation[self._links.parent[vertex]]

    def changes(self, subtree: Sequence[int], edge: int, shift: float) -> dict[int, float]:
        del shift
        vertex, graph = subtree[0], self._links.graph
        before = self._links.up(vertex)[1:]
        after = self._links.up(graph.source[edge])
        change = graph.recreation[edge] - self._link(vertex)
        leaving, joining = set(before) - set(after), set(after) - set(before)
        moved = self._below[vertex]
        changes = dict.fromkeys(moved, change)
        for above in leaving:
            for line, count in moved.items():
                if self._below[above][line] == count:
                    changes[line] -= self._link(above)
        for above in joining:
            for line in moved.keys() - self._below[above].keys():
                changes[line] += self._link(above)
        return changes

    def record(self, subtree: Sequence[int], edge: int, changes: dict[int, float]) -> None:
        vertex = subtree[0]
        for line, change in changes.items():
            self.costs[line] += change
        self._move(self._links.up(vertex)[1:], self._below[vertex], -1)
        self._move(self._links.up(self._links.graph.source[edge]), self._below[vertex], 1)

    def _move(self, path: Iterable[int], moved: dict[int, int], sign: int) -> None:
        for above in path:
            below = self._below[above]
            for line, count in moved.items():
                below[line] = below.get(line, 0) + sign * count
                if not below[line]:
                    del below[line]

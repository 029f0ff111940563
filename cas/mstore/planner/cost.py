"""What a plan costs to keep and to read (ModelHub, Table III), computed afresh from the plan.

The planners keep their own running totals; these plain definitions are what those are held
against.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from mstore.planner.graph import TOLERANCE, Graph, Group, Plan, Vertex

Scheme = Literal["independent", "parallel", "reusable"]
"""How the members of a group are read: ψi one after another, each from the start; ψp all at once;
ψr one after another, with what they share read once."""


class Shortfall(Struct, frozen=True):
    """A group that costs more to read than its bound."""

    group: str
    bound: float
    cost: float


def storage_cost(plan: Plan) -> float:
    """Σ c_s over the plan: bytes."""
    return sum(edge.storage for edge in plan.parents.values())


def path_costs(plan: Plan) -> dict[Vertex, float]:
    """Σ c_r from the root to each vertex, in the unit of the edges."""
    costs: dict[Vertex, float] = {}
    for vertex in plan.parents:
        for edge in reversed(plan.path(vertex)):
            costs[edge.target] = costs.get(edge.source, 0.0) + edge.recreation
    return costs


def group_cost(plan: Plan, group: Group, scheme: Scheme) -> float:
    """C_r of the group: Σ of its paths (ψi), the longest (ψp), or their union (ψr).

    Shared links count once under ψr. A group without members costs 0.
    """
    paths = [plan.path(vertex) for vertex in group.members]
    if scheme == "reusable":
        return sum({edge.target: edge.recreation for path in paths for edge in path}.values())
    costs = [sum(edge.recreation for edge in path) for path in paths]
    return sum(costs) if scheme == "independent" else max(costs, default=0.0)


def recreation_cost(graph: Graph, plan: Plan, scheme: Scheme) -> float:
    """Σ weight · C_r over the groups: what all reads together cost."""
    return sum(group.weight * group_cost(plan, group, scheme) for group in graph.groups)


def shortfalls(graph: Graph, plan: Plan, scheme: Scheme) -> list[Shortfall]:
    """The groups whose bound the plan does not keep."""
    return list(_shortfalls(graph, plan, scheme))


def _shortfalls(graph: Graph, plan: Plan, scheme: Scheme) -> Iterator[Shortfall]:
    for group in graph.groups:
        cost = group_cost(plan, group, scheme)
        if cost > group.bound * (1 + TOLERANCE):
            yield Shortfall(group.name, group.bound, cost)

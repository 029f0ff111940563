"""Bounds of groups as a multiple alpha of the least they can cost.

Groups that are read more often are held to a tighter bound. With w the smallest weight of all
groups, a group of weight w_s gets

    θ_s = (1 + (alpha - 1) / √(w_s / w)) · C_r(SPT, s)

so that alpha is what the least read groups get, a group read 100 times as often gets a tenth of the
room above its least cost, and no weight makes a bound that cannot be kept.
"""

from math import isfinite, sqrt

from msgspec import structs

from mstore.errors import InvalidInputError
from mstore.planner.cost import Scheme, group_cost
from mstore.planner.graph import Graph, Plan
from mstore.planner.minimum import shortest_path_tree
from mstore.planner.tree import Tree


def shortest_plan(graph: Graph) -> Plan:
    """The shortest path tree: every vertex at its least recreation cost."""
    return Tree(graph, "independent", shortest_path_tree(graph)).plan()


def bounded(graph: Graph, alpha: float, scheme: Scheme) -> Graph:
    """The graph with the bound θ_s for every group; InvalidInputError unless alpha is 1 or more."""
    if not (isfinite(alpha) and alpha >= 1):
        raise InvalidInputError(f"alpha is {alpha}, not a number of 1 or more")
    plan = shortest_plan(graph)
    least = min((group.weight for group in graph.groups), default=1.0)
    return graph.with_groups(
        structs.replace(
            group,
            bound=tightened(alpha, group.weight / least) * group_cost(plan, group, scheme),
        )
        for group in graph.groups
    )


def tightened(alpha: float, ratio: float) -> float:
    """The alpha of a group that is read ``ratio`` times as often as the one that is read least."""
    return 1 + (alpha - 1) / sqrt(ratio)

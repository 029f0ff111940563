"""The archive planner: what to keep whole and what as a delta against what.

Pure graph algorithms after ModelHub (Miao, Li, Davis and Deshpande, ICDE 2017): least
storage, such that reading each group of vertices costs at most its bound. Nothing here knows what
a vertex is.

    graph      the storage graph, groups and plans
    cost       what plans cost, by definition
    bounds     bounds from alpha and weights
    minimum    the trees of least storage and least recreation
    mt pt last exact    the planners
    local      local search
    choose     all of them, and the best plan
    export     JSON
    tree, ledger        the tree they work on, and its running totals
"""

from mstore.planner.bounds import bounded
from mstore.planner.choose import Choice, Found, choose, smallest_bounds
from mstore.planner.cost import (
    Scheme,
    Shortfall,
    group_cost,
    path_costs,
    recreation_cost,
    shortfalls,
    storage_cost,
)
from mstore.planner.export import from_json, to_json
from mstore.planner.graph import MAX_DEPTH, ROOT, Edge, Graph, Group, Plan, check_plan

__all__ = [
    "MAX_DEPTH",
    "ROOT",
    "Choice",
    "Edge",
    "Found",
    "Graph",
    "Group",
    "Plan",
    "Scheme",
    "Shortfall",
    "bounded",
    "check_plan",
    "choose",
    "from_json",
    "group_cost",
    "path_costs",
    "recreation_cost",
    "shortfalls",
    "smallest_bounds",
    "storage_cost",
    "to_json",
]

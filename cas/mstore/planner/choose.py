"""Run all planners and keep the best plan.

PAS-MT, PAS-PT and LAST each find a tree, local search lowers those that are within bounds, and
small graphs are solved exactly as well. The shortest path tree stands by: whenever it is within
bounds, so is the plan that is chosen.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from msgspec import Struct

from mstore.errors import InvalidInputError
from mstore.planner.cost import (
    Scheme,
    Shortfall,
    recreation_cost,
    shortfalls,
    storage_cost,
)
from mstore.planner.exact import MAX_VERTICES, exact
from mstore.planner.graph import TOLERANCE, Graph, Plan
from mstore.planner.last import last
from mstore.planner.local import EFFORT, improve
from mstore.planner.minimum import minimum_arborescence, shortest_path_tree
from mstore.planner.mt import graft, mend, pas_mt
from mstore.planner.pt import pas_pt
from mstore.planner.tree import Tree

SHOWN = 3
"""How many groups a message names."""

Planner = Callable[[Graph, Scheme], Tree]


def _spt(graph: Graph, scheme: Scheme) -> Tree:
    return Tree(graph, scheme, shortest_path_tree(graph))


PLANNERS: Final[Mapping[str, Planner]] = {
    "pas-mt": pas_mt,
    "pas-mt-capped": partial(pas_mt, capped=True),
    "pas-pt": pas_pt,
    "last": last,
    "spt": _spt,
}


class Found(Struct, frozen=True):
    """What one planner found; costs are ``cost.storage_cost`` and ``cost.recreation_cost``.

    ``first_storage`` is the storage before local search, and the same where that was not run
    because the plan breaks bounds.
    """

    planner: str
    plan: Plan
    storage: float
    recreation: float
    first_storage: float
    is_within: bool


class Choice(Struct, frozen=True):
    """The best plan, all that were found, and the storage below which no plan can be."""

    best: Found
    found: tuple[Found, ...]
    least_storage: float


def choose(
    graph: Graph, scheme: Scheme = "independent", *, effort: int = EFFORT, unit: str = ""
) -> Choice:
    """The plan of least storage within all bounds; of equal storage that of least recreation.

    Never above LAST, and the optimum for at most ``exact.MAX_VERTICES`` vertices. ``effort``
    is the work that local search may do for each planner. InvalidInputError of the kind
    ``infeasible``, with bounds in ``unit``, if no plan within bounds was found; under ψi and ψp
    none exists then, as long as no shortest path is cut by the depth limit.
    """
    found = find(graph, scheme, effort=effort)
    if len(graph) <= MAX_VERTICES and (tree := exact(graph, scheme)) is not None:
        improve(tree, 0)
        found.append(_found("exact", tree, tree.storage))
    within = [each for each in found if each.is_within]
    if not within:
        raise _infeasible(graph, scheme, [each.plan for each in found], f" {unit}".rstrip())
    chosen = minimum_arborescence(graph)[1:]
    return Choice(_best(within), tuple(found), sum(graph.storage[edge] for edge in chosen))


def find(graph: Graph, scheme: Scheme, *, effort: int = EFFORT) -> list[Found]:
    """What each of ``PLANNERS`` finds, lowered by local search where it is within bounds."""
    return [_run(name, graph, scheme, effort) for name in PLANNERS]


def _run(name: str, graph: Graph, scheme: Scheme, effort: int) -> Found:
    tree = PLANNERS[name](graph, scheme)
    first = tree.storage
    if tree.excess():
        mend(tree, capped=True)
        tree = graft(tree, _spt(graph, scheme))
    if not tree.excess():
        improve(tree, effort)
    return _found(name, tree, first)


def _found(name: str, tree: Tree, first_storage: float) -> Found:
    plan = tree.plan()
    return Found(
        planner=name,
        plan=plan,
        storage=storage_cost(plan),
        recreation=recreation_cost(tree.graph, plan, tree.scheme),
        first_storage=first_storage,
        is_within=not shortfalls(tree.graph, plan, tree.scheme),
    )


def _best(found: list[Found]) -> Found:
    least = min(each.storage for each in found)
    equal = [each for each in found if each.storage <= least * (1 + TOLERANCE)]
    return min(equal, key=lambda each: (each.recreation, each.storage))


def smallest_bounds(graph: Graph, scheme: Scheme) -> list[Shortfall]:
    """The groups whose bound the shortest path tree breaks; ``cost`` is the bound it would keep.

    Under ψi and ψp that is the smallest bound any plan keeps, and all can be kept at once.
    """
    return shortfalls(graph, _spt(graph, scheme).plan(), scheme)


def _infeasible(graph: Graph, scheme: Scheme, plans: list[Plan], unit: str) -> InvalidInputError:
    if scheme == "reusable":
        misses = min((shortfalls(graph, plan, scheme) for plan in plans), key=_miss)
    else:
        misses = smallest_bounds(graph, scheme)
    word = "the best found is" if scheme == "reusable" else "at least"
    lines = [
        f"'{each.group}' within {each.bound:g}{unit}, {word} {each.cost:g}{unit}" for each in misses
    ]
    more = f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return InvalidInputError(
        f"no plan reads every group within its bound: {'; '.join(lines[:SHOWN])}{more}",
        hint="raise these bounds, or give alpha 1 or more, which some plan always keeps",
        kind="infeasible",
    )


def _miss(misses: list[Shortfall]) -> float:
    return sum(each.cost - each.bound for each in misses)

"""The example of the ModelHub paper (Figure 5): every number of it."""

from collections.abc import Iterator
from itertools import product

import pytest
from tests.unit.planner.graphs import figure5

from mstore.errors import InvalidInputError
from mstore.planner import (
    ROOT,
    Edge,
    Graph,
    Plan,
    Scheme,
    bounded,
    check_plan,
    choose,
    group_cost,
    smallest_bounds,
    storage_cost,
)
from mstore.planner.choose import PLANNERS, find


def spanning_trees(graph: Graph) -> Iterator[Plan]:
    """Every plan of a small graph."""
    for numbers in product(*graph.into[1:]):
        plan = Plan({graph.edges[number].target: graph.edges[number] for number in numbers})
        try:
            check_plan(graph, plan)
        except InvalidInputError:
            continue
        yield plan


def plan_of(graph: Graph, sources: dict[str, str]) -> Plan:
    """The plan with these parents."""
    found = {(edge.source, edge.target): edge for edge in graph.edges}
    return Plan({target: found[source, target] for target, source in sources.items()})


PLAN_B = {"m1": ROOT, "m2": ROOT, "m3": "m1", "m4": "m2", "m5": "m2"}
PLAN_C = {"m1": ROOT, "m2": ROOT, "m3": ROOT, "m4": ROOT, "m5": "m4"}


def test_there_are_48_spanning_trees() -> None:
    """The example has 48 plans."""
    assert sum(1 for _ in spanning_trees(figure5())) == 48


def test_18_trees_have_the_least_storage() -> None:
    """The least storage is 19, and 18 plans have it."""
    costs = sorted(storage_cost(plan) for plan in spanning_trees(figure5()))
    assert costs[0] == 19
    assert costs.count(19) == 18


@pytest.mark.parametrize(
    ("parents", "scheme", "costs"),
    [
        (PLAN_B, "independent", [3, 7.5]),
        (PLAN_B, "parallel", [2, 3]),
        (PLAN_B, "reusable", [3, 5.5]),
        (PLAN_C, "independent", [3, 6]),
        (PLAN_C, "parallel", [2, 3]),
        (PLAN_C, "reusable", [3, 4]),
    ],
)
def test_costs_of_the_drawn_plans(
    parents: dict[str, str], scheme: Scheme, costs: list[float]
) -> None:
    """The plans (b) and (c) cost what the paper says under each scheme."""
    graph = figure5()
    plan = plan_of(graph, parents)
    assert [group_cost(plan, group, scheme) for group in graph.groups] == costs


def test_the_drawn_plans_are_stored_in_19_and_24() -> None:
    """Plan (b) has the least storage, plan (c) the least within (3, 6)."""
    graph = figure5()
    assert [storage_cost(plan_of(graph, parents)) for parents in (PLAN_B, PLAN_C)] == [19, 24]


@pytest.mark.parametrize(
    ("bounds", "scheme", "storage"),
    [
        ((), "independent", 19),
        ((), "parallel", 19),
        ((), "reusable", 19),
        ((3, 6), "independent", 24),
        ((3, 5), "independent", 28),
        ((2, 2), "parallel", 27),
        ((2, 3), "parallel", 19),
        ((3, 5.5), "reusable", 19),
    ],
)
def test_storage_within_bounds(bounds: tuple[float, ...], scheme: Scheme, storage: float) -> None:
    """The plan chosen has the least storage there is within the bounds."""
    assert choose(figure5(*bounds), scheme).best.storage == storage


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize(
    ("alpha", "storage"), [(1, 28), (1.1, 27), (1.2, 23), (1.3, 23), (1.5, 19), (2, 19)]
)
def test_alpha_sweep(planner: str, alpha: float, storage: float) -> None:
    """Every planner, after local search, finds the optimum of the example at each alpha."""
    found = find(bounded(figure5(), alpha, "independent"), "independent")
    assert {each.planner: each.storage for each in found}[planner] == storage


@pytest.mark.parametrize(("bounds", "ties"), [((3, 6), 4), ((3, 5), 1)])
def test_ties(bounds: tuple[float, float], ties: int) -> None:
    """At (3, 6) four plans share the optimum, at the least bounds one plan is left."""
    graph = figure5(*bounds)
    plans = [
        plan
        for plan in spanning_trees(graph)
        if all(group_cost(plan, each, "independent") <= each.bound for each in graph.groups)
    ]
    least = min(map(storage_cost, plans))
    assert sum(storage_cost(plan) == least for plan in plans) == ties


def test_bounds_below_the_shortest_paths_are_refused() -> None:
    """What no plan can keep is refused with the groups and the least that can be kept."""
    with pytest.raises(InvalidInputError, match=r"'s2' within 4, at least 5") as caught:
        choose(figure5(3, 4))
    assert caught.value.kind == "infeasible"


def test_the_smallest_bounds_can_be_kept() -> None:
    """The bounds that a refusal names are kept by the plan for them."""
    misses = smallest_bounds(figure5(2, 4), "independent")
    assert [(each.group, each.cost) for each in misses] == [("s1", 3), ("s2", 5)]
    assert choose(figure5(3, 5)).best.storage == 28


def test_reusable_bounds_that_no_plan_keeps_are_refused() -> None:
    """Under the reusable scheme the refusal names the best that was found."""
    with pytest.raises(InvalidInputError, match=r"'s2' within 3, the best found is 4"):
        choose(figure5(3, 3), "reusable")


def test_a_plan_names_edges_of_the_graph() -> None:
    """Labels come back as they were given."""
    plan = choose(figure5()).best.plan
    assert all(isinstance(edge, Edge) for edge in plan.parents.values())

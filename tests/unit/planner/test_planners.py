"""What holds for the plans of every planner."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.planner.graphs import figure5, graphs, model_graph

from mstore.errors import InvalidInputError
from mstore.planner import (
    ROOT,
    Edge,
    Graph,
    Group,
    Scheme,
    bounded,
    check_plan,
    choose,
    group_cost,
    path_costs,
    shortfalls,
    storage_cost,
)
from mstore.planner.bounds import shortest_plan, tightened
from mstore.planner.choose import PLANNERS, find
from mstore.planner.exact import exact
from mstore.planner.minimum import limit_depth, minimum_arborescence, shortest_path_tree
from mstore.planner.tree import Tree

SCHEMES = st.sampled_from(["independent", "parallel", "reusable"])
ALPHAS = st.sampled_from([1.0, 1.05, 1.3, 2.0, 10.0])


def least_storage(graph: Graph) -> float:
    """The storage of the least spanning arborescence by trying all choices."""
    costs = []
    for numbers in product(*graph.into[1:]):
        parents = (0, *(graph.source[number] for number in numbers))
        if all(reaches_root(parents, vertex) for vertex in range(len(parents))):
            costs.append(sum(graph.storage[number] for number in numbers))
    return min(costs)


def reaches_root(parents: tuple[int, ...], vertex: int) -> bool:
    """Whether the way up from a vertex ends at the root."""
    for _ in parents:
        vertex = parents[vertex]
    return vertex == 0


@given(graphs().filter(lambda graph: len(graph.edges) < 18))
def test_the_arborescence_is_minimal(graph: Graph) -> None:
    """No choice of edges that is a tree has less storage than Edmonds' tree."""
    chosen = minimum_arborescence(graph)
    storage = sum(graph.storage[edge] for edge in chosen[1:])
    Tree(graph, "independent", chosen)
    assert storage == pytest.approx(least_storage(graph), rel=1e-9)


@given(graphs(), SCHEMES, ALPHAS)
def test_plans_are_trees_within_depth_and_bounds(
    graph: Graph, scheme: Scheme, alpha: float
) -> None:
    """The plan chosen is a spanning tree within depth, and within bounds."""
    graph = bounded(graph, alpha, scheme)
    best = choose(graph, scheme, effort=2000).best
    check_plan(graph, best.plan)
    assert shortfalls(graph, best.plan, scheme) == []


@given(graphs(), SCHEMES, ALPHAS)
def test_no_plan_beats_the_extremes(graph: Graph, scheme: Scheme, alpha: float) -> None:
    """No plan has less storage than the least tree, or a path below the shortest."""
    graph = bounded(graph, alpha, scheme)
    least = sum(graph.storage[edge] for edge in minimum_arborescence(graph)[1:])
    free = Graph(graph.edges, graph.groups, max_depth=len(graph))
    shortest = path_costs(shortest_plan(free))
    for each in find(graph, scheme, effort=1000):
        assert each.storage >= least * (1 - 1e-9)
        costs = path_costs(each.plan)
        assert all(costs[vertex] >= shortest[vertex] * (1 - 1e-9) for vertex in costs)


@given(graphs(), SCHEMES, ALPHAS)
def test_the_choice_is_exact_and_never_above_another(
    graph: Graph, scheme: Scheme, alpha: float
) -> None:
    """On small graphs the choice has the exact optimum, which no planner's plan is below."""
    graph = bounded(graph, alpha, scheme)
    choice = choose(graph, scheme, effort=1000)
    tree = exact(graph, scheme)
    assert tree is not None
    assert choice.best.storage == pytest.approx(tree.storage, rel=1e-9)
    within = [each.storage for each in choice.found if each.is_within]
    assert choice.best.storage <= min(within) * (1 + 1e-8)


@given(graphs(), SCHEMES, st.data())
def test_running_totals_stay_true(graph: Graph, scheme: Scheme, draws: st.DataObject) -> None:
    """After any swaps, and after taking them back, a tree's totals are those of its plan."""
    graph = graph.with_groups(Group(each.name, each.members, 1e9) for each in graph.groups)
    tree = Tree(graph, scheme, limit_depth(graph, minimum_arborescence(graph)))
    first, replaced = tree.plan(), []
    for edge in draws.draw(st.lists(st.integers(0, len(graph.edges) - 1), max_size=10)):
        if (swap := tree.consider(edge)) is not None:
            replaced.append(tree.apply(swap))
            check_tree(tree)
    tree.undo(replaced)
    check_tree(tree)
    assert tree.plan() == first


def check_tree(tree: Tree) -> None:
    """Hold a tree's totals against the definitions."""
    plan = tree.plan()
    check_plan(tree.graph, plan)
    assert tree.storage == pytest.approx(storage_cost(plan))
    if tree.scheme == "parallel":
        costs = path_costs(plan)
        names = [tree.graph.vertices[line[0]] for line in tree.ledger.members]
        assert tree.ledger.costs == pytest.approx([costs[vertex] for vertex in names])
    else:
        expected = [group_cost(plan, group, tree.scheme) for group in tree.graph.groups]
        assert tree.ledger.costs == pytest.approx(expected)


@given(graphs())
def test_cut_trees_are_within_the_depth(graph: Graph) -> None:
    """A tree that was too deep is not any more, and one that was not stays as it is."""
    chosen = minimum_arborescence(graph)
    cut = Tree(graph, "independent", limit_depth(graph, chosen))
    assert not cut.is_deep()
    if not Tree(graph, "independent", chosen).is_deep():
        assert cut.parent == chosen


def test_a_long_chain_is_cut_as_rarely_as_can_be() -> None:
    """A chain of 27 at depth 8 keeps three vertices whole."""
    edges = [Edge(ROOT, number, 100, 1) for number in range(27)]
    edges += [Edge(number, number + 1, 1, 1) for number in range(26)]
    assert choose(Graph(edges)).best.storage == 3 * 100 + 24


def test_shortest_paths_prefer_less_storage() -> None:
    """Of two edges to the same cost the shortest path tree has the cheaper one."""
    graph = Graph([Edge(ROOT, "a", 9, 1, "dear"), Edge(ROOT, "a", 3, 1, "cheap")])
    assert graph.edges[shortest_path_tree(graph)[1]].label == "cheap"


def test_equal_storage_is_decided_by_recreation() -> None:
    """Of two plans with the same storage the one that is cheaper to read is chosen."""
    edges = [Edge(ROOT, "a", 3, 9, "slow"), Edge(ROOT, "a", 3, 1, "fast")]
    best = choose(Graph(edges, [Group("s", frozenset("a"))])).best
    assert [edge.label for edge in best.plan.parents.values()] == ["fast"]


def test_a_remote_tier_is_used_where_bounds_allow() -> None:
    """Parallel edges are two tiers: the cheaper one is taken until a bound forbids it."""
    edges = [Edge(ROOT, "a", 10, 1, "local"), Edge(ROOT, "a", 4, 20, "remote")]
    labels = [
        choose(Graph(edges, [Group("s", frozenset("a"), bound)])).best.plan.parents["a"].label
        for bound in (5, 50)
    ]
    assert labels == ["local", "remote"]


@pytest.mark.parametrize(("ratio", "alpha"), [(1, 3), (4, 2), (100, 1.2)])
def test_groups_read_more_often_get_a_tighter_bound(ratio: float, alpha: float) -> None:
    """The room above the least cost shrinks with the square root of how often a group is read."""
    assert tightened(3, ratio) == pytest.approx(alpha)


def test_a_hot_group_costs_less() -> None:
    """A group read 100 times as often is cheaper to read in the plan than it was before."""
    costs = []
    for weight in (1, 100):
        groups = list(figure5().groups)
        groups[1] = Group("s2", groups[1].members, weight=weight)
        graph = bounded(figure5().with_groups(groups), 1.5, "independent")
        best = choose(graph).best
        costs.append(group_cost(best.plan, groups[1], "independent"))
    assert costs[1] < costs[0]


@pytest.mark.parametrize("alpha", [0.9, float("nan"), float("inf")])
def test_alpha_below_one_is_refused(alpha: float) -> None:
    """No plan is cheaper to read than the shortest paths, and alpha must be a number."""
    with pytest.raises(InvalidInputError, match="alpha"):
        bounded(figure5(), alpha, "independent")


def test_the_exact_search_refuses_large_graphs() -> None:
    """More than twelve vertices are not tried exactly."""
    with pytest.raises(InvalidInputError, match="13 vertices"):
        exact(Graph([Edge(ROOT, number, 1, 1) for number in range(13)]), "independent")


def test_equal_graphs_give_equal_plans() -> None:
    """Planning is deterministic."""
    graph = bounded(model_graph(6, 5), 1.6, "independent")
    plans = [choose(graph, effort=5000).best.plan for _ in range(2)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_model_of_many_versions(planner: str) -> None:
    """On 500 tensors in 20 versions each planner ends within bounds, and none above its start."""
    graph = bounded(model_graph(20, 25), 1.6, "independent")
    found = {each.planner: each for each in find(graph, "independent", effort=2000)}[planner]
    check_plan(graph, found.plan)
    assert shortfalls(graph, found.plan, "independent") == []
    assert found.storage <= found.first_storage

"""How far the planners are from the exact optimum on random graphs.

All 500 graphs run with ``MSTORE_THOROUGH=1``, the first 60 otherwise.
"""

import os
from functools import cache
from random import Random
from statistics import median

import pytest
from tests.unit.planner.graphs import random_graph

from mstore.planner import Graph, Scheme, bounded
from mstore.planner.choose import Found, find
from mstore.planner.exact import exact
from mstore.planner.graph import TOLERANCE

COUNT = 500 if os.environ.get("MSTORE_THOROUGH") else 60
SCHEMES: list[Scheme] = ["independent", "parallel"]


def case(seed: int, scheme: Scheme) -> Graph:
    """A random graph; a quarter of them has bounds that no plan may keep."""
    rng = Random(seed)
    graph = bounded(random_graph(seed), rng.choice([1.0, 1.1, 1.3, 1.5, 2.0, 3.0]), scheme)
    if rng.random() < 0.75:
        return graph
    factors = [rng.uniform(0.8, 1.3) for _ in graph.groups]
    return graph.with_groups(
        type(group)(group.name, group.members, group.bound * factor, group.weight)
        for group, factor in zip(graph.groups, factors, strict=True)
    )


@cache
def outcomes(scheme: Scheme) -> list[tuple[list[Found], float | None]]:
    """For each graph what the planners found, and the exact storage (None: no plan fits)."""
    results = []
    for seed in range(COUNT):
        graph = case(seed, scheme)
        tree = exact(graph, scheme)
        results.append((find(graph, scheme), tree.storage if tree else None))
    return results


def gaps(scheme: Scheme) -> list[float]:
    """The storage of the best plan over the exact, less one, of each graph that has a plan."""
    return [
        min(each.storage for each in found if each.is_within) / storage - 1
        for found, storage in outcomes(scheme)
        if storage is not None
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_plan_is_found_exactly_when_there_is_one(scheme: Scheme) -> None:
    """The planners find a plan within bounds if and only if the exact search does."""
    for found, storage in outcomes(scheme):
        assert any(each.is_within for each in found) == (storage is not None)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_some_graphs_have_no_plan(scheme: Scheme) -> None:
    """The random bounds are such that both answers occur."""
    assert {storage is None for _, storage in outcomes(scheme)} == {True, False}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gap_to_the_exact_optimum(scheme: Scheme) -> None:
    """The best plan is at most 2 % above the optimum in the median and 10 % at worst."""
    found = gaps(scheme)
    assert min(found) >= -TOLERANCE
    assert median(found) <= 0.02
    assert max(found) <= 0.10


@pytest.mark.parametrize("scheme", SCHEMES)
def test_never_above_last(scheme: Scheme) -> None:
    """The best plan has no more storage than LAST's own, before local search."""
    for found, storage in outcomes(scheme):
        last = next(each for each in found if each.planner == "last")
        if storage is not None and last.is_within:
            best = min(each.storage for each in found if each.is_within)
            assert best <= last.first_storage

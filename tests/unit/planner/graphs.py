"""Storage graphs for tests: the paper's example, and random ones."""

from random import Random

from hypothesis import strategies as st

from mstore.planner import ROOT, Edge, Graph, Group

WHOLE = [("m1", 2, 1), ("m2", 8, 2), ("m3", 2, 1), ("m4", 8, 2), ("m5", 8, 2)]
DELTAS = [("m1", "m3", 1, 0.5), ("m2", "m4", 4, 1), ("m2", "m5", 4, 1), ("m4", "m5", 4, 1)]


def both_ways(source: str, target: str, storage: float, recreation: float) -> list[Edge]:
    """An undirected delta."""
    return [
        Edge(source, target, storage, recreation),
        Edge(target, source, storage, recreation),
    ]


def figure5(first: float = float("inf"), second: float = float("inf")) -> Graph:
    """Figure 5 of the ModelHub paper, with the bounds of s1 and s2."""
    edges = [Edge(ROOT, vertex, storage, recreation) for vertex, storage, recreation in WHOLE]
    for delta in DELTAS:
        edges += both_ways(*delta)
    groups = [
        Group("s1", frozenset({"m1", "m2"}), first),
        Group("s2", frozenset({"m3", "m4", "m5"}), second),
    ]
    return Graph(edges, groups)


def random_graph(seed: int, max_depth: int = 8) -> Graph:
    """Six to ten vertices, dense deltas, several tiers, overlapping groups without bounds.

    In a third of the graphs costs are bytes on both sides, in a third deltas are directed.
    """
    rng = Random(seed)
    names = [f"m{number}" for number in range(rng.randint(6, 10))]
    mode = rng.randrange(3)
    edges = []
    for name in names:
        storage = rng.randint(20, 100)
        edges.append(Edge(ROOT, name, storage, rng.randint(5, 30) if mode else storage))
        if rng.random() < 0.3:
            edges.append(Edge(ROOT, name, storage * 0.8, rng.randint(20, 90), "remote"))
    pairs = [(one, other) for place, one in enumerate(names) for other in names[:place]]
    for one, other in rng.sample(pairs, len(pairs) // 2):
        storage = rng.randint(1, 60)
        edges += both_ways(one, other, storage, rng.randint(1, 20) if mode else storage)
        if mode == 2:
            edges[-1] = Edge(other, one, rng.randint(1, 60), rng.randint(1, 20))
    groups = [
        Group(
            f"s{number}",
            frozenset(rng.sample(names, rng.randint(1, len(names) // 2))),
            weight=rng.choice([1, 1, 4]),
        )
        for number in range(rng.randint(1, 4))
    ]
    return Graph(edges, groups, max_depth=max_depth)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of up to seven vertices with any costs, parallel edges and depth limits."""
    count = draw(st.integers(1, 7))
    costs = st.integers(0, 50) | st.floats(0, 50)
    edges = [Edge(ROOT, number, draw(costs), draw(costs)) for number in range(count)]
    ends = st.tuples(st.integers(-1, count - 1), st.integers(0, count - 1))
    for source, target in draw(st.lists(ends.filter(lambda pair: pair[0] != pair[1]), max_size=20)):
        edges.append(Edge(ROOT if source < 0 else source, target, draw(costs), draw(costs)))
    members = st.frozensets(st.integers(0, count - 1), max_size=count)
    groups = [
        Group(f"s{number}", vertices, weight=draw(st.integers(1, 100)))
        for number, vertices in enumerate(draw(st.lists(members, max_size=3)))
    ]
    return Graph(edges, groups, max_depth=draw(st.sampled_from([0, 1, 2, 8])))


def model_graph(versions: int, tensors: int, seed: int = 0) -> Graph:
    """Versions of one model as groups: each tensor a delta of the last or an earlier version's."""
    rng = Random(seed)
    edges = []
    for version in range(versions):
        for tensor in range(tensors):
            size = rng.choice([1, 4, 16, 64]) * 1000
            name = f"v{version}.t{tensor}"
            edges.append(Edge(ROOT, name, size * rng.uniform(0.65, 0.7), size, "split-float"))
            edges.append(Edge(ROOT, name, size, size / 2, "raw"))
            for base in sorted({version - 1, rng.randrange(version)}) if version else ():
                cost = size * rng.uniform(0.1, 0.4)
                edges += both_ways(f"v{base}.t{tensor}", name, cost, size * 0.7)
    groups = [
        Group(f"v{version}", frozenset(f"v{version}.t{tensor}" for tensor in range(tensors)))
        for version in range(versions)
    ]
    return Graph(edges, groups)

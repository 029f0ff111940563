"""A graph of versions drawn in layers, parents above their children.

Layers, then the order in them by the middle of the neighbours (Sugiyama, Tagawa and Toda, 1981):
a node stands one layer below its lowest parent, and an edge over several layers is led through a
place of its own in each, so that it crosses no node.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from mstore.report.markup import Markup, tag

_HIGH, _GAP, _LEVEL = 48, 26, 104
_LETTER = 7.6
"""Pixels that a letter of a node's name takes, about."""
_NARROWEST, _WIDEST, _PASSAGE = 110, 250, 14
_SWEEPS = 6


class Node(NamedTuple):
    """A version: its key, its name, a smaller line below it, and whether it was asked for."""

    key: str
    name: str
    note: str = ""
    is_chosen: bool = False


class Edge(NamedTuple):
    """``child`` came from ``parent``; ``is_guess`` when that was inferred."""

    parent: str
    child: str
    relation: str
    is_guess: bool = False


class Place(NamedTuple):
    """The middle of a node or of a passage, and how wide it is."""

    x: float
    y: float
    width: float


class _Layers:
    """Nodes and passages by layer, ordered so that few edges cross."""

    def __init__(self, nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
        self.edges = edges
        depth = _depths(nodes, edges)
        self.width = {node.key: _width(node) for node in nodes}
        self.rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
        for node in nodes:
            self.rows[depth[node.key]].append(node.key)
        self.chains = [self._chain(at, edge, depth) for at, edge in enumerate(edges)]
        self._order()

    def _chain(self, at: int, edge: Edge, depth: Mapping[str, int]) -> list[str]:
        """The keys that an edge leads through, with a passage in every layer between."""
        between = []
        for level in range(depth[edge.parent] + 1, depth[edge.child]):
            key = f"{at} {level}"
            self.width[key] = _PASSAGE
            self.rows[level].append(key)
            between.append(key)
        return [edge.parent, *between, edge.child]

    def _order(self) -> None:
        """Put each node of a layer where the middle of its neighbours is, up and down in turn."""
        for sweep in range(_SWEEPS):
            rows, near = self._sweep(sweep)
            place: dict[str, float] = {}
            for row in rows:
                row.sort(key=lambda key: _middle(near.get(key, ()), place, 0.5))
                place |= {key: at / max(len(row) - 1, 1) for at, key in enumerate(row)}

    def _sweep(self, number: int) -> tuple[list[list[str]], dict[str, list[str]]]:
        """The layers in the order of a sweep, and what each node has before it in that order."""
        near: dict[str, list[str]] = {}
        for chain in self.chains:
            for upper, lower in pairwise(chain):
                near.setdefault(lower if number % 2 == 0 else upper, []).append(
                    upper if number % 2 == 0 else lower
                )
        return (self.rows, near) if number % 2 == 0 else (self.rows[::-1], near)

    def places(self) -> tuple[dict[str, Place], float, float]:
        """Where everything stands, and the width and height of the whole."""
        x: dict[str, float] = {}
        for row in self.rows:
            x |= self._spread(row, [0.0] * len(row))
        for number in range(2 * _SWEEPS):
            rows, near = self._sweep(number)
            for row in rows:
                x |= self._spread(row, [_middle(near.get(key, ()), x, x[key]) for key in row])
        left = min((x[key] - self.width[key] / 2 for key in x), default=0.0)
        right = max((x[key] + self.width[key] / 2 for key in x), default=0.0)
        found = {
            key: Place(x[key] - left, level * _LEVEL, self.width[key])
            for level, row in enumerate(self.rows)
            for key in row
        }
        return found, right - left, (len(self.rows) - 1) * _LEVEL

    def _spread(self, row: Sequence[str], wanted: Sequence[float]) -> dict[str, float]:
        """Places near the wanted ones that lie apart: the middle of pushing right and left."""
        apart = [(self.width[one] + self.width[two]) / 2 + _GAP for one, two in pairwise(row)]
        rightward, leftward = list(wanted), list(wanted)
        for at, gap in enumerate(apart):
            rightward[at + 1] = max(rightward[at + 1], rightward[at] + gap)
        for at, gap in reversed(list(enumerate(apart))):
            leftward[at] = min(leftward[at], leftward[at + 1] - gap)
        middles = ((one + two) / 2 for one, two in zip(rightward, leftward, strict=True))
        return dict(zip(row, middles, strict=True))


def graph(nodes: Sequence[Node], edges: Sequence[Edge]) -> Markup:
    """The graph as a picture of its own size; edges to nodes that are not drawn are left out."""
    known = {node.key for node in nodes}
    drawn = [edge for edge in edges if edge.parent in known and edge.child in known]
    layers = _Layers(nodes, drawn)
    places, width, height = layers.places()
    lines = [_edge(edge, chain, places) for edge, chain in zip(drawn, layers.chains, strict=True)]
    boxes = [_node(node, places[node.key]) for node in nodes]
    margin = 20
    return tag(
        "svg",
        _arrow(),
        lines,
        boxes,
        class_="lineage",
        width=width + 2 * margin,
        height=height + _HIGH + 2 * margin,
        viewBox=f"{-margin} {-_HIGH / 2 - margin} {width + 2 * margin:.0f} "
        f"{height + _HIGH + 2 * margin:.0f}",
        role="img",
        aria_label=f"{len(nodes)} versions and how they came from one another",
    )


def _depths(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, int]:
    """How many edges lead to each node at most; an edge that closes a circle counts nothing."""
    children: dict[str, list[str]] = {}
    waiting = {node.key: 0 for node in nodes}
    for edge in edges:
        children.setdefault(edge.parent, []).append(edge.child)
        waiting[edge.child] += 1
    depth = dict.fromkeys(waiting, 0)
    ready = [key for key, count in waiting.items() if not count]
    for key in ready:
        for child in children.get(key, ()):
            depth[child] = max(depth[child], depth[key] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return depth


def _middle(keys: Iterable[str], place: Mapping[str, float], without: float) -> float:
    known = [place[key] for key in keys if key in place]
    return sum(known) / len(known) if known else without


def _width(node: Node) -> float:
    letters = max(len(node.name), len(node.note) * 0.85)
    return min(max(letters * _LETTER + 24, _NARROWEST), _WIDEST)


def _node(node: Node, place: Place) -> Markup:
    shown = _clipped(node.name, place.width / _LETTER - 2)
    note = _clipped(node.note, place.width / (_LETTER * 0.85) - 2)
    return tag(
        "g",
        tag("title", node.name, ": ", node.note) if node.note else tag("title", node.name),
        tag(
            "rect",
            x=place.x - place.width / 2,
            y=place.y - _HIGH / 2,
            width=place.width,
            height=_HIGH,
            rx=7,
        ),
        tag("text", shown, x=place.x, y=place.y - 3 if node.note else place.y + 5),
        tag("text", note, x=place.x, y=place.y + 15, class_="small") if node.note else None,
        class_="node chosen" if node.is_chosen else "node",
    )


def _edge(edge: Edge, chain: Sequence[str], places: Mapping[str, Place]) -> Markup:
    points = [places[key] for key in chain]
    first, last = points[0], points[-1]
    steps = [f"M{first.x:.1f} {first.y + _HIGH / 2:.1f}"]
    for upper, lower in pairwise(points):
        start = upper.y + _HIGH / 2
        stop = lower.y - _HIGH / 2
        bend = (start + stop) / 2
        steps.append(f"C{upper.x:.1f} {bend:.1f} {lower.x:.1f} {bend:.1f} {lower.x:.1f} {stop:.1f}")
        if lower is not last:
            steps.append(f"L{lower.x:.1f} {lower.y + _HIGH / 2:.1f}")
    label = Place((points[-2].x + last.x) / 2, last.y - _LEVEL / 2 + 4, 0)
    return tag(
        "g",
        tag(
            "path",
            d="".join(steps),
            class_="edge guessed" if edge.is_guess else "edge",
            marker_end="url(#tip)",
        ),
        tag("text", edge.relation, x=label.x, y=label.y, text_anchor="middle", class_="relation"),
    )


def _arrow() -> Markup:
    tip = tag("path", d="M0 0L8 4L0 8z", class_="tip")
    return tag(
        "defs",
        tag(
            "marker",
            tip,
            id="tip",
            viewBox="0 0 8 8",
            refX=8,
            refY=4,
            markerWidth=7,
            markerHeight=7,
            orient="auto",
        ),
    )


def _clipped(text: str, letters: float) -> str:
    room = int(letters)
    return text if len(text) <= room else f"{text[: max(room - 1, 1)]}…"

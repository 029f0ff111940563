"""Parents that nobody recorded, recovered from weights alone.

1. Who belongs to whom follows from distances: the models form the directed tree that is shortest
   altogether, and a model that is near to none has no parent. Which of two is the parent decides
   only between trees that are equally short.
2. Distances are those of sketches; where all models that are near to one another are small, those
   of all their numbers.
3. What was recorded stands: such a version gets no other parent.
4. Nothing is written unless asked for, and then a note that says it was inferred.

After E. Horwitz and others, "Unsupervised Model Tree Heritage Recovery" (MoTHer), ICLR 2025, who
take distances of weights, their kurtosis for the direction, and a minimum directed spanning tree.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, structs

from mstore.errors import InvalidInputError
from mstore.ids import ObjectId
from mstore.notes import notes_of
from mstore.ops.diff_sides import open_sides
from mstore.ops.notes import Said, add_note
from mstore.parts import Parts
from mstore.provenance.arborescence import Edge, arborescence
from mstore.provenance.history import read_history
from mstore.provenance.lineage import Duplicate, duplicates_among
from mstore.revision import resolve

if TYPE_CHECKING:
    from mstore.numerics.closeness import Closeness
    from mstore.provenance.candidates import Candidate

TOPIC = "lineage"
"""The topic of a note that says which parent was inferred."""
UNRELATED = 0.7
"""The distance from which on models have nothing to do with each other; at random it is 1.

It is half of the energy: where at least half of a model is another's, it may be its parent.
"""
NEIGHBOURS = 8
"""Nearest models that may be the parent of one."""
MAX_EXACT = 32 << 20
"""Bytes that are read to compare models by all their numbers."""
MAX_MATRICES = 1000
"""Pairs of matrices that are compared so: each takes about a millisecond, however small."""
_TIE = 1e-7
"""What the wrong direction costs: less than any difference of distances that means something."""


class InferredParent(Struct, frozen=True):
    """A guess: ``label`` was made from ``parent_label``.

    ``distance`` is 0 for equal weights and 1 for unrelated ones; ``exact`` when all numbers were
    compared, not sketches. ``shared`` of ``tensors`` matrices are the very same in both.
    """

    label: str
    version: ObjectId
    parent_label: str
    parent: ObjectId
    confidence: float
    distance: float
    exact: bool
    shared: int
    tensors: int
    reason: str
    recorded: bool


class Inferred(Struct, frozen=True):
    """All guesses, weights that have several names, and how many versions were compared."""

    parents: tuple[InferredParent, ...]
    duplicates: tuple[Duplicate, ...]
    considered: int
    versions_in_all: int


class _Direction(NamedTuple):
    """How sure it is that the first of two came first, and why."""

    probability: float
    reasons: tuple[str, ...]


def infer_parents(parts: Parts, *texts: str, record: bool = False, author: str = "") -> Inferred:
    """Guess the parents of some versions, or of all that have none recorded.

    With ``record`` each guess is added to its version as a note. Errors as ``resolve``;
    InvalidInputError for a version without tensors.
    """
    from mstore.provenance.candidates import candidates, choose  # noqa: PLC0415 - loads NumPy

    history = read_history(parts)
    wanted = {resolve(parts, text).version for text in texts}
    for text, oid in ((text, resolve(parts, text).version) for text in texts):
        if oid not in history.known or history.known[oid].version.model_hash is None:
            raise InvalidInputError(f"'{text}' has no tensors to compare, or no name")
    every = {oid for oid, known in history.known.items() if known.names}
    chosen = choose(history, wanted)
    found = _Tree(parts, candidates(parts, chosen)).parents()
    hashes = {history.known[oid].version.model_hash for oid in wanted}
    kept = [
        edge
        for edge in found
        if not wanted or history.known[edge.version].version.model_hash in hashes
    ]
    if record:
        kept = [_record(parts, edge, author) for edge in kept]
    return Inferred(
        parents=tuple(kept),
        duplicates=tuple(duplicates_among(history, wanted or every)),
        considered=len(chosen),
        versions_in_all=len({history.known[oid].version.model_hash for oid in every} - {None}),
    )


def _record(parts: Parts, edge: InferredParent, author: str) -> InferredParent:
    """Add a guess as a note, unless the version has that note already."""
    parent = str(edge.parent)
    noted = (row.note for row in notes_of(parts, edge.version) if row.note.topic == TOPIC)
    if all(note.metadata.get("parent") != parent for note in noted):
        said = Said(
            message=f"inferred: made from {edge.parent_label}, {edge.reason}",
            topic=TOPIC,
            author=author,
            metadata={"parent": parent, "inferred": True, "confidence": edge.confidence},
        )
        add_note(parts, f"blake3:{edge.version}", said)
    return structs.replace(edge, recorded=True)


class _Tree:
    """The candidates, their distances, and the tree over them."""

    def __init__(self, parts: Parts, found: "Sequence[Candidate]") -> None:
        from mstore.numerics.closeness import closeness  # noqa: PLC0415 - loads NumPy

        self._parts, self._found = parts, found
        self._places = {candidate.known.id: at for at, candidate in enumerate(found)}
        self._near: Closeness = closeness([candidate.tensors for candidate in found])
        self._exact: dict[tuple[int, int], float] = {}
        self._measure()

    def parents(self) -> list[InferredParent]:
        """The guesses, the surest first; nothing for what has its parents recorded."""
        root = len(self._found)
        tree = arborescence(root + 1, [*self._edges(), *self._roots(root)], root)
        guesses = [
            self._guess(tree, at, parent)
            for at, parent in tree.items()
            if parent != root and not self._recorded(at)
        ]
        return sorted(guesses, key=lambda guess: (-guess.confidence, guess.label))

    def _roots(self, root: int) -> Iterator[Edge]:
        for at in range(root):
            yield Edge(root, at, UNRELATED)

    def _edges(self) -> Iterator[Edge]:
        """Ways that the tree may take: both ways between near ones, or what was recorded."""
        for first, second in sorted(self._pairs()):
            for start, stop in ((first, second), (second, first)):
                if not self._recorded(stop):
                    wrong = 1 - self._direction(start, stop).probability
                    yield Edge(start, stop, self._distance(start, stop) + _TIE * wrong)
        for at in range(len(self._found)):
            for parent in self._recorded(at):
                if parent in self._places:
                    yield Edge(self._places[parent], at, -1.0)

    def _recorded(self, at: int) -> list[ObjectId]:
        return [parent for parent, _ in self._found[at].known.parents]

    def _pairs(self) -> set[tuple[int, int]]:
        pairs: set[tuple[int, int]] = set()
        for at in range(len(self._found)):
            for other in self._nearest(at)[:NEIGHBOURS]:
                pairs.add((min(at, other), max(at, other)))
        return pairs

    def _nearest(self, at: int) -> list[int]:
        """The models that are related to one, the nearest first."""
        others = (other for other in range(len(self._found)) if other != at)
        near = [other for other in others if self._distance(at, other) < UNRELATED]
        return sorted(near, key=lambda other: self._distance(at, other))

    def _distance(self, first: int, second: int) -> float:
        change = self._exact.get((min(first, second), max(first, second)))
        return self._near.distance(first, second, change)

    def _measure(self) -> None:
        """Compare all numbers of the models that are near, if that is little to read."""
        pairs = sorted(self._pairs())
        sizes = [sum(self._found[at].size_bytes for at in pair) for pair in pairs]
        count = sum(self._found[pair[0]].matrices for pair in pairs)
        is_little = sum(sizes) <= MAX_EXACT and count <= MAX_MATRICES
        if is_little and all(map(self._is_kept, pairs)):
            self._exact = {pair: self._change(*pair) for pair in pairs}

    def _is_kept(self, pair: tuple[int, int]) -> bool:
        return all(self._found[at].known.state == "kept" for at in pair)

    def _change(self, first: int, second: int) -> float:
        """The squared length of the change in the matrices that both have."""
        from mstore.ops.diff_weights import Comparer, Match  # noqa: PLC0415 - loads NumPy
        from mstore.provenance.candidates import keyed  # noqa: PLC0415 - as above

        ids = (f"blake3:{self._found[at].known.id}" for at in (first, second))
        with open_sides(self._parts, tuple(ids)) as (base, (other,)):
            names = keyed(base.tensors), keyed(other.tensors)
            shared = self._found[first].tensors.keys() & self._found[second].tensors.keys()
            matches = [
                Match(base.tensors[names[0][name]], other.tensors[names[1][name]])
                for name, _ in sorted(shared)
            ]
            changed = [match for match in matches if match.base.id != match.other.id]
            weighed = Comparer(base, other).weigh(changed, rank=False)
            return sum(found.tally.change for found in weighed)

    def _direction(self, start: int, stop: int) -> _Direction:
        """Evidence that ``start`` came first, as a probability from odds that multiply."""
        before, after = self._found[start], self._found[stop]
        odds, reasons = 1.0, []
        for factor, reason, against in _evidence(before, after, self._near.kurtosis, start, stop):
            odds *= factor
            reasons.append(reason if factor > 1 else against)
        return _Direction(odds / (1 + odds), tuple(reasons))

    def _guess(self, tree: dict[int, int], at: int, parent: int) -> InferredParent:
        child, origin = self._found[at], self._found[parent]
        distance = self._distance(at, parent)
        below = _below(tree, at)
        others = [other for other in self._nearest(at) if other != parent and other not in below]
        direction = self._direction(parent, at)
        next_best = self._distance(at, others[0]) if others else math.inf
        shared = child.tensors.keys() & origin.tensors.keys()
        same = sum(child.tensors[key].id == origin.tensors[key].id for key in shared)
        sure = (1 - distance**2) * _choice(distance, next_best) * direction.probability
        reasons = [f"{_percent(distance)} away by {len(shared)} of {child.matrices} matrices"]
        if same == child.matrices == origin.matrices:
            reasons = ["the same weights under other names"]
        elif same:
            reasons.append(f"{same} of them the same")
        if others:
            next_label = self._found[others[0]].known.label
            reasons.append(f"next is {next_label}, {_percent(next_best)} away")
        reasons += direction.reasons
        return InferredParent(
            label=child.known.label,
            version=child.known.id,
            parent_label=origin.known.label,
            parent=origin.known.id,
            confidence=round(sure, 4),
            distance=distance,
            exact=(min(at, parent), max(at, parent)) in self._exact,
            shared=same,
            tensors=len(shared),
            reason=", ".join(reasons),
            recorded=False,
        )


_BY_BITS = 20.0
_BY_TIME = 2.5
_BY_TAILS = 1.5
_TAILS_DIFFER = 0.01


def _evidence(
    before: "Candidate", after: "Candidate", tails: Sequence[float], start: int, stop: int
) -> Iterator[tuple[float, str, str]]:
    """What speaks for the first of two being older: odds, what to say then, and what else."""
    if before.bits != after.bits:
        factor = _BY_BITS if before.bits > after.bits else 1 / _BY_BITS
        yield factor, "has fewer bits than its parent", "has more bits than its parent"
    times = before.known.version.time, after.known.version.time
    if times[0] != times[1]:
        factor = _BY_TIME if times[0] < times[1] else 1 / _BY_TIME
        yield factor, "stored later than its parent", "stored before its parent"
    grown = tails[stop] - tails[start]
    if abs(grown) > _TAILS_DIFFER:
        factor = _BY_TAILS if grown > 0 else 1 / _BY_TAILS
        words = f"kurtosis {tails[start]:.2f} in the parent, {tails[stop]:.2f} in it"
        yield factor, words, words


def _percent(distance: float) -> str:
    return f"{100 * distance:.2g} %"


def _choice(distance: float, next_best: float) -> float:
    """How much nearer the parent is than what comes next: from 1/2, no nearer, to 1."""
    if math.isinf(next_best):
        return 1.0
    total = distance**2 + next_best**2
    return next_best**2 / total if total else 0.5


def _below(tree: dict[int, int], start: int) -> set[int]:
    found = {start}
    grown = True
    while grown:
        more = {at for at, parent in tree.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found

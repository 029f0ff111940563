"""The storage graph of an archive: what each way to keep a tensor takes, and what reading it costs.

Vertices are tensors, groups are versions. A tensor may be kept raw, coded, or as a difference from
a related one; what it takes is tried on a sample, or known where it is stored that way now. The
label of an edge is the name of its codec, "delta" for a difference, "delta-small" for one in the
fewest bytes, or "kept": as it is stored now, over bases that are not in the graph.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Final, NamedTuple

from mstore.codecs import DELTA_PCO, PCO, RAW, SPARSE, SPLIT_FLOAT, ZSTD, Layout, by_name, codec
from mstore.format.pack import Entry
from mstore.ids import Buffer, ObjectId
from mstore.objects import CHUNK_SIZE
from mstore.odb import ObjectDatabase
from mstore.ops.archive_survey import Member, Survey
from mstore.ops.bases import BaseTensor
from mstore.ops.calibrate import GROUPED, Rates, chain_cost
from mstore.ops.encoding import FLOATS, MAX_ALONE, MAX_DELTA
from mstore.ops.sending import ahead
from mstore.ops.sketches import SketchIndex, sketch
from mstore.ops.walk import split_ids
from mstore.planner import ROOT, Edge, Graph, Group

DELTA: Final = "delta"
SMALL: Final = "delta-small"
DELTAS: Final = frozenset({DELTA, SMALL})
KEPT: Final = "kept"

_SAMPLE = 64 << 10
"""Elements of a sample, as many as an encoder tries."""
_LEAST = 8 << 10
_BUDGET = 128 << 20
"""Elements of all samples together: of many pairs each has less."""
_STRIPS = 16
_BIAS = 0.9, 1.1
"""By how much what was found on samples is put right at most."""
_SMALLER = 0.97
"""A difference in the fewest bytes over a plain one: above it the time is not worth it."""
_CHUNKS = 16
"""Chunks in memory, because they will be tried again."""


Pair = tuple[Member, Member]
"""A tensor that may be a base, and the one that would be a difference from it."""


class Trial(NamedTuple):
    """What a codec made of a sample: its code, and encoded over raw."""

    code: int
    ratio: float


class Edges:
    """Makes the edges into each tensor; ``by`` says what reading costs."""

    def __init__(self, survey: Survey, by: Rates) -> None:
        self.survey = survey
        self.by = by
        self._samples = _Samples(survey.parts.odb)
        self._alone: dict[ObjectId, list[Trial]] = {}
        self._elements = _SAMPLE
        self._bias: dict[str, float] = {}
        self._small_gain: dict[ObjectId, float] = {}
        self.now: dict[ObjectId, Edge] = {}
        """The edge by which each tensor is stored now, where the graph has it."""

    def graph(self) -> Graph:
        """All edges and the groups, without bounds."""
        pairs = list(self._pairs())
        self._elements = max(_LEAST, min(_SAMPLE, _BUDGET // max(1, len(pairs))))
        trials = self._try_all(pairs)
        self._bias = {label: self._find_bias(label, pairs, trials) for label in DELTAS}
        edges = [edge for pair in pairs for edge in self._delta_edges(*pair, trials)]
        for member in self.survey.members.values():
            edges += self._root_edges(member)
        groups = [
            Group(version.label, frozenset(version.members), weight=version.weight)
            for version in self.survey.versions
        ]
        return Graph(edges, groups)

    def _try_all(self, pairs: Sequence[Pair]) -> dict[tuple[ObjectId, ObjectId], dict[str, Trial]]:
        """What the differences of all pairs take, tried on several threads.

        The first pair of each tensor is tried before all others, which build on what it found.
        """
        firsts = list({member.id: (base, member) for base, member in reversed(pairs)}.values())
        done = {(base.id, member.id) for base, member in firsts}
        rest = [pair for pair in pairs if (pair[0].id, pair[1].id) not in done]
        found = {}
        for some in (firsts, rest):
            tried = ahead(some, lambda pair: self._trials(*pair))
            for (base, member), trials in zip(some, tried, strict=True):
                found[base.id, member.id] = trials
        return found

    def _find_bias(
        self,
        label: str,
        pairs: Sequence[Pair],
        trials: Mapping[tuple[ObjectId, ObjectId], dict[str, Trial]],
    ) -> float:
        """How far samples are off, by the differences of a label that are stored already."""
        there = thought = 0.0
        for base, member in pairs:
            for one, other in ((base, member), (member, base)):
                known = self._known(one, other)
                trial = trials[base.id, member.id].get(label)
                if known is None or trial is None or known.label != label:
                    continue
                if one.size == other.size:
                    there += known.storage
                    thought += trial.ratio * _changed_size(one, other)
        low, high = _BIAS
        return min(high, max(low, there / thought)) if thought else 1.0

    def alone(self, member: Member) -> list[Trial]:
        """What codecs that need no base make of a tensor, the smallest first; without raw."""
        found = self._alone.get(member.id)
        if found is None:
            found = self._alone[member.id] = self._try_alone(member)
        return found

    def _try_alone(self, member: Member) -> list[Trial]:
        cuts = [cut for cut, _ in self._cuts(member, None)]
        codes = (SPLIT_FLOAT, PCO, ZSTD) if member.tensor.dtype in FLOATS else (PCO, ZSTD)
        found = (_tried((code,), cuts, Layout(member.width)) for code in codes)
        trials = [trial for trial in found if trial is not None and trial.ratio <= MAX_ALONE]
        return sorted(trials, key=lambda trial: trial.ratio)

    def _cuts(
        self, member: Member, base: BaseTensor | None
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Samples from a few chunks, only from those that differ from a base if there is one."""
        others = None if base is None else split_ids(base.chunks)
        numbers = [
            number
            for number, piece in enumerate(member.pieces)
            if others is None or (number < len(others) and others[number] != piece.id)
        ]
        places = sorted(
            {numbers[at * (len(numbers) - 1) // 3] for at in range(4)} if numbers else ()
        )
        limit = -(-self._elements * member.width // max(1, len(places)))
        rows = (0, 0) if base is None else base.rows
        for number in places:
            raw = self._samples.chunk(member.pieces[number].id)
            before = None if others is None else self._samples.chunk(others[number])
            yield _cut(raw, before, limit, member.width, rows)

    def _root_edges(self, member: Member) -> Iterator[Edge]:
        is_alone = self.survey.is_alone(member)
        code = self.survey.code_alone(member) if is_alone else None
        yield self._root(member, Trial(RAW, 1.0), is_now=code == RAW)
        trials = self.alone(member)
        if code not in {None, RAW, *(trial.code for trial in trials)}:
            # Not what a trial would take, but there it is.
            assert code is not None
            trials = [*trials, Trial(code, 1.0)]
        for trial in trials:
            yield self._root(member, trial, is_now=code == trial.code)
        if not is_alone and member.id not in self.now:
            yield from self._kept_edge(member)

    def _root(self, member: Member, trial: Trial, *, is_now: bool) -> Edge:
        storage = trial.ratio * member.size
        if is_now:
            storage = float(sum(entry.stored_size for entry in self._entries(member)))
        cost = self.by.link(trial.code, member.width, storage, member.size)
        cost += member.size * self.by.hashed
        edge = Edge(ROOT, member.id, storage, cost, codec(trial.code).NAME)
        if is_now:
            self.now[member.id] = edge
        return edge

    def _kept_edge(self, member: Member) -> Iterator[Edge]:
        """As it is now, if no base of it is planned to change."""
        links: dict[bytes, float] = {}
        for piece in member.pieces:
            links |= chain_cost(self.survey.parts, piece.id, member.width, self.by)
        own = {bytes(piece.id) for piece in member.pieces}
        if not any(oid in self.survey.holders for oid in links.keys() - own):
            storage = float(sum(entry.stored_size for entry in self._entries(member)))
            edge = Edge(ROOT, member.id, storage, sum(links.values()), KEPT)
            self.now[member.id] = edge
            yield edge

    def _pairs(self) -> Iterator[tuple[Member, Member]]:
        """Each two tensors of which one may be a difference from the other, once."""
        seen: set[frozenset[ObjectId]] = set()
        for base, member in self._suggested():
            pair = frozenset((base.id, member.id))
            if len(pair) == len((base, member)) and pair not in seen:
                seen.add(pair)
                yield base, member

    def _suggested(self) -> Iterator[tuple[Member, Member]]:
        yield from self.survey.related()
        sketches = SketchIndex(self.survey.parts)
        for member in self.survey.members.values():
            base = None if self.survey.is_alone(member) else self.survey.base_tensor(member)
            if base is not None:
                yield base, member
            values = sketch(member.tensor.dtype, self._samples.chunk(member.pieces[0].id))
            for oid in sketches.nearest(member.span, values):
                if oid in self.survey.members:
                    yield self.survey.members[oid], member

    def _delta_edges(
        self,
        base: Member,
        member: Member,
        tried: Mapping[tuple[ObjectId, ObjectId], dict[str, Trial]],
    ) -> Iterator[Edge]:
        """The edges of one pair, there and back."""
        forth = tried[base.id, member.id]
        # What the reverse of a difference takes is as much, where neither is the longer one.
        back = forth if base.size == member.size else self._trials(member, base)
        for one, other, trials in ((base, member, forth), (member, base, back)):
            known = self._known(one, other)
            size = _changed_size(one, other)
            for label, trial in trials.items():
                if known is None or known.label != label:
                    yield self._edge(one, other, label, trial, size)
            if known is not None:
                self.now[other.id] = known
                yield known

    def _edge(self, base: Member, member: Member, label: str, trial: Trial, size: int) -> Edge:
        storage = min(1.0, trial.ratio * self._bias.get(label, 1.0)) * size
        cost = self.by.link(trial.code, member.width, storage, size)
        return Edge(base.id, member.id, storage, cost, label)

    def _trials(self, base: Member, member: Member) -> dict[str, Trial]:
        """What differences take by their labels, tried on samples; those that pay."""
        fitting = base.base_for(member)
        if fitting is None:
            return {}
        cuts = list(self._cuts(member, fitting))
        raws, befores = [cut for cut, _ in cuts], [before for _, before in cuts]
        layout = Layout(member.width, *fitting.rows)
        plain = _tried((SPARSE, DELTA_PCO), raws, layout, befores)
        alone = self.alone(member)
        limit = MAX_DELTA * (alone[0].ratio if alone else 1.0)
        if plain is None:
            return {}
        found = {DELTA: plain}
        if plain.code == DELTA_PCO:
            gain = self._small_gain.get(member.id)
            if gain is None:
                small = _tried((DELTA_PCO,), raws, layout._replace(small=True), befores)
                gain = 1.0 if small is None else small.ratio / plain.ratio
                # It is the numbers themselves that make the difference, not which base they have.
                self._small_gain[member.id] = gain
            if gain < _SMALLER:
                found[SMALL] = Trial(GROUPED, gain * plain.ratio)
        return {label: trial for label, trial in found.items() if trial.ratio <= limit}

    def _known(self, base: Member, member: Member) -> Edge | None:
        """The edge of the difference if that is how the tensor is stored, to the byte."""
        found = self.survey.base_tensor(member)
        if found is None or found.id != base.id:
            return None
        own = {piece.id for piece in base.pieces}
        storage = cost = 0.0
        label = DELTA
        for entry in self._entries(member):
            if entry.id not in own:
                code = self.survey.code(entry.id)
                label = SMALL if code == GROUPED else label
                storage += entry.stored_size
                cost += self.by.link(code, member.width, entry.stored_size, entry.raw_size)
        return Edge(base.id, member.id, storage, cost, label)

    def _entries(self, member: Member) -> list[Entry]:
        return [self.survey.entry(oid) for oid in dict.fromkeys(p.id for p in member.pieces)]


def _changed_size(base: Member, member: Member) -> int:
    """Bytes of the chunks that a tensor does not share with its base."""
    own = {piece.id for piece in base.pieces}
    return sum(piece.size for piece in member.pieces if piece.id not in own)


class _Samples:
    """Chunks that were read lately; for several threads."""

    def __init__(self, odb: ObjectDatabase) -> None:
        self._odb = odb
        self._lock = Lock()
        self._kept: OrderedDict[bytes, Buffer] = OrderedDict()

    def chunk(self, oid: ObjectId) -> memoryview:
        """The bytes of a chunk, verified."""
        with self._lock:
            found = self._kept.pop(oid, None)
        if found is None:
            found = self._odb.read_base(oid)
        with self._lock:
            self._kept[oid] = found
            if sum(map(len, self._kept.values())) > _CHUNKS * CHUNK_SIZE:
                self._kept.popitem(last=False)
        return memoryview(found)


def _tried(
    codes: Sequence[int],
    cuts: Sequence[bytes],
    layout: Layout,
    bases: Sequence[bytes | None] = (),
) -> Trial | None:
    """What the first codec that can do it makes of each sample, all together; None if none can.

    A sample that none of them shrinks counts whole.
    """
    size = stored = 0
    used: int | None = None
    for number, cut in enumerate(cuts):
        size += len(cut)
        for code in codes if len(cut) else ():
            found = codec(code).encode(cut, layout, bases[number] if bases else None)
            if found is not None:
                stored += len(found)
                # Where it is sparse here and not there, the slower one counts.
                used = code if used is None else min(used, code)
                break
        else:
            stored += len(cut)
    return None if used is None else Trial(used, stored / size)


def _cut(
    raw: memoryview, base: memoryview | None, limit: int, width: int, rows: tuple[int, int]
) -> tuple[bytes, bytes | None]:
    """About ``limit`` bytes of what a chunk and its base have in common, in strips.

    The strips lie all over it, because weights that are used more often change more.
    """
    row, base_row = rows if base is not None and rows[0] else (width, width)
    common = len(raw) // row
    if base is not None:
        common = min(common, len(base) // base_row)
    count = max(1, limit // (row * _STRIPS))
    if common <= count * _STRIPS:
        count, starts = common, [0]
    else:
        starts = [at * (common - count) // (_STRIPS - 1) for at in range(_STRIPS)]
    own = b"".join(raw[start * row : (start + count) * row] for start in starts)
    if base is None:
        return own, None
    return own, b"".join(base[s * base_row : (s + count) * base_row] for s in starts)


def code_of(label: object) -> int:
    """The code of the codec that a root edge names."""
    return by_name(str(label)).CODE

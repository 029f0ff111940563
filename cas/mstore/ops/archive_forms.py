"""From a plan over tensors to a form for every chunk (SPEC §7.4).

1. A chunk that is in several tensors gets its form from the one that is cheapest to read for its
   size, so no version gets dearer by it. Tensors are gone through in an order in which bases come
   first, so bases never run in a circle.
2. No chain gets longer than the plan's. What is stored as a difference from a planned chunk but
   is not planned itself is coded alone where its chain would get too long.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from heapq import heappop, heappush
from typing import NamedTuple

from mstore.codecs import RAW, Coded, Layout
from mstore.errors import CorruptError
from mstore.format.pack import Entry
from mstore.ids import Buffer, Kind, ObjectId
from mstore.odb import ObjectDatabase
from mstore.ops.archive_graph import DELTAS, KEPT, SMALL, Edges, code_of
from mstore.ops.archive_survey import Member
from mstore.ops.bases import MAX_DEPTH
from mstore.ops.encoding import Base, Method
from mstore.ops.payload import Piece
from mstore.ops.recode import Change
from mstore.ops.sending import Recoder
from mstore.planner import ROOT, Edge, Plan, path_costs
from mstore.planner.graph import Vertex


class Form(NamedTuple):
    """How a chunk is to be stored.

    ``method`` encodes it, from the chunk ``base`` if there is one. ``size`` are its bytes, and
    ``stored`` about what it will take. ``is_now`` says whether it is stored like that already.
    """

    size: int
    stored: float
    method: Method
    base: ObjectId | None
    depth: int
    is_now: bool


def settle(edges: Edges, plan: Plan) -> dict[ObjectId, Form]:
    """The form of every chunk of the planned tensors."""
    forms: dict[ObjectId, Form] = {}
    for member in _in_order(edges, plan):
        tensor = _Planned(edges, member, plan.parents[member.id])
        for number, piece in enumerate(member.pieces):
            if piece.id not in forms:
                forms[piece.id] = tensor.form(number, piece, forms)
    return forms


def _in_order(edges: Edges, plan: Plan) -> Iterator[Member]:
    """The tensors, each after the one it is based on, else by what reading a byte of them costs."""
    members = edges.survey.members
    costs = path_costs(plan)
    children: dict[Vertex, list[ObjectId]] = defaultdict(list)
    for oid in members:
        children[plan.parents[oid].source].append(oid)
    queue: list[tuple[float, ObjectId]] = []
    waiting = children[ROOT]
    while waiting or queue:
        for oid in waiting:
            heappush(queue, (costs[oid] / members[oid].size, oid))
        _, first = heappop(queue)
        yield members[first]
        waiting = children[first]


class _Planned:
    """One tensor and the edge by which it is kept."""

    def __init__(self, edges: Edges, member: Member, edge: Edge) -> None:
        self._survey = edges.survey
        self._base: Member | None = None
        if edge.label in DELTAS:
            assert isinstance(edge.source, ObjectId)
            self._base = edges.survey.members[edge.source]
        self._is_kept = edge.label == KEPT
        self._is_now = edges.now.get(member.id) == edge
        self._method = _method(edges, member, self._base, edge.label)
        self._ratio = edge.storage / member.size

    def form(self, number: int, piece: Piece, forms: Mapping[ObjectId, Form]) -> Form:
        """The form of a chunk of this tensor; those of its base have theirs."""
        survey = self._survey
        if self._is_kept:
            stored = float(survey.entry(piece.id).stored_size)
            depth = survey.parts.odb.depth(piece.id)
            return Form(piece.size, stored, self._method, None, depth, is_now=True)
        base = None
        if self._base is not None and number < len(self._base.pieces):
            base = self._base.pieces[number].id
        depth = 0 if base is None else forms[base].depth + 1
        if depth > MAX_DEPTH:
            base, depth = None, 0
        entry = survey.entry(piece.id)
        is_now = self._is_now and survey.copies(piece.id) == 1 and entry.base in {None, base}
        stored = entry.stored_size if is_now else self._ratio * piece.size
        return Form(piece.size, stored, self._method, base, depth, is_now)


def _method(edges: Edges, member: Member, base: Member | None, label: object) -> Method:
    if base is None:
        code = RAW if label == KEPT else code_of(label)
        return Method() if code == RAW else Method((code,), layout=Layout(member.width))
    fitting = base.base_for(member)
    rows = (0, 0) if fitting is None else fitting.rows
    alone = edges.alone(member)[:1]
    ratio = alone[0].ratio if alone else 1.0
    codes = tuple(trial.code for trial in alone)
    layout = Layout(member.width, *rows, small=label == SMALL)
    return Method(codes, True, layout, ratio)  # noqa: FBT003 - a field


def changes(edges: Edges, forms: Mapping[ObjectId, Form]) -> list[Change]:
    """What has to be stored anew, the chunks of a tensor one after another."""
    odb = edges.survey.parts.odb
    found: dict[ObjectId, Change] = {}
    for member in edges.survey.members.values():
        for piece in member.pieces:
            form = forms[piece.id]
            if not form.is_now:
                found[piece.id] = Change(piece.id, piece.size, partial(_encode, odb, form))
    if found:
        found |= {change.id: change for change in _too_deep(edges, forms)}
    return list(found.values())


def _encode(odb: ObjectDatabase, form: Form, raw: Buffer) -> Coded | None:
    base = None if form.base is None else Base(form.base, odb.read_base(form.base))
    return form.method.encode(raw, base)


def _too_deep(edges: Edges, forms: Mapping[ObjectId, Form]) -> Iterator[Change]:
    """Chunks outside of the plan that would be read over too many bases."""
    odb = edges.survey.parts.odb
    others: dict[ObjectId, Entry] = {}
    tensors: list[ObjectId] = []
    for key in odb.packs():
        for entry in odb.entries(key):
            if entry.kind is Kind.TENSOR:
                tensors.append(entry.id)
            elif entry.base is not None and entry.id not in forms:
                others[entry.id] = entry
    recoder = Recoder((odb,), lambda: tensors)
    depths = {oid: form.depth for oid, form in forms.items()}
    for oid, entry in others.items():
        if _settle_depth(oid, others, depths) > MAX_DEPTH and odb.is_live(oid):
            yield Change(oid, entry.raw_size, partial(recoder, oid))


def _settle_depth(
    oid: ObjectId, others: Mapping[ObjectId, Entry], depths: dict[ObjectId, int]
) -> int:
    """How many bases are below a chunk; one that is to be coded alone counts as too deep itself."""
    chain: list[ObjectId] = []
    at: ObjectId | None = oid
    while at is not None and at not in depths and at not in chain:
        chain.append(at)
        at = others[at].base if at in others else None
    depth = depths[at] if at is not None and at in depths else -1
    for each in reversed(chain):
        depth = 1 if depth > MAX_DEPTH else depth + 1
        depths[each] = depth
    return depths[oid]


def require_ends(forms: Mapping[ObjectId, Form]) -> None:
    """CorruptError unless each base comes before what needs it: else nothing may be written."""
    for oid, form in forms.items():
        if form.base is not None and forms[form.base].depth != form.depth - 1:
            raise CorruptError(
                f"chunk '{oid}' would not come after its base '{form.base}'",
                hint="nothing was changed; report this",
            )

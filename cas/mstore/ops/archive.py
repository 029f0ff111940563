"""Storing tensors as the planner says: what is read often is quick to read, the rest is small.

1. A plan keeps every version within its bound, as far as calibration tells, and takes the fewest
   bytes that any of the planners found.
2. Nothing is changed where the plan saves too little and all versions are within their bounds.
3. What is changed is verified bit for bit before its old form is let go of (``recode``). Killed
   on the way, both forms are there, and archiving again ends it.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from msgspec import Struct, structs

from mstore.backends.checkout import Checkout
from mstore.codecs import RAW
from mstore.errors import InvalidInputError
from mstore.ops.archive_forms import changes, require_ends, settle
from mstore.ops.archive_graph import DELTAS, KEPT, Edges, code_of
from mstore.ops.archive_survey import Chosen, Survey
from mstore.ops.calibrate import BYTES_READ, Rates, chain_cost, rates
from mstore.ops.recode import Recoded, recode
from mstore.parts import Parts
from mstore.planner import Choice, Graph, Plan, Scheme, bounded, choose, group_cost
from mstore.planner.local import EFFORT

Measure = Literal["time", "bytes"]
Progress = Callable[[int, int, int], None]
"""Called with the bytes of chunks done, their bytes in all, and those written so far."""

_WORK = 50_000_000
"""Vertices times swaps that each planner's local search may look at: some seconds in all."""
ALPHA = 1.6
"""How much dearer than at best a version may be to read, unless the caller says otherwise."""
MIN_SAVING = 0.02
"""Of the bytes there are: for less nothing is written."""
SLACK = 1.03
"""Cost over bound: what a version may be over it because its tensors were tried on samples."""


class Terms(Struct, frozen=True):
    """What a plan is asked for.

    ``alpha`` is what the versions that are read least may cost, as a multiple of the least they
    can; ``within`` milliseconds are a bound for all instead. Costs count ``measure``. ``disk``:
    bytes per second that reading is counted at; ``recalibrate`` measures this machine again.
    """

    alpha: float = ALPHA
    within: float | None = None
    scheme: Scheme = "independent"
    measure: Measure = "time"
    disk: float | None = None
    recalibrate: bool = False


class VersionCost(NamedTuple):
    """What reading a version costs and may cost, in milliseconds or bytes; and how often it was."""

    label: str
    reads: int
    weight: float
    cost_before: float
    cost_after: float
    bound: float


class PlannerRow(NamedTuple):
    """What one planner found: bytes, the weighted cost of all versions, whether bounds hold."""

    name: str
    storage: int
    recreation: float
    is_within: bool


class ArchiveReport(Struct, frozen=True):
    """What archiving did, or would do.

    Bytes are those of the chunks of the planned tensors: when raw, as they are stored now, as the
    plan foresees them, and as they were found afterwards. ``tensors_raw`` and so on count the
    plan; kept ones stay as they are, over bases that were not planned. ``is_changed`` is false
    where the plan saves nothing. ``written_bytes`` went to new packs or, foreseen, will: until gc
    deletes what is condemned, both are there.
    """

    unit: Literal["ms", "bytes"]
    scheme: Scheme
    versions: tuple[VersionCost, ...]
    planner: str
    planners: tuple[PlannerRow, ...]
    tensors: int
    tensors_raw: int
    tensors_coded: int
    tensors_delta: int
    tensors_kept: int
    bytes_raw: int
    bytes_before: int
    bytes_foreseen: int
    bytes_after: int
    is_changed: bool
    chunks_changed: int
    written_bytes: int
    condemned: tuple[str, ...]
    condemned_bytes: int
    dry_run: bool


def archive(
    parts: Parts,
    revisions: Sequence[str] = (),
    terms: Terms | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ArchiveReport:
    """Plan how the tensors of some versions, or of all that are kept, are stored, and do it.

    InvalidInputError (kind "infeasible") when no plan keeps the bounds, naming the least that can
    be; NotFoundError (kind "stripped") for a version whose bytes are not here; ConflictError when a
    gc runs. StorageError, before anything is written as far as that is foreseen, when the disk has
    no room for both forms: then the old ones stay.
    """
    return _Archive(parts, revisions, terms or Terms()).run(dry_run=dry_run, progress=progress)


def export_plan(
    parts: Parts,
    path: Path,
    revisions: Sequence[str] = (),
    terms: Terms | None = None,
    *,
    force: bool = False,
) -> ArchiveReport:
    """Write the storage graph and the plan over it as JSON (``planner.export``); changes nothing.

    Errors as ``archive``; ExistsError when something stands at ``path`` and ``force`` is off.
    """
    return _Archive(parts, revisions, terms or Terms()).write(path, force=force)


def _check(terms: Terms) -> None:
    if terms.scheme not in get_args(Scheme):
        raise InvalidInputError(
            f"scheme '{terms.scheme}' is unknown", hint=f"one of: {', '.join(get_args(Scheme))}"
        )
    for name, value in (("within", terms.within), ("disk", terms.disk)):
        if value is not None and not (isfinite(value) and value > 0):
            raise InvalidInputError(f"'{name}' is {value}, not a number above 0")
    if terms.within is not None and terms.measure == "bytes":
        raise InvalidInputError("a bound in milliseconds needs costs in time, not in bytes")


class _Archive:
    """One plan for one store, and what it is carried out on."""

    def __init__(self, parts: Parts, revisions: Sequence[str], terms: Terms) -> None:
        _check(terms)
        self.parts = parts
        self.terms = terms
        self.by = _rates(parts, terms)
        parts.odb.refresh()
        self.survey = Survey(parts, revisions)
        self.edges = Edges(self.survey, self.by)
        self.graph = _bound(self.edges.graph(), terms)
        effort = min(EFFORT, _WORK // max(1, len(self.graph)))
        self.choice: Choice = choose(self.graph, terms.scheme, effort=effort, unit=_unit(terms))
        self.plan: Plan = self.choice.best.plan
        self.forms = settle(self.edges, self.plan)
        require_ends(self.forms)

    def run(self, *, dry_run: bool, progress: Progress | None) -> ArchiveReport:
        """Carry the plan out, unless it is not worth it."""
        before = self._costs()
        bytes_before = self.survey.stored_bytes(self.forms)
        is_worth = self._is_worth(before, bytes_before)
        todo = changes(self.edges, self.forms) if is_worth else []
        written = sum(self.forms[each.id].stored for each in todo if each.id in self.forms)
        report = self._report(before, bytes_before, is_changed=bool(todo))
        report = structs.replace(report, chunks_changed=len(todo), written_bytes=round(written))
        if dry_run or not todo:
            return structs.replace(report, dry_run=dry_run)
        ids = {change.id for change in todo}
        done = recode(
            self.parts,
            todo,
            superseded=lambda entry: entry.id in ids,
            expected=report.written_bytes,
            progress=progress,
        )
        return self._finished(report, done)

    def write(self, path: Path, *, force: bool) -> ArchiveReport:
        """Write graph and plan to a file."""
        import json  # noqa: PLC0415 - only here

        from mstore.planner import to_json  # noqa: PLC0415 - only here

        names = {oid: member.name for oid, member in self.survey.members.items()}
        document = to_json(self.graph, self.plan, lambda vertex: names.get(vertex, "root"))  # type: ignore[call-overload]  # a vertex is an id or the root
        content = json.dumps(document, allow_nan=False).encode()
        with Checkout(path, folder=False, force=force, durable=False) as checkout:
            with checkout.create("", len(content)) as output:
                output.write_at(0, content)
            checkout.place()
        return self.run(dry_run=True, progress=None)

    def _is_worth(self, before: Sequence[float], bytes_before: int) -> bool:
        """Whether something is saved, or a version is over its bound."""
        groups = zip(self.graph.groups, before, strict=True)
        if any(cost > group.bound * SLACK for group, cost in groups):
            return True
        return bytes_before - self._foreseen() > MIN_SAVING * bytes_before

    def _foreseen(self) -> float:
        return sum(form.stored for form in self.forms.values())

    def _costs(self) -> list[float]:
        """What reading each version costs as it is stored at this moment."""
        return [_Reading(self, version).cost() for version in self.survey.versions]

    def _report(
        self, before: Sequence[float], bytes_before: int, *, is_changed: bool
    ) -> ArchiveReport:
        groups = self.graph.groups
        after = [group_cost(self.plan, group, self.terms.scheme) for group in groups]
        labels = [edge.label for edge in self.plan.parents.values()]
        deltas = sum(label in DELTAS for label in labels)
        alone = [code_of(label) for label in labels if label not in DELTAS and label != KEPT]
        foreseen = round(self._foreseen()) if is_changed else bytes_before
        rows = zip(
            self.survey.versions, before, after if is_changed else before, groups, strict=True
        )
        return ArchiveReport(
            unit=_unit(self.terms),
            scheme=self.terms.scheme,
            versions=tuple(
                VersionCost(v.label, v.reads, v.weight, old, new, group.bound)
                for v, old, new, group in rows
            ),
            planner=self.choice.best.planner,
            planners=tuple(
                PlannerRow(each.planner, round(each.storage), each.recreation, each.is_within)
                for each in self.choice.found
            ),
            tensors=len(labels),
            tensors_raw=alone.count(RAW),
            tensors_coded=len(alone) - alone.count(RAW),
            tensors_delta=deltas,
            tensors_kept=labels.count(KEPT),
            bytes_raw=sum(form.size for form in self.forms.values()),
            bytes_before=bytes_before,
            bytes_foreseen=foreseen,
            bytes_after=foreseen,
            is_changed=is_changed,
            chunks_changed=0,
            written_bytes=0,
            condemned=(),
            condemned_bytes=0,
            dry_run=False,
        )

    def _finished(self, report: ArchiveReport, done: Recoded) -> ArchiveReport:
        costs = zip(report.versions, self._costs(), strict=True)
        return structs.replace(
            report,
            versions=tuple(row._replace(cost_after=cost) for row, cost in costs),
            bytes_after=self.survey.stored_bytes(self.forms),
            written_bytes=done.written_bytes,
            condemned=done.condemned,
            condemned_bytes=done.condemned_bytes,
        )


class _Reading:
    """What reading one version costs, by the entries that a reader would decode."""

    def __init__(self, whole: _Archive, version: Chosen) -> None:
        self._scheme = whole.terms.scheme
        self._parts = whole.parts
        self._members = [whole.survey.members[oid] for oid in version.members]
        self._by: Rates = whole.by

    def cost(self) -> float:
        """By the scheme: all tensors one after another, the dearest one, or all links once."""
        links = [
            [chain_cost(self._parts, piece.id, member.width, self._by) for piece in member.pieces]
            for member in self._members
        ]
        if self._scheme == "reusable":
            once: dict[bytes, float] = {}
            for found in chain.from_iterable(links):
                for oid, cost in found.items():
                    once[oid] = max(cost, once.get(oid, 0.0))
            return sum(once.values())
        costs = [sum(map(_total, found)) for found in links]
        return max(costs, default=0.0) if self._scheme == "parallel" else sum(costs)


def _total(links: dict[bytes, float]) -> float:
    return sum(links.values())


def _unit(terms: Terms) -> Literal["ms", "bytes"]:
    return "ms" if terms.measure == "time" else "bytes"


def _rates(parts: Parts, terms: Terms) -> Rates:
    if terms.measure == "bytes":
        return BYTES_READ
    return rates(parts, again=terms.recalibrate, disk=terms.disk)


def _bound(graph: Graph, terms: Terms) -> Graph:
    if terms.within is None:
        return bounded(graph, terms.alpha, terms.scheme)
    bound = terms.within
    return graph.with_groups(structs.replace(group, bound=bound) for group in graph.groups)

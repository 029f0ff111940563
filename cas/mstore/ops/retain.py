"""Which versions of a training run stay: the last, every n-th, the best, whatever has a tag.

The others are stripped: their bytes go with the next gc, their description stays. The optimizer
states of a run are versions of a model of their own (``ops.steplog``), so they can go earlier.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from mstore.best import Rated, best, metric
from mstore.errors import InvalidInputError
from mstore.ids import ObjectId
from mstore.notes import NoteRow, metrics_of, notes_by_version
from mstore.ops.copying import replace_row
from mstore.ops.names import tags
from mstore.ops.steplog.rows import StepRow, StepRows, companion, optimizer_of
from mstore.ops.walk import Bases, Roots, ancestors, closure, roots, stored_bytes
from mstore.parts import Parts, Transaction
from mstore.refs import HEADS, Change, RefTable

Fate = Literal["stripped", "deleted"]


class Candidate(NamedTuple):
    """A version that rules may keep; ``step`` is None where it was not made at one."""

    number: int
    step: int | None
    metrics: Mapping[str, float]
    tags: tuple[str, ...] = ()


class Retention(Struct, frozen=True):
    """What stays. ``best`` are metrics, each ``NAME``, ``NAME:min`` or ``NAME:max`` (the default).

    InvalidInputError for a number below 1, and for a metric that sounds as if less of it were
    better when it does not say which.
    """

    last: int | None = None
    every: int | None = None
    best: tuple[str, ...] = ()
    optimizer_last: int | None = None

    def __post_init__(self) -> None:
        given = {
            "last": self.last,
            "every": self.every,
            "optimizer_last": self.optimizer_last,
        }
        for name, value in given.items():
            if value is not None and value < 1:
                raise InvalidInputError(f"{name} is {value}: at least 1 is kept")
        for text in self.best:
            metric(text)

    @property
    def chooses(self) -> bool:
        """Whether it says anything of the versions themselves."""
        return bool(self.last or self.every or self.best)


class Stays(NamedTuple):
    """A version that stays, and why."""

    label: str
    step: int | None
    reasons: tuple[str, ...]


class Goes(NamedTuple):
    """A version whose bytes go."""

    label: str
    step: int | None


class RetainReport(Struct, frozen=True):
    """What was, or would be, kept and removed, versions and optimizer states.

    ``freed_bytes`` is what gc could give back then; only a dry run finds that out.
    """

    name: str
    fate: Fate
    kept: tuple[Stays, ...]
    removed: tuple[Goes, ...]
    dry_run: bool
    freed_bytes: int | None = None


def select(candidates: Sequence[Candidate], rules: Retention) -> dict[int, tuple[str, ...]]:
    """The numbers of the versions that stay, each with the reasons; pure.

    The version with the highest number and those with tags always stay. Without a rule that
    chooses all stay. Of equally good versions the newest is best.
    """
    ordered = sorted(candidates)
    why: dict[int, list[str]] = {candidate.number: [] for candidate in ordered}
    for candidate in ordered:
        why[candidate.number] += [f"tag {tag}" for tag in candidate.tags]
        place = candidate.number if candidate.step is None else candidate.step
        if rules.every and place % rules.every == 0:
            why[candidate.number].append(f"every {rules.every}")
        if not rules.chooses:
            why[candidate.number].append("no rule")
    for candidate in ordered[-(rules.last or 1) :]:
        why[candidate.number].append(f"last {rules.last}" if rules.last else "newest")
    for text in rules.best:
        name, direction = metric(text)
        found = best((Rated(c.number, c.metrics) for c in ordered), name, direction)
        if found is not None:
            why[found.number].append(f"best {name} ({direction} {found.metrics[name]:g})")
    return {number: tuple(reasons) for number, reasons in why.items() if reasons}


def select_optimizers(
    models: Sequence[tuple[int, bytes | None]],
    optimizers: Mapping[int, bytes],
    kept: Collection[int],
    last: int | None,
) -> dict[int, tuple[str, ...]]:
    """The numbers of the optimizer states that stay, each with the reason; pure.

    ``models`` are (number, id of its optimizer state) and ``kept`` the numbers of those that stay;
    ``optimizers`` are the states by number. Those of the ``last`` kept versions that have one stay,
    of all kept ones without. A state newer than any version knows stays too: its version is about
    to be stored.
    """
    numbers = {oid: number for number, oid in sorted(optimizers.items())}
    used = [(number, numbers[oid]) for number, oid in models if oid is not None and oid in numbers]
    held = sorted((number, state) for number, state in used if number in kept)
    why = f"of the last {last}" if last else "of a version that is kept"
    stay: dict[int, tuple[str, ...]] = {state: (why,) for _, state in held[-last if last else 0 :]}
    newest = max((state for _, state in used), default=0)
    for number in optimizers:
        if number > newest:
            stay[number] = ("its version is not stored yet",)
    return stay


def retain(
    parts: Parts,
    name: str,
    rules: Retention,
    *,
    forget: bool = False,
    dry_run: bool = False,
    author: str = "",
) -> RetainReport:
    """Strip, or with ``forget`` delete, the versions of ``name`` that no rule keeps.

    So are the optimizer states of versions that go. Bytes stay until ``gc``. NotFoundError for an
    unknown model, InvalidInputError for rules that say nothing. A dry run walks the store's
    descriptions twice.
    """
    if not rules.chooses and rules.optimizer_last is None:
        raise InvalidInputError(
            "nothing says what stays", hint="give --last, --every, --best or --keep-optimizer-last"
        )
    parts.refs.table(HEADS, name)
    fate: Fate = "deleted" if forget else "stripped"
    found = _choose(parts, name, rules)
    freed = None
    if dry_run:
        freed = _freed(parts, found, fate)
    else:
        # What depends on the other goes first: a crash between leaves no state without weights.
        for model in reversed(found):
            _mark(parts, model, fate, author)
    return RetainReport(
        name=name,
        fate=fate,
        kept=tuple(stays for model in found for stays in model.kept),
        removed=tuple(goes for model in found for goes in model.removed),
        dry_run=dry_run,
        freed_bytes=freed,
    )


class _Chosen(NamedTuple):
    """What was decided of one model: the rows that it has, and why some of them stay."""

    name: str
    rows: list[StepRow]
    why: dict[int, tuple[str, ...]]

    @property
    def kept(self) -> list[Stays]:
        return [
            Stays(f"{self.name}@{found.row.number}", found.step, self.why[found.row.number])
            for found in self.rows
            if found.row.number in self.why
        ]

    @property
    def gone(self) -> list[StepRow]:
        return [found for found in self.rows if found.row.number not in self.why]

    @property
    def removed(self) -> list[Goes]:
        return [Goes(f"{self.name}@{found.row.number}", found.step) for found in self.gone]


def _choose(parts: Parts, name: str, rules: Retention) -> list[_Chosen]:
    """The model's versions and its optimizer states, the latter only where there are any."""
    tagged = _tagged(parts)
    rows = _kept_rows(parts, name)
    said = notes_by_version(parts) if rules.best else {}
    why = select([_candidate(found, tagged, said) for found in rows], rules)
    chosen = [_Chosen(name, rows, why)]
    states = _kept_rows(parts, companion(name)) if _may_have_states(name) else []
    if states:
        models = [(found.row.number, optimizer_of(found.version)) for found in rows]
        ids = {found.row.number: found.row.version for found in states}
        reasons = select_optimizers(models, ids, why, rules.optimizer_last)
        for found in states:
            named = tuple(f"tag {tag}" for tag in tagged.get(found.row.version, ()))
            if named:
                number = found.row.number
                reasons[number] = (*reasons.get(number, ()), *named)
        chosen.append(_Chosen(companion(name), states, reasons))
    return chosen


def _may_have_states(name: str) -> bool:
    try:
        companion(name)
    except InvalidInputError:
        return False
    return True


def _kept_rows(parts: Parts, name: str) -> list[StepRow]:
    return [found for found in StepRows(parts).of(name) if found.row.state == "kept"]


def _tagged(parts: Parts) -> dict[bytes, tuple[str, ...]]:
    found: dict[bytes, tuple[str, ...]] = {}
    for tag, version in tags(parts).items():
        found[version] = (*found.get(version, ()), tag)
    return found


def _candidate(
    found: StepRow,
    tagged: Mapping[bytes, tuple[str, ...]],
    said: Mapping[bytes, list[NoteRow]],
) -> Candidate:
    version = found.row.version
    metrics = metrics_of(found.version, said.get(version, ()))
    return Candidate(found.row.number, found.step, metrics, tagged.get(version, ()))


def _freed(parts: Parts, chosen: Sequence[_Chosen], fate: Fate) -> int:
    """What gc could give back: bases of what stays are not free."""
    gone = {model.name: {found.row.number for found in model.gone} for model in chosen}
    now, then = roots(parts), roots(parts, gone)
    if fate == "stripped":
        described = {ObjectId(found.row.version) for model in chosen for found in model.gone}
        described |= then.described | set(ancestors(parts, described))
        then = then._replace(described=frozenset(described - then.kept))
    bases = Bases(parts.odb)
    going = bases.with_bases(_needed(parts, now)) - bases.with_bases(_needed(parts, then))
    return stored_bytes(parts.odb, going)


def _needed(parts: Parts, names: Roots) -> set[ObjectId]:
    described = closure(parts, names.described, payload=False)
    return described | closure(parts, names.kept, payload=True) | names.notes


def _mark(parts: Parts, model: _Chosen, fate: Fate, author: str) -> None:
    numbers = {found.row.number for found in model.gone}

    def change(table: RefTable | None) -> Change:
        rows = () if table is None else table.rows.values()
        going = [row for row in rows if row.number in numbers and row.state == "kept"]
        return Change(tuple(replace_row(row, fate) for row in going), "retain", author)

    with Transaction(parts) as transaction:
        if change(parts.refs.find(HEADS, model.name)).rows:
            transaction.commit(HEADS, model.name, change)

"""From what a person types to a version, a file, a tensor or rows of it (SPEC §9.4).

``lenet`` · ``lenet@3`` · ``lenet@best(val/accuracy)`` · ``run@step=1200`` · ``lenet~1`` · ``prod``
· a hash, or 8 or more digits of it, with or without ``blake3:`` · each followed by ``:path``,
``:path#tensor`` or ``:path#tensor[0:10]``.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mstore.best import Rated, best, metric
from mstore.errors import InvalidInputError, NotFoundError
from mstore.format.slots import Row
from mstore.ids import Kind, ObjectId
from mstore.notes import metrics_of, notes_of
from mstore.objects import Version
from mstore.parts import Parts
from mstore.refs import HEADS, TAGS, RefTable

MIN_PREFIX = 8
STEP = "step"
"""The key of a version's metadata that holds the step it was made at."""
_REVISION = re.compile(
    r"(?P<base>(?:blake3:)?[^:#~@\[\]\s]+)"
    r"(?:@(?P<which>[0-9]{1,10}|best(?:\([^()]+\))?|step=[0-9]{1,18}))?(?P<up>(?:~[0-9]{0,4})*)"
    r"(?::(?P<path>[^#]+)?(?:#(?P<tensor>.+?))?(?P<rows>\[-?[0-9]*(?::-?[0-9]*)?\])?)?",
    re.DOTALL,
)
_HEX = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
_HINT_LIST = "see what there is: mstore list"


class Resolved(NamedTuple):
    """What a revision stands for; ``rows`` are those of the first dimension, half open."""

    text: str
    version: ObjectId
    name: str | None = None
    number: int | None = None
    state: str = "kept"
    path: str | None = None
    tensor: str | None = None
    rows: slice | int | None = None

    @property
    def label(self) -> str:
        """``lenet@3`` where the version has a name, else the first 12 digits of its id."""
        return f"{self.name}@{self.number}" if self.name else str(self.version)[:12]


def resolve(parts: Parts, text: str) -> Resolved:
    """The version that ``text`` names.

    NotFoundError for an unknown name, number or hash; InvalidInputError for an ambiguous prefix
    or a text that is no revision.
    """
    match = _REVISION.fullmatch(text)
    if match is None:
        raise InvalidInputError(
            f"'{text}' is not a revision",
            hint="write NAME, NAME@3, NAME@best(METRIC), NAME@step=N, NAME~1, a tag or a hash",
        )
    found = _base(parts, text, match["base"], match["which"])
    found = _ancestor(parts, found, match["up"])
    return found._replace(path=match["path"], tensor=match["tensor"], rows=_rows(match["rows"]))


def _base(parts: Parts, text: str, base: str, which: str | None) -> Resolved:
    if base.startswith("blake3:"):
        return _by_hash(parts, text, base.removeprefix("blake3:"))
    table = parts.refs.find(HEADS, base)
    if table is not None and (which is not None or table.head is not None):
        return _numbered(text, base, table, _number(parts, base, table, which))
    tag = parts.refs.find(TAGS, base)
    if tag is not None and tag.head is not None and which is None:
        return _named(parts, text, ObjectId(tag.head.version), tag.head.state)
    if _HEX.fullmatch(base) and which is None:
        return _by_hash(parts, text, base)
    raise NotFoundError(f"no model, tag or version '{base}'", hint=_HINT_LIST)


def _number(parts: Parts, name: str, table: RefTable, which: str | None) -> int | None:
    """The number that is asked for; None for the newest version.

    The best and that of a step are looked for among all that are not deleted; this reads them.
    """
    if which is None or which.isdecimal():
        return None if which is None else int(which)
    present = [row for row in table.rows.values() if row.state != "deleted"]
    if which.startswith("step="):
        step = int(which.removeprefix("step="))
        found = [r.number for r in present if step_of(parts.odb.version(r.version)) == step]
        if not found:
            raise NotFoundError(
                f"model '{name}' has no version of step {step}",
                hint=f"see them: mstore log {name}",
            )
        return max(found)
    return _best_number(parts, name, present, which[len("best(") : -1])


def _best_number(parts: Parts, name: str, present: Sequence[Row], wanted: str) -> int:
    rated = [Rated(row.number, _metrics(parts, row.version)) for row in present]
    known = sorted({metric for version in rated for metric in version.metrics})
    if not wanted:
        if len(known) != 1:
            raise InvalidInputError(
                f"'{name}@best' by which metric", hint=f"write {name}@best(METRIC): {_some(known)}"
            )
        wanted = known[0]
    metric_name, direction = metric(wanted)
    found = best(rated, metric_name, direction)
    if found is None:
        raise NotFoundError(
            f"no version of '{name}' has metric '{metric_name}'", hint=f"known: {_some(known)}"
        )
    return found.number


def _metrics(parts: Parts, version: bytes) -> dict[str, float]:
    return metrics_of(parts.odb.version(version), notes_of(parts, version))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) if names else "there are none"


def step_of(version: Version) -> int | None:
    """The training step that a version was made at, where it says so (SPEC §6.7)."""
    step = version.metadata.get(STEP)
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def _numbered(text: str, name: str, table: RefTable, number: int | None) -> Resolved:
    row: Row | None = table.head if number is None else table.rows.get(number)
    if row is None:
        raise NotFoundError(
            f"model '{name}' has no version {number}", hint=f"see them: mstore log {name}"
        )
    if row.state == "deleted":
        raise NotFoundError(
            f"'{name}@{row.number}' was deleted", hint=f"take it back: mstore undo {name}"
        )
    return Resolved(text, ObjectId(row.version), name, row.number, row.state)


def _by_hash(parts: Parts, text: str, digits: str) -> Resolved:
    if not _HEX.fullmatch(digits):
        raise InvalidInputError(
            f"'{digits}' is not a hash", hint=f"give {MIN_PREFIX} to 64 lower-case hex digits"
        )
    found = {oid for oid, kind in parts.odb.prefix(digits) if kind is Kind.VERSION}
    if not found:
        found = _with_model_hash(parts, digits)
    if not found:
        raise NotFoundError(f"no version with hash '{digits}'", hint=_HINT_LIST)
    if len(found) > 1:
        some = ", ".join(str(oid)[:16] for oid in sorted(found)[:5])
        raise InvalidInputError(
            f"hash '{digits}' is ambiguous: {some}", hint="give more digits", kind="ambiguous"
        )
    return _named(parts, text, found.pop())


def _with_model_hash(parts: Parts, digits: str) -> set[ObjectId]:
    newest: dict[bytes, ObjectId] = {}
    for table in parts.refs.tables(HEADS).values():
        for row in table.rows.values():
            if row.state == "deleted":
                continue
            model_hash = parts.odb.version(ObjectId(row.version)).model_hash
            if model_hash is not None and model_hash.hex().startswith(digits):
                newest[model_hash] = ObjectId(row.version)
    return set(newest.values())


def _named(parts: Parts, text: str, version: ObjectId, state: str | None = None) -> Resolved:
    named = Resolved(text, version, state=state or "kept")
    for name, table in parts.refs.tables(HEADS).items():
        for row in table.rows.values():
            if row.version == version and row.state != "deleted":
                named = Resolved(text, version, name, row.number, state or row.state)
                if row.state == "kept":
                    return named
    return named


def _ancestor(parts: Parts, found: Resolved, up: str) -> Resolved:
    steps = sum(int(step or "1") for step in up.split("~")[1:])
    if not steps:
        return found
    version = found.version
    for _ in range(steps):
        parents = parts.odb.version(version).parents
        if not parents:
            raise NotFoundError(f"'{found.text}': version {str(version)[:12]} has no parent")
        version = ObjectId(parents[0].id)
    return _named(parts, found.text, version)


def _rows(text: str | None) -> slice | int | None:
    if text is None:
        return None
    start, colon, stop = text[1:-1].partition(":")
    try:
        if not colon:
            return int(start)
        return slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError as error:
        raise InvalidInputError(f"'{text}' are not rows", hint="write [0:10] or [3]") from error

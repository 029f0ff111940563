"""What a version came from and what was made of it; everything that was made from a data set."""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from mstore.errors import InvalidInputError, NotFoundError
from mstore.ids import ObjectId
from mstore.ops.describe import State
from mstore.parts import Parts
from mstore.provenance.history import History, Known, read_history
from mstore.revision import resolve
from mstore.schema import SCHEMA_MODEL

MIN_DIGITS = 8
"""Hex digits of the hash of a data set that name it."""


class Origin(NamedTuple):
    """A parent of a version: how it came from it, its id, and its name if it has one here."""

    relation: str
    id: ObjectId
    label: str | None


class LineageRow(Struct, frozen=True):
    """One version of a lineage.

    ``steps`` is how far it is from where the question started: 0 there, less than 0 for ancestors,
    more for descendants. ``names_dataset`` says whether it names the data set asked for itself.
    """

    id: ObjectId
    names: tuple[str, ...]
    tags: tuple[str, ...]
    state: State
    time: int
    message: str
    steps: int
    names_dataset: bool
    parents: tuple[Origin, ...]


class Duplicate(Struct, frozen=True):
    """Names of several models for the very same weights, the oldest first."""

    model_hash: ObjectId
    names: tuple[str, ...]


class Lineage(Struct, frozen=True):
    """Versions and how they came from one another: newest first, no parent before its child."""

    versions: tuple[LineageRow, ...]
    duplicates: tuple[Duplicate, ...]


def lineage(
    parts: Parts, text: str, *, up: bool = True, down: bool = True, depth: int | None = None
) -> Lineage:
    """The ancestors and the descendants of a version, ``depth`` steps away at most.

    Other models' versions are among them. Errors as ``resolve``.
    """
    start = resolve(parts, text).version
    history = read_history(parts)
    if start not in history.known:
        raise NotFoundError(f"'{text}' is named by no model and no tag, nor came anything from it")
    steps = {oid: -count for oid, count in history.up([start], depth).items()} if up else {}
    if down:
        steps |= {oid: count for oid, count in history.down([start], depth).items() if count}
    steps.setdefault(start, 0)
    return _answer(history, steps, ())


def lineage_of_dataset(parts: Parts, dataset: str, *, depth: int | None = None) -> Lineage:
    """Every version that names a data set, or its hash, and all that was made of those.

    NotFoundError when none does.
    """
    history = read_history(parts)
    if not dataset:
        raise InvalidInputError("a data set has a name or a hash")
    starts = [oid for oid, known in history.known.items() if _uses(known, dataset)]
    if not starts:
        raise NotFoundError(
            f"no version names the data set '{dataset}'",
            hint="see what a version names: mstore show REV",
        )
    return _answer(history, history.down(starts, depth), starts)


def whole_history(parts: Parts) -> Lineage:
    """All versions of all models, but for those of the schema."""
    history = read_history(parts)
    shown = (oid for oid, known in history.known.items() if not _is_schema(known))
    return _answer(history, dict.fromkeys(shown, 0), ())


def _is_schema(known: Known) -> bool:
    return bool(known.names) and all(
        name.rpartition("@")[0] == SCHEMA_MODEL for name in known.names
    )


def _uses(known: Known, dataset: str) -> bool:
    version = known.version
    if dataset in version.datasets or dataset in version.dataset_ids:
        return True
    digits = dataset.removeprefix("blake3:")
    is_hash = len(digits) >= MIN_DIGITS
    return is_hash and any(oid.hex().startswith(digits) for oid in version.dataset_ids.values())


def _answer(history: History, steps: dict[ObjectId, int], starts: Iterable[ObjectId]) -> Lineage:
    naming = set(starts)
    rows = (
        _row(history, known, steps[known.id], names=known.id in naming)
        for known in history.ordered(steps)
    )
    return Lineage(tuple(rows), tuple(duplicates_among(history, steps)))


def _row(history: History, known: Known, steps: int, *, names: bool) -> LineageRow:
    return LineageRow(
        id=known.id,
        names=known.names,
        tags=known.tags,
        state=known.state,
        time=known.version.time,
        message=known.version.message,
        steps=steps,
        names_dataset=names,
        parents=tuple(_origin(history, *parent) for parent in known.parents),
    )


def _origin(history: History, oid: ObjectId, relation: str) -> Origin:
    known = history.known.get(oid)
    return Origin(relation, oid, known.names[0] if known is not None and known.names else None)


def duplicates_among(history: History, among: Iterable[ObjectId]) -> Iterable[Duplicate]:
    """Weights of these versions that several models have."""
    wanted = set(among)
    for group in history.duplicates(history.known):
        if wanted.isdisjoint(group):
            continue
        model_hash = history.known[group[0]].version.model_hash
        assert model_hash is not None
        names = (name for oid in group for name in history.known[oid].names)
        yield Duplicate(ObjectId(model_hash), tuple(names))

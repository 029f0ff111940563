"""What garbage collection would do, before anything is done (SPEC §4.6).

1. What a name needs is never dead. When anything that a name needs cannot be read, planning fails
   and nothing is changed.
2. Of the copies of one object exactly one is home; the others are dead.
3. Only whole packs are condemned. A pack with enough dead bytes is first written again without
   them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mstore.errors import CorruptError, MstoreError, NotFoundError
from mstore.format.pack import Entry
from mstore.ids import ObjectId
from mstore.ops.walk import reachable, walk_version
from mstore.parts import Parts
from mstore.refs import HEADS

REPACK_AT = 0.25
"""The share of a pack's bytes that must be dead before the rest is written again."""

Action = Literal["keep", "repack", "condemn"]
Progress = Callable[[int, int, int], None]
"""Called with bytes done, bytes in all, and bytes freed so far."""


@dataclass(frozen=True, slots=True)
class PackPlan:
    """One pack: its bytes on disk, those of them that names need, those that nothing needs."""

    key: str
    size_bytes: int
    live_bytes: int
    dead_bytes: int
    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Freed:
    """Bytes on disk that nobody needs any more: whose they were (``lenet@3``), and why."""

    label: str
    reason: str
    objects: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What gc would do to the packs that are live now; sizes are bytes on disk.

    ``objects`` counts those that names need. ``freed`` says whose bytes are dead: each dead
    object once, with the first version that had it.
    """

    packs: tuple[PackPlan, ...]
    freed: tuple[Freed, ...]
    objects: int

    def chosen(self, action: Action) -> list[PackPlan]:
        """The packs with one fate."""
        return [pack for pack in self.packs if pack.action == action]

    @property
    def dead_bytes(self) -> int:
        """Bytes of entries that nothing needs, in all live packs."""
        return sum(pack.dead_bytes for pack in self.packs)

    @property
    def freed_bytes(self) -> int:
        """Bytes of disk that carrying out the plan gives back in the end."""
        condemned = sum(pack.size_bytes for pack in self.chosen("condemn"))
        return condemned + sum(pack.dead_bytes for pack in self.chosen("repack"))


def needed_objects(parts: Parts) -> set[ObjectId]:
    """Every object that the names need, each known to be there.

    NotFoundError when one is missing, CorruptError when a description or a pack is damaged: then
    nothing may be deleted.
    """
    try:
        needed = reachable(parts)
        _add_bases(parts, needed)
    except (NotFoundError, CorruptError) as error:
        raise _refused(error) from error
    return needed


def _add_bases(parts: Parts, needed: set[ObjectId]) -> None:
    """Add what needed objects are stored as a difference from; each must be found."""
    waiting = list(needed)
    while waiting:
        oid = waiting.pop()
        found = parts.odb.find(oid)
        if found is None:
            raise NotFoundError(f"object '{oid}' is missing")
        base = found.entry.base
        if base is not None and base not in needed:
            needed.add(base)
            waiting.append(base)


def _refused(error: MstoreError) -> MstoreError:
    message = f"nothing was collected, because a name needs what cannot be read: {error}"
    return type(error)(message, hint="see what is hurt: mstore fsck", kind=error.kind)


def plan_gc(
    parts: Parts, *, repack_at: float = REPACK_AT, needed: set[ObjectId] | None = None
) -> GcPlan:
    """What gc would do with the packs that are live now. Reads every description once.

    NotFoundError or CorruptError when anything that a name needs cannot be read.
    """
    parts.odb.refresh()
    if needed is None:
        needed = needed_objects(parts)
    homes: set[ObjectId] = set()
    dead: dict[ObjectId, int] = {}
    ordered, packs = _in_order(parts, needed)
    for key, size in ordered:
        live, gone = _divide(parts.odb.entries(key), needed, homes)
        homes.update(entry.id for entry in live)
        for entry in gone:
            dead[entry.id] = dead.get(entry.id, 0) + entry.stored_size
        packs.append(_plan_pack(key, size, live, gone, repack_at))
    freed = tuple(_whose(parts, dead, needed))
    return GcPlan(tuple(sorted(packs, key=lambda pack: pack.key)), freed, len(needed))


def _in_order(parts: Parts, needed: set[ObjectId]) -> tuple[list[tuple[str, int]], list[PackPlan]]:
    """The live packs, and the plans of those whose index cannot be read.

    The first are home to what they share: those with nothing dead, then the largest.
    """
    ordered: list[tuple[float, int, str]] = []
    unreadable = []
    for key in parts.odb.packs():
        size = parts.backend.size(key)
        try:
            entries = parts.odb.entries(key)
        except MstoreError as error:
            reason = f"its index cannot be read: {error}"
            unreadable.append(PackPlan(key, size, 0, 0, "keep", reason))
            continue
        dead = sum(entry.stored_size for entry in entries if entry.id not in needed)
        ordered.append((dead / size, -size, key))
    return [(key, -size) for _, size, key in sorted(ordered)], unreadable


def home_entries(
    entries: Iterable[Entry], needed: set[ObjectId], elsewhere: set[ObjectId]
) -> list[Entry]:
    """The entries that are needed and not at home elsewhere, in the order of their bytes."""
    live = [entry for entry in entries if entry.id in needed and entry.id not in elsewhere]
    return sorted(live, key=lambda entry: entry.offset)


def _divide(
    entries: list[Entry], needed: set[ObjectId], homes: set[ObjectId]
) -> tuple[list[Entry], list[Entry]]:
    live = home_entries(entries, needed, homes)
    ids = {entry.id for entry in live}
    return live, [entry for entry in entries if entry.id not in ids]


def _plan_pack(
    key: str, size: int, live: list[Entry], dead: list[Entry], repack_at: float
) -> PackPlan:
    live_bytes = sum(entry.stored_size for entry in live)
    dead_bytes = sum(entry.stored_size for entry in dead)
    action: Action = "keep"
    reason = f"{len(live)} of its {len(live) + len(dead)} objects are needed"
    if not live:
        action, reason = "condemn", "nothing needs any of its objects"
    elif dead_bytes >= repack_at * size:
        action = "repack"
        reason = f"{dead_bytes} of its {size} bytes are dead"
    return PackPlan(key, size, live_bytes, dead_bytes, action, reason)


def _whose(parts: Parts, dead: dict[ObjectId, int], needed: set[ObjectId]) -> Iterator[Freed]:
    rest = dict(dead)
    twice = [oid for oid in dead if oid in needed]
    copies = sum(rest.pop(oid) for oid in twice)
    for label, state, version in _ended_versions(parts):
        if not rest:
            break
        found = [oid for oid in _what_is_left(parts, version) if oid in rest]
        if found:
            size = sum(rest.pop(oid) for oid in found)
            yield Freed(label, state, len(found), size)
    if rest:
        yield Freed("no name", "unfinished or undone work", len(rest), sum(rest.values()))
    if twice:
        yield Freed("copies", "the same objects lie in another pack too", len(twice), copies)


def _ended_versions(parts: Parts) -> Iterator[tuple[str, str, ObjectId]]:
    for name, table in parts.refs.tables(HEADS).items():
        for row in table.rows.values():
            if row.state != "kept":
                yield f"{name}@{row.number}", row.state, ObjectId(row.version)


def _what_is_left(parts: Parts, version: ObjectId) -> list[ObjectId]:
    """The objects of a version that may be partly gone, as far as they can be found."""
    found: list[ObjectId] = []
    try:
        for _, oid in walk_version(parts, version):
            found.append(oid)
    except (NotFoundError, CorruptError):
        return found
    return found

"""What garbage collection would do, before anything is done (SPEC §4.6).

1. What a name needs is never dead. When anything that a name needs cannot be read, planning fails
   and nothing is changed.
2. Of the copies of one object exactly one is home (``homes``); the others are dead. What a home
   has as base is needed.
3. Only whole packs are condemned. A pack with enough dead bytes is first written again without
   them. So are small packs, all together, once there are many: each costs every opening of the
   store some time.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct, structs

from mstore.errors import CorruptError, MstoreError, NotFoundError
from mstore.format.pack import Entry
from mstore.ids import ObjectId
from mstore.ops.homes import Homes
from mstore.ops.walk import reachable, walk_version
from mstore.parts import Parts
from mstore.refs import HEADS

REPACK_AT = 0.25
"""The share of a pack's bytes that must be dead before the rest is written again."""
SMALL_PACK = 1 << 20
MANY_PACKS = 64
"""Packs smaller than ``SMALL_PACK`` that may lie side by side before they are made one."""

Action = Literal["keep", "repack", "condemn"]
Progress = Callable[[int, int, int], None]
"""Called with bytes done, bytes in all, and bytes freed so far."""


class PackPlan(Struct, frozen=True):
    """One pack: its bytes on disk, those of them that names need, those that nothing needs."""

    key: str
    size_bytes: int
    live_bytes: int
    dead_bytes: int
    action: Action
    reason: str


class Freed(Struct, frozen=True):
    """Bytes on disk that nobody needs any more: whose they were (``lenet@3``), and why."""

    label: str
    reason: str
    objects: int
    stored_bytes: int


class GcPlan(Struct, frozen=True):
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
    """Every object that the names need, bases aside.

    NotFoundError or CorruptError when a description cannot be read: then nothing may be deleted.
    """
    try:
        return reachable(parts)
    except (NotFoundError, CorruptError) as error:
        raise _refused(error) from error


def find_homes(parts: Parts, named: set[ObjectId], live: list[str] | None = None) -> Homes:
    """Where each object that names need stays, its bases included; ``live`` packs in order.

    NotFoundError or CorruptError when one of them is nowhere, or when a base is.
    """
    homes = Homes(parts.odb, named)
    try:
        homes.settle(parts.odb.packs() if live is None else live, parts.odb.packs(condemned=True))
    except (NotFoundError, CorruptError) as error:
        raise _refused(error) from error
    return homes


def _refused(error: MstoreError) -> MstoreError:
    message = f"nothing was collected, because a name needs what cannot be read: {error}"
    return type(error)(message, hint="see what is hurt: mstore fsck", kind=error.kind)


def plan_gc(parts: Parts, *, repack_at: float = REPACK_AT) -> GcPlan:
    """What gc would do with the packs that are live now. Reads every description once.

    NotFoundError or CorruptError when anything that a name needs cannot be read.
    """
    parts.odb.refresh()
    return plan_with_homes(parts, needed_objects(parts), repack_at)[0]


def plan_with_homes(parts: Parts, named: set[ObjectId], repack_at: float) -> tuple[GcPlan, Homes]:
    """``plan_gc`` for the objects that names need, and which copies it keeps."""
    dead: dict[ObjectId, int] = {}
    ordered, packs = _in_order(parts, named)
    homes = find_homes(parts, named, [key for key, _ in ordered])
    for key, size in ordered:
        entries = parts.odb.entries(key)
        live = [entry for entry in entries if homes.is_home(entry.id, key)]
        gone = [entry for entry in entries if not homes.is_home(entry.id, key)]
        for entry in gone:
            dead[entry.id] = dead.get(entry.id, 0) + entry.stored_size
        packs.append(_plan_pack(key, size, live, gone, repack_at))
    packs = _fold_small(sorted(packs, key=lambda pack: pack.key))
    freed = tuple(_whose(parts, dead, homes.needed))
    return GcPlan(tuple(packs), freed, len(homes.needed)), homes


def _in_order(parts: Parts, named: set[ObjectId]) -> tuple[list[tuple[str, int]], list[PackPlan]]:
    """The live packs, and the plans of those whose index cannot be read.

    The first are home to what they share: those with nothing dead, then the largest. Any base of
    a needed object counts as needed here, as its home is not known yet.
    """
    found: list[tuple[str, int]] = []
    unreadable = []
    for key in parts.odb.packs():
        size = parts.backend.size(key)
        try:
            parts.odb.entries(key)
        except MstoreError as error:
            reason = f"its index cannot be read: {error}"
            unreadable.append(PackPlan(key, size, 0, 0, "keep", reason))
            continue
        found.append((key, size))
    needed = _with_any_base(parts, [key for key, _ in found], named)
    order = []
    for key, size in found:
        dead = sum(e.stored_size for e in parts.odb.entries(key) if e.id not in needed)
        order.append((dead / size, -size, key))
    return [(key, -size) for _, size, key in sorted(order)], unreadable


def _with_any_base(parts: Parts, keys: list[str], named: set[ObjectId]) -> set[ObjectId]:
    bases: dict[ObjectId, set[ObjectId]] = {}
    for key in keys:
        for entry in parts.odb.entries(key):
            if entry.base is not None:
                bases.setdefault(entry.id, set()).add(entry.base)
    needed = set(named)
    waiting = [oid for oid in bases if oid in needed]
    while waiting:
        fresh = bases.get(waiting.pop(), set()) - needed
        needed |= fresh
        waiting += fresh
    return needed


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


def _fold_small(packs: list[PackPlan]) -> list[PackPlan]:
    """The same plans, or with all small packs to be written again where they are many."""
    small = {p.key for p in packs if p.live_bytes and p.size_bytes < SMALL_PACK}
    if len(small) <= MANY_PACKS:
        return packs
    reason = f"it is one of {len(small)} packs of less than {SMALL_PACK >> 20} MiB"
    return [
        structs.replace(pack, action="repack", reason=reason)
        if pack.key in small and pack.action == "keep"
        else pack
        for pack in packs
    ]


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

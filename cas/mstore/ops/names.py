"""Names move, history stays: tag, rename, copy, delete, revert and undo.

Every change is one more slot of a name, so each can be undone while the bytes still exist.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from mstore.errors import ConflictError, InvalidInputError, NotFoundError
from mstore.format.slots import Row, Slot, check_ref_name
from mstore.ids import ObjectId
from mstore.objects import Parent
from mstore.ops.revive import keep_alive, revive
from mstore.ops.walk import Bases, reachable, stored_bytes
from mstore.parts import Parts, Transaction
from mstore.refs import HEADS, TAG_ROW, TAGS, Change, RefTable
from mstore.revision import Resolved, resolve

_RENAME_FROM = "rename from "
_RENAME_TO = "rename to "


class Moved(Struct, frozen=True):
    """What a change of a name did; ``labels`` are the versions it touched."""

    name: str
    action: str
    labels: tuple[str, ...]
    version: ObjectId | None = None
    dry_run: bool = False


class Deleted(Moved, frozen=True):
    """What a deletion did; a dry run says in ``freed_bytes`` what gc could give back then."""

    freed_bytes: int | None = None


class TagRow(NamedTuple):
    """A tag, the version it means, and who made it mean that, when and why."""

    name: str
    version: ObjectId
    author: str
    time: int
    reason: str


class _Said(NamedTuple):
    """Why a name changes, and who says so."""

    reason: str
    author: str


def tag_version(
    parts: Parts, version: ObjectId, tag: str, *, author: str = "", reason: str = "tag"
) -> Moved:
    """Let ``tag`` mean ``version``; ConflictError when a model has that name."""
    check_ref_name(tag)
    model = parts.refs.find(HEADS, tag)
    if model is not None and model.head is not None:
        raise ConflictError(f"'{tag}' is a model", hint="choose another tag")

    row = Row(TAG_ROW, bytes(version), "kept")
    with Transaction(parts) as transaction:
        require_held(parts, version)
        keep_alive(parts, [version])
        if tag_value(parts, tag) != version:
            transaction.commit(TAGS, tag, lambda _: Change((row,), reason or "tag", author))
    return Moved(tag, "tagged", _labels_of(parts, version), version)


def tag_value(parts: Parts, tag: str) -> ObjectId | None:
    """The version that a tag means, or None when there is no such tag."""
    table = parts.refs.find(TAGS, tag)
    return ObjectId(table.head.version) if table and table.head else None


def tags(parts: Parts) -> dict[str, ObjectId]:
    """Every tag and the version it means."""
    heads = {name: table.head for name, table in parts.refs.tables(TAGS).items()}
    return {name: ObjectId(head.version) for name, head in heads.items() if head}


def tag_rows(parts: Parts) -> list[TagRow]:
    """Every tag by name, with its last change."""
    found = []
    for name, version in sorted(tags(parts).items()):
        slot = parts.refs.history(TAGS, name)[0]
        found.append(TagRow(name, version, slot.author, slot.time, slot.reason))
    return found


def delete_tag(parts: Parts, tag: str, *, dry_run: bool = False, author: str = "") -> Moved:
    """Take a tag away; the version it meant keeps its other names."""
    version = tag_value(parts, tag)
    if version is None:
        raise NotFoundError(f"no tag '{tag}'", hint="see them: mstore tag")
    if not dry_run:
        _end(parts, (TAGS, tag), [TAG_ROW], _Said("delete", author))
    return Moved(tag, "deleted", (), version, dry_run)


def delete(parts: Parts, text: str, *, dry_run: bool = False, author: str = "") -> Deleted:
    """Delete a tag, one version (``lenet@3``) or a whole model (``lenet``).

    ConflictError when a tag still means one of the versions. The bytes stay until ``gc``. A dry
    run walks the store's descriptions twice.
    """
    table = parts.refs.find(HEADS, text)
    if table is None or table.head is None:
        if tag_value(parts, text) is not None:
            tag = delete_tag(parts, text, dry_run=dry_run, author=author)
            return Deleted(text, tag.action, (), tag.version, dry_run)
        target = resolve(parts, text)
        name, numbers = _numbered(target)
    else:
        name = text
        numbers = [row.number for row in table.rows.values() if row.state != "deleted"]
    table = parts.refs.table(HEADS, name)
    _refuse_tagged(parts, table, numbers)
    labels = _labels(name, numbers)
    if dry_run:
        bases = Bases(parts.odb)
        staying = bases.with_bases(reachable(parts, {name: numbers}))
        going = bases.with_bases(reachable(parts)) - staying
        return Deleted(name, "deleted", labels, None, dry_run, stored_bytes(parts.odb, going))
    _end(parts, (HEADS, name), numbers, _Said("delete", author))
    return Deleted(name, "deleted", labels)


def rename(parts: Parts, old: str, new: str, *, author: str = "") -> Moved:
    """Give every version of ``old`` the name ``new``; numbers stay.

    The new name is complete before the old one ends, so a crash between leaves both.
    """
    check_ref_name(new)

    def change(table: RefTable | None) -> Change:
        # Asked when it is written: another program may have taken the name meanwhile.
        if (table is not None and table.head is not None) or tag_value(parts, new) is not None:
            raise ConflictError(f"name '{new}' is taken", hint="choose another name")
        return Change(rows, _RENAME_FROM + old, author)

    with Transaction(parts) as transaction:
        source = parts.refs.table(HEADS, old)
        if source.head is None:
            raise NotFoundError(f"no model named '{old}'", hint="see what there is: mstore list")
        rows = tuple(source.rows.values())
        keep_alive(parts, _versions(rows, "kept"), _versions(rows, "stripped"))
        transaction.publish()
        transaction.commit(HEADS, new, change)
    numbers = [row.number for row in rows if row.state != "deleted"]
    _end(parts, (HEADS, old), numbers, _Said(_RENAME_TO + new, author))
    return Moved(new, "renamed", _labels(new, numbers))


def revert(parts: Parts, text: str, *, author: str = "", message: str = "") -> Moved:
    """A new version of the model with the files of an older one; its parent is the newest."""
    target = resolve(parts, text)
    name, _ = _numbered(target)
    with Transaction(parts) as transaction:
        require_held(parts, target.version)
        head = parts.refs.table(HEADS, name).head
        old = parts.odb.version(target.version)
        parents = (Parent(head.version, "reverted"),) if head else ()
        keep_alive(parts, [target.version], [ObjectId(parent.id) for parent in parents])
        again = msgspec.structs.replace(
            old,
            time=parts.clock(),
            parents=parents,
            author=author,
            message=message or f"revert to {target.label}",
        )
        oid = transaction.writer.add_object(again)
        transaction.publish()
        table = transaction.commit(HEADS, name, lambda t: _next_row(t, oid, author, "revert"))
    return Moved(name, "reverted", (f"{name}@{max(table.rows)}",), oid)


def copy(parts: Parts, text: str, new: str, *, author: str = "", message: str = "") -> Moved:
    """A new model that begins as a version is: its files, what it says of itself, no new bytes.

    ConflictError when the name is taken.
    """
    check_ref_name(new)
    target = resolve(parts, text)

    def change(table: RefTable | None) -> Change:
        if (table is not None and table.head is not None) or tag_value(parts, new) is not None:
            raise ConflictError(f"name '{new}' is taken", hint="choose another name")
        return _next_row(table, oid, author, f"copy of {target.label}")

    with Transaction(parts) as transaction:
        require_held(parts, target.version)
        keep_alive(parts, [target.version])
        again = msgspec.structs.replace(
            parts.odb.version(target.version),
            time=parts.clock(),
            parents=(Parent(bytes(target.version), "copied"),),
            author=author,
            message=message or f"copy of {target.label}",
            tags=(),
        )
        oid = transaction.writer.add_object(again)
        transaction.publish()
        table = transaction.commit(HEADS, new, change)
    return Moved(new, "copied", (f"{new}@{max(table.rows)}",), oid)


def undo(parts: Parts, name: str, *, author: str = "") -> Moved:
    """Take back the newest change of a model's name or of a tag; undoing twice does it again.

    NotFoundError when bytes that the earlier state needs were already deleted by gc.
    """
    model = parts.refs.find(HEADS, name)
    is_tag = model is None or (model.head is None and tag_value(parts, name) is not None)
    namespace = TAGS if is_tag else HEADS
    slots = parts.refs.history(namespace, name)
    if not slots:
        raise NotFoundError(f"no name '{name}'", hint="see what there is: mstore list")
    other = slots[0].reason
    if namespace == HEADS and other.startswith(_RENAME_FROM):
        return rename(parts, name, other.removeprefix(_RENAME_FROM), author=author)
    if namespace == HEADS and other.startswith(_RENAME_TO):
        return rename(parts, other.removeprefix(_RENAME_TO), name, author=author)
    with Transaction(parts) as transaction:
        rows = _rows_before(slots)
        _refuse_other_kind(parts, namespace, name, rows)
        revive(parts, _versions(rows, "kept"), _versions(rows, "stripped"))
        transaction.publish()
        transaction.commit(namespace, name, lambda table: _undoing(table, slots[0], rows, author))
    return Moved(name, f"undone: {other}", _labels(name, [row.number for row in rows]))


def _refuse_other_kind(parts: Parts, namespace: str, name: str, rows: Iterable[Row]) -> None:
    """A name is a model's or a tag's, never both (SPEC §9.1)."""
    other = parts.refs.find(HEADS if namespace == TAGS else TAGS, name)
    if other is not None and other.head is not None and any(r.state != "deleted" for r in rows):
        noun = "model" if namespace == TAGS else "tag"
        raise ConflictError(f"'{name}' is a {noun} now", hint=f"rename or delete the {noun} first")


def _versions(rows: Iterable[Row], state: str) -> list[ObjectId]:
    return [ObjectId(row.version) for row in rows if row.state == state]


def require_held(parts: Parts, version: ObjectId) -> None:
    """NotFoundError unless a name keeps every byte of ``version``; call under a lease."""
    tables = (*parts.refs.tables(HEADS).values(), *parts.refs.tables(TAGS).values())
    rows = [row for table in tables for row in table.rows.values()]
    if not any(row.version == version and row.state == "kept" for row in rows):
        raise NotFoundError(
            f"no name keeps the bytes of version {version}",
            hint="it was deleted or stripped; see mstore undo, or pull it again",
        )


def _next_row(table: RefTable | None, oid: ObjectId, author: str, reason: str) -> Change:
    number = 1 if table is None else table.next_number
    return Change((Row(number, bytes(oid), "kept"),), reason, author)


def _rows_before(slots: list[Slot]) -> tuple[Row, ...]:
    """The rows that the newest slot changed, as they were before it."""
    older: dict[int, Row] = {}
    for slot in reversed(slots[1:]):
        older.update({row.number: row for row in slot.rows})
    return tuple(
        older.get(row.number, Row(row.number, row.version, "deleted"))
        for row in slots[0].rows
        if older.get(row.number) != row
    )


def _undoing(table: RefTable | None, newest: Slot, rows: tuple[Row, ...], author: str) -> Change:
    if table is None or table.generation != newest.generation:
        raise ConflictError("the name changed meanwhile", hint="look at it again, then undo")
    return Change(rows, "undo", author)


def _end(parts: Parts, ref: tuple[str, str], numbers: Sequence[int], said: _Said) -> None:
    """Mark rows of a name as deleted."""

    def change(table: RefTable | None) -> Change:
        rows = {} if table is None else table.rows
        ended = (msgspec.structs.replace(rows[n], state="deleted") for n in numbers)
        return Change(tuple(ended), said.reason, said.author)

    with Transaction(parts) as transaction:
        transaction.commit(*ref, change)


def _refuse_tagged(parts: Parts, table: RefTable, numbers: list[int]) -> None:
    going = {table.rows[number].version for number in numbers}
    staying = {
        row.version
        for number, row in table.rows.items()
        if number not in numbers and row.state == "kept"
    }
    for tag, version in tags(parts).items():
        if version in going - staying:
            raise ConflictError(
                f"tag '{tag}' still means one of these versions",
                hint=f"delete the tag first: mstore delete {tag}",
            )


def _numbered(target: Resolved) -> tuple[str, list[int]]:
    if target.name is None or target.number is None:
        raise InvalidInputError(
            f"'{target.text}' has no name here", hint="give NAME@NUMBER; see mstore list"
        )
    return target.name, [target.number]


def _labels(name: str, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"{name}@{number}" for number in sorted(numbers))


def _labels_of(parts: Parts, version: ObjectId) -> tuple[str, ...]:
    return tuple(
        f"{name}@{row.number}"
        for name, table in parts.refs.tables(HEADS).items()
        for row in table.rows.values()
        if row.version == version and row.state != "deleted"
    )

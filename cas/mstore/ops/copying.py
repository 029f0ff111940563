"""What every transfer shares: which rows and objects the far side lacks, and bringing them there.

1. Every object is verified by its id when it is read, and only then written (``sending``).
2. Objects are published in packs as they come, so what arrived before a kill is never sent again.
3. A name changes only inside a transaction that has seen each object it needs live (rule W2), so
   nothing depends on what an earlier, finished transaction saw.
4. Rows are only added: a number never comes to mean another version.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct, field, structs

from mstore.errors import ConflictError, CorruptError, NotFoundError
from mstore.format.slots import Row
from mstore.ids import ObjectId
from mstore.odb import ObjectDatabase
from mstore.ops.sending import Carrier, Form, Recoder
from mstore.ops.shelf import Shelf
from mstore.ops.sketches import note_unseen
from mstore.ops.walk import ancestors, closure
from mstore.parts import Parts, Transaction
from mstore.refs import HEADS, NOTES, TAGS, Change, RefTable

PUBLISH_EVERY = 256 << 20
"""Bytes after which what has arrived is made durable; a kill costs at most these."""

Progress = Callable[[int, int, int], None]
"""Told the bytes done, the bytes in all, and how many of those done were new."""


class Offer(Struct, frozen=True):
    """The rows of one name that travel; a kept row travels with its bytes.

    ``restore`` has the numbers of rows that get their bytes back where the receiver stripped or
    deleted them. ``explicit`` marks a tag that was asked for: then a conflict is an error.
    """

    namespace: str
    name: str
    rows: tuple[Row, ...]
    restore: frozenset[int] = frozenset()
    explicit: bool = False

    @property
    def is_ended(self) -> bool:
        """Whether it is a model whose versions were all deleted: then only its numbers travel."""
        return self.namespace == HEADS and all(row.state == "deleted" for row in self.rows)


class Needs(NamedTuple):
    """What rows need: versions with their bytes, or only described, and notes."""

    kept: frozenset[ObjectId]
    described: frozenset[ObjectId]
    notes: frozenset[ObjectId] = frozenset()


class Sender(Protocol):
    """Where objects come from. ``proven``: ``objects`` is all that the versions are made of."""

    odb: ObjectDatabase
    proven: bool

    def objects(self, needs: Needs) -> set[ObjectId]:
        """The ids that have to be at the receiver before its names may need ``needs``."""


class Tally(Struct):
    """What a transfer has done so far, in objects and in bytes before compression."""

    progress: Progress | None = None
    total: int = 0
    objects: int = 0
    sent: int = 0
    already: int = 0
    names: dict[str, int] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    refused_tags: list[str] = field(default_factory=list)
    notes: int = 0

    def add(self, size: int, *, new: bool) -> None:
        """Count one object."""
        self.objects += new
        self.sent += size if new else 0
        self.already += 0 if new else size
        if self.progress is not None:
            self.progress(self.sent + self.already, max(self.total, self.sent), self.sent)


class StoreSender:
    """Sends from an open store, whose own walk says what versions are made of."""

    proven = True

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._walked: tuple[Needs, set[ObjectId]] | None = None
        self.odb = parts.odb

    def objects(self, needs: Needs) -> set[ObjectId]:
        """Every object of the kept versions, and all but the chunks of the described ones."""
        if self._walked is None or self._walked[0] != needs:
            self._walked = needs, needed_objects(self._parts, needs)
        return self._walked[1]


def needs_of(rows: Iterable[tuple[str, Row]]) -> Needs:
    """What some rows of namespaces need, their ancestors aside."""
    found: dict[str, set[ObjectId]] = {"kept": set(), "stripped": set(), NOTES: set()}
    for namespace, row in rows:
        group = NOTES if namespace == NOTES else row.state
        found.setdefault(group, set()).add(ObjectId(row.version))
    kept = frozenset(found["kept"])
    return Needs(kept, frozenset(found["stripped"]) - kept, frozenset(found[NOTES]))


def needed_objects(parts: Parts, needs: Needs) -> set[ObjectId]:
    """The objects behind ``needs``, with the descriptions of every ancestor.

    NotFoundError or CorruptError when a description or a note cannot be read.
    """
    described = needs.described | set(ancestors(parts, needs.kept | needs.described))
    found = closure(parts, needs.kept, payload=True)
    found |= closure(parts, described - needs.kept, payload=False)
    for oid in needs.notes:
        parts.odb.note(oid)
    return found | needs.notes


def merge_rows(offer: Offer, table: RefTable | None, *, force: bool = False) -> tuple[Row, ...]:
    """The rows that have to be written so that ``table`` holds what is offered.

    ConflictError when a number means another version there, or a tag would move without ``force``.
    """
    if offer.namespace == NOTES:
        return _merge_notes(offer, table)
    if offer.namespace != HEADS:
        return _merge_tag(offer, table, force=force)
    rows = {} if table is None else table.rows
    changed = []
    for row in offer.rows:
        mine = rows.get(row.number)
        if mine is not None and mine.version != row.version:
            raise _diverged(offer.name, mine, row)
        restored = (
            row.number in offer.restore and mine is not None and mine.state != row.state == "kept"
        )
        if mine is None or restored:
            changed.append(row)
    return tuple(changed)


def _merge_tag(offer: Offer, table: RefTable | None, *, force: bool) -> tuple[Row, ...]:
    (row,) = offer.rows
    newest = None if table is None else newest_row(table)
    if newest is not None and newest.state != "deleted":
        if newest.version == row.version:
            restored = offer.restore and newest.state != row.state == "kept"
            return (replace_row(newest, "kept"),) if restored else ()
        if not force:
            raise ConflictError(
                f"tag '{offer.name}' names version {_short(newest)} there, not {_short(row)}",
                hint="move it with --force, or tag the version with another name",
            )
    number = 1 if table is None else table.next_number
    return (Row(number, row.version, row.state),)


def _merge_notes(offer: Offer, table: RefTable | None) -> tuple[Row, ...]:
    """The notes that are not there, under numbers of that store: a set has no other order."""
    held = set() if table is None else {row.version for row in table.rows.values()}
    number = 1 if table is None else table.next_number
    lacking = [row.version for row in offer.rows if row.version not in held]
    return tuple(Row(number + at, oid, "kept") for at, oid in enumerate(lacking))


def replace_row(row: Row, state: str) -> Row:
    """The same numbered version in another state: kept, stripped or deleted."""
    return msgspec.structs.replace(row, state=state)


def _diverged(name: str, mine: Row, theirs: Row) -> ConflictError:
    return ConflictError(
        f"'{name}' has diverged: {name}@{theirs.number} is version {_short(theirs)} at the sender"
        f" and version {_short(mine)} at the receiver",
        hint="both are kept: send it under a new name with --as NEWNAME",
    )


def _short(row: Row) -> str:
    return row.version.hex()[:12]


def carrier_between(
    sender: Sender, target: Parts, needs: Needs, form: Form = "keep", *, more_bases: bool = True
) -> Carrier:
    """What brings objects from ``sender`` to ``target``; ``needs`` says which tensors they are of.

    What a sender does not have, though its objects are based on it, is taken from ``target``.
    """
    shelf = Shelf(sender.odb, None if sender.proven else target.odb)
    recoder = Recoder((sender.odb, target.odb), lambda: sender.objects(needs))
    return Carrier(shelf, target.odb, recoder, form, more_bases=more_bases)


def copy_objects(carrier: Carrier, target: Parts, oids: set[ObjectId], tally: Tally) -> None:
    """Bring the objects that ``target`` lacks, pack by pack in the order of the sender's packs.

    Durable every ``PUBLISH_EVERY`` bytes; calling it again continues where it stopped.
    """
    target.odb.refresh()
    lacking = {oid for oid in oids if not target.odb.is_live(oid)}
    waiting = carrier.plan(lacking)
    sizes = [_size(target.odb, oid) for oid in oids - lacking]
    tally.total = sum(sizes) + sum(location.entry.raw_size for location in waiting)
    for size in sizes:
        tally.add(size, new=False)
    while waiting:
        with Transaction(target) as transaction:
            carrier.send(transaction.writer, waiting, tally.add, PUBLISH_EVERY)
            transaction.publish()


def _size(odb: ObjectDatabase, oid: ObjectId) -> int:
    location = odb.find(oid)
    return 0 if location is None else location.entry.raw_size


def commit_offer(
    sender: Sender,
    target: Parts,
    offer: Offer,
    tally: Tally,
    reason: str,
    *,
    carrier: Carrier | None = None,
    force: bool = False,
) -> tuple[Row, ...]:
    """Change one name of ``target`` to hold what is offered; the rows that were written.

    Brings again whatever gc took since ``copy_objects``. Nothing is written when nothing differs.
    """
    with Transaction(target) as transaction:
        rows = merge_rows(offer, target.refs.find(offer.namespace, offer.name), force=force)
        if not rows:
            return ()
        needs = needs_of((offer.namespace, row) for row in rows)
        lacking = {oid for oid in sender.objects(needs) if not target.odb.is_live(oid)}
        if lacking:
            carrier = carrier or carrier_between(sender, target, needs)
            carrier.send(transaction.writer, carrier.plan(lacking), tally.add, limit=1 << 62)
        transaction.publish()
        if not sender.proven:
            check_complete(target, needs)
        planned = {row.number for row in rows}

        def change(table: RefTable | None) -> Change:
            merged = merge_rows(offer, table, force=force)
            if offer.namespace == HEADS:
                merged = tuple(row for row in merged if row.number in planned)
            return Change(merged, reason)

        transaction.commit(offer.namespace, offer.name, change)
    return rows


def check_complete(parts: Parts, needs: Needs) -> None:
    """CorruptError unless every object behind ``needs`` is here: then the sender left some out."""
    try:
        # What it left out may be based on what is elsewhere, if a name has kept it before.
        missing = [oid for oid in needed_objects(parts, needs) if not parts.odb.is_held(oid)]
    except NotFoundError as error:
        raise CorruptError(f"what arrived is not complete: {error}") from error
    if missing:
        raise CorruptError(f"what arrived is not complete: it lacks object '{missing[0]}'")


def receive(
    sender: Sender,
    target: Parts,
    offers: Sequence[Offer],
    reason: str,
    *,
    force: bool = False,
    form: Form = "keep",
    more_bases: bool = True,
    progress: Progress | None = None,
) -> Tally:
    """Bring everything that is offered: first all objects, then one name after another.

    ConflictError, before anything is sent, when a name has diverged. Tags that stand elsewhere at
    the receiver stay as they are unless they were asked for by name. Without ``more_bases``
    nothing travels that the names at the receiver do not need (``sending``).
    """
    tally = Tally(progress)
    accepted = accept(target, offers, tally, force=force)
    needs = needs_of((offer.namespace, row) for offer, changed in accepted for row in changed)
    carrier = carrier_between(sender, target, needs, form, more_bases=more_bases)
    if any(needs):
        copy_objects(carrier, target, sender.objects(needs), tally)
        note_unseen(target.backend)
    for offer, _ in accepted:
        if offer.is_ended:
            _end_numbers(target, offer, reason)
            continue
        written = commit_offer(sender, target, offer, tally, reason, carrier=carrier, force=force)
        if offer.namespace == HEADS:
            tally.names[offer.name] = len(written)
        elif offer.namespace == NOTES:
            tally.notes += len(written)
        elif written:
            tally.tags.append(offer.name)
    return tally


def _end_numbers(target: Parts, offer: Offer, reason: str) -> None:
    """Note which numbers of a model were given, so that the receiver gives none of them again."""

    def change(table: RefTable | None) -> Change:
        return Change(merge_rows(offer, table), reason)

    with Transaction(target) as transaction, suppress(ConflictError):
        # A name that differs only in case, say, is worth more than these numbers.
        if merge_rows(offer, target.refs.find(HEADS, offer.name)):
            transaction.commit(HEADS, offer.name, change)


def accept(
    target: Parts, offers: Sequence[Offer], tally: Tally, *, force: bool
) -> list[tuple[Offer, tuple[Row, ...]]]:
    """Each offer with the rows that it changes; tags that may not move are only noted."""
    accepted = []
    stripped: set[bytes] = set()
    for offered in offers:
        offer = _without_bytes(offered, stripped)
        table = target.refs.find(offer.namespace, offer.name)
        try:
            _refuse_other_kind(target, offer)
            rows = merge_rows(offer, table, force=force)
        except ConflictError:
            if offer.is_ended:
                # The receiver has that name for something else: it gives its own numbers.
                continue
            if offer.namespace == HEADS or offer.explicit:
                raise
            tally.refused_tags.append(offer.name)
            continue
        if offer.namespace == HEADS:
            merged = ({} if table is None else table.rows) | {row.number: row for row in rows}
            stripped |= {row.version for row in merged.values() if row.state == "stripped"}
        accepted.append((offer, rows))
    return accepted


def _refuse_other_kind(target: Parts, offer: Offer) -> None:
    """ConflictError when a model would get the name of a tag, or a tag that of a model."""
    if offer.namespace == NOTES:
        return
    other, noun = (TAGS, "tag") if offer.namespace == HEADS else (HEADS, "model")
    table = target.refs.find(other, offer.name)
    newest = None if table is None else table.head if other == HEADS else newest_row(table)
    if newest is not None and newest.state != "deleted":
        raise ConflictError(
            f"'{offer.name}' is a {noun} at the receiver", hint="send it with --as NEWNAME"
        )


def newest_row(table: RefTable) -> Row:
    """The row that counts in a tag's table, be it deleted."""
    return table.rows[max(table.rows)]


def _without_bytes(offer: Offer, stripped: set[bytes]) -> Offer:
    """The offer, or a tag without the bytes of a version that the receiver stripped.

    A tag that was not asked for only follows its model.
    """
    if offer.namespace != TAGS or offer.explicit or offer.rows[0].version not in stripped:
        return offer
    return structs.replace(offer, rows=(replace_row(offer.rows[0], "stripped"),))

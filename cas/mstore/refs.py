"""Names: append-only slots that say which versions a name holds (SPEC §9).

A ref is a folder of slots, one file per generation, made by ``link`` and never changed. Its
table of numbered rows is the fold of the slots from the newest full one onwards. A change is
committed by creating the next generation: whoever comes second finds the slot taken, looks
again and retries, so no change is ever lost.
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from mstore.backends.base import Backend, Lease
from mstore.errors import (
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from mstore.format.slots import (
    FULL_AFTER,
    FULL_ROWS,
    Row,
    Slot,
    check_ref_name,
    decode_slot,
    encode_slot,
    parse_generation,
    quote_name,
    slot_hash,
    slot_key,
    unquote_name,
)

HEADS = "heads"
TAGS = "tags"
NOTES = "notes"
REMOTES = "remotes"
TAG_ROW = 1
"""The number of the only row of a tag."""

_EPOCH = re.compile(r"[0-9a-f]{16}", re.ASCII)

Clock = Callable[[], int]
"""Gives UTC microseconds since 1970."""


class RefTable(NamedTuple):
    """What a name holds at one generation; ``rows`` is keyed and ordered by number.

    ``since_full`` counts the slots that were read to find that out.
    """

    generation: int
    slot_hash: bytes
    rows: dict[int, Row]
    place: str = ""
    since_full: int = 1

    @property
    def head(self) -> Row | None:
        """The newest row that is not deleted."""
        present = [number for number, row in self.rows.items() if row.state != "deleted"]
        return self.rows[max(present)] if present else None

    @property
    def next_number(self) -> int:
        """The number that the next version gets; numbers are never used twice."""
        return max(self.rows, default=0) + 1


class Change(NamedTuple):
    """What a slot adds to a name: the rows that are new or differ, by whom and why."""

    rows: tuple[Row, ...]
    reason: str
    author: str = ""
    place: str = ""


class RefStore:
    """The names of one store."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        # Slots never change, so what was folded once holds for as long as it is the newest.
        self._folded: dict[tuple[str, str], RefTable] = {}

    def names(self, namespace: str) -> list[str]:
        """The names that have at least one slot, sorted; rows may all be deleted."""
        return [name for name in self._folders(namespace) if self._generations(namespace, name)]

    def tables(self, namespace: str) -> dict[str, RefTable]:
        """The table of every name in a namespace. Cost: a listing and a few reads per name."""
        found = {name: self.find(namespace, name) for name in self._folders(namespace)}
        return {name: table for name, table in found.items() if table is not None}

    def newest(self, namespace: str) -> dict[str, int]:
        """The newest generation of every name. Cost: a listing per name; no slot is read."""
        listed = {
            name: max(self._backend.names(_folder(namespace, name)), default="")
            for name in self._folders(namespace)
        }
        return {name: parse_generation(last) for name, last in listed.items() if last}

    def slot_hash(self, namespace: str, name: str, generation: int) -> bytes:
        """The hash that a slot ends with, as it stands; NotFoundError when there is no slot."""
        return slot_hash(self._backend.read(slot_key(namespace, name, generation)))

    def table(self, namespace: str, name: str) -> RefTable:
        """The table of one name; NotFoundError when there is none."""
        table = self.find(namespace, name)
        if table is None:
            noun = {HEADS: "model", TAGS: "tag"}.get(namespace, "name")
            raise NotFoundError(f"no {noun} named '{name}'", hint="see what there is: mstore list")
        return table

    def find(self, namespace: str, name: str) -> RefTable | None:
        """The table of one name, or None when it has no slot or could not be a name."""
        if not is_ref_name(name):
            return None
        newest = max(self._backend.names(_folder(namespace, name)), default=None)
        if newest is None:
            return None
        known = self._folded.get((namespace, name))
        if known is None or f"{known.generation:016x}" != newest:
            known = self._fold(namespace, name, parse_generation(newest))
            self._folded[namespace, name] = known
        return known

    def _fold(self, namespace: str, name: str, newest: int) -> RefTable:
        slots, newest_hash = self._read_back_to_full(namespace, name, newest)
        rows: dict[int, Row] = {}
        for slot in reversed(slots):
            rows.update({row.number: row for row in slot.rows})
        ordered = {number: rows[number] for number in sorted(rows)}
        return RefTable(newest, newest_hash, ordered, slots[0].place, len(slots))

    def history(self, namespace: str, name: str) -> list[Slot]:
        """Every slot that is kept of a name, newest first: the reflog."""
        if not is_ref_name(name):
            return []
        generations = self._generations(namespace, name)
        return [self._read(namespace, name, number)[0] for number in reversed(generations)]

    def commit(
        self, lease: Lease, namespace: str, name: str, change: Callable[[RefTable | None], Change]
    ) -> RefTable:
        """Add one slot to a name and return the table it makes; durable on return.

        ``change`` is asked again each time another writer was first. ConflictError when gc broke
        the lease meanwhile or a name that differs only in case exists.
        """
        check_ref_name(name)
        while True:
            before = self.find(namespace, name)
            if before is None:
                self._refuse_twin(namespace, name)
            slot, content = self._next_slot(f"{namespace}/{name}", before, change(before))
            if before is not None:
                # Its writer may not have come to that: a slot must never outlive the one before.
                self._backend.sync(f"refs/{namespace}/{quote_name(name)}")
            try:
                lease.commit(slot_key(namespace, name, slot.generation), content)
            except ExistsError:
                continue
            rows = {row.number: row for row in slot.rows}
            merged = rows if before is None else before.rows | rows
            return RefTable(slot.generation, slot_hash(content), merged, slot.place)

    def _next_slot(self, ref: str, before: RefTable | None, change: Change) -> tuple[Slot, bytes]:
        generation = 1 if before is None else before.generation + 1
        rows = change.rows
        full = (
            before is not None and before.since_full >= FULL_AFTER + len(before.rows) // FULL_ROWS
        )
        if full and before is not None:
            merged = before.rows | {row.number: row for row in rows}
            rows = tuple(merged[number] for number in sorted(merged))
        slot = Slot(
            generation=generation,
            previous=b"" if before is None else before.slot_hash,
            time=self._clock(),
            transaction=os.urandom(16),
            author=change.author,
            reason=change.reason,
            rows=rows,
            full=full,
            place=change.place,
            ref=ref,
        )
        return slot, encode_slot(slot)

    def _read_back_to_full(
        self, namespace: str, name: str, newest: int
    ) -> tuple[list[Slot], bytes]:
        """The slots from the newest back to a full one or the first, each named by the next."""
        slots: list[Slot] = []
        newest_hash = expected = b""
        for generation in range(newest, 0, -1):
            slot, content = self._read(namespace, name, generation)
            found = slot_hash(content)
            newest_hash = newest_hash or found
            if expected and found != expected:
                key = slot_key(namespace, name, generation)
                message = f"slot '{key}' is not the one that the next names"
                raise CorruptError(message, hint="run: mstore fsck")
            slots.append(slot)
            expected = slot.previous
            if slot.full:
                break
        return slots, newest_hash

    def _read(self, namespace: str, name: str, generation: int) -> tuple[Slot, bytes]:
        key = slot_key(namespace, name, generation)
        try:
            content = self._backend.read(key)
            return decode_slot(content, generation, f"{namespace}/{name}"), content
        except NotFoundError as error:
            raise CorruptError(f"slot '{key}' is missing", hint="run: mstore fsck") from error
        except CorruptError as error:
            raise CorruptError(f"slot '{key}': {error}", hint="run: mstore fsck") from error

    def _folders(self, namespace: str) -> list[str]:
        return sorted(unquote_name(quoted) for quoted in self._backend.names(f"refs/{namespace}"))

    def _generations(self, namespace: str, name: str) -> list[int]:
        prefix = _folder(namespace, name)
        try:
            return sorted(parse_generation(text) for text in self._backend.names(prefix))
        except CorruptError as error:
            raise CorruptError(f"in '{prefix}': {error}", hint="run: mstore fsck") from error

    def _refuse_twin(self, namespace: str, name: str) -> None:
        for other in self._folders(namespace):
            if other != name and other.casefold() == name.casefold():
                raise ConflictError(
                    f"name '{name}' differs only in case from '{other}'",
                    hint="choose another name, or use the one that exists",
                )


def _folder(namespace: str, name: str) -> str:
    return f"refs/{namespace}/{quote_name(name)}"


def is_ref_name(text: str) -> bool:
    """Whether ``text`` may name a model or a tag."""
    try:
        check_ref_name(text)
    except InvalidInputError:
        return False
    return True


def current_epoch(backend: Backend) -> int:
    """The epoch that a new lease has to carry (SPEC §4)."""
    names = [item.key.rsplit("/", 1)[-1] for item in backend.list("epoch")]
    foreign = [name for name in names if not _EPOCH.fullmatch(name)]
    if foreign:
        raise StorageError(f"foreign file in 'epoch': '{foreign[0]}'", hint="run: mstore fsck")
    return max((int(name, 16) for name in names), default=0)

"""fsck --repair: bring back what was lost, bit for bit, and delete nothing (SPEC §4.7).

1. Nothing is believed that does not hash to the id it is wanted for.
2. What is sound in a damaged pack is durable in a new one before the damaged one is moved to
   ``quarantine/``; nothing is ever removed from there.
3. It holds the lock of gc, so that nothing is collected while names cannot be read.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mstore.errors import MstoreError, NotFoundError
from mstore.format.pack import Entry
from mstore.format.slots import decode_slot, parse_slot_key, slot_hash, slot_key
from mstore.ids import ObjectId
from mstore.odb import check_pack
from mstore.odb.check import is_damage
from mstore.ops.check import Checker, Progress
from mstore.ops.findings import FsckReport
from mstore.ops.rebuild import FileOrigin, Found, StoreOrigin, described_by, open_origin
from mstore.ops.salvage import sound_entries
from mstore.parts import Parts, Transaction

RAW = 0


def repair(
    parts: Parts, places: Sequence[Path] = (), *, progress: Progress | None = None
) -> FsckReport:
    """Heal what can be healed from ``places``, then check everything again.

    A place is another store, or a file or folder that was once put. NotFoundError when there is
    nothing at a place, ConflictError while gc runs. The report says what was healed, what was
    moved to quarantine and what is still damaged.
    """
    origins = [open_origin(place) for place in places]
    with parts.backend.exclusive("gc"):
        healer = _Healer(parts, origins, progress)
        healer.heal_slots()
        healer.heal_objects()
    parts.odb.refresh()
    report = Checker(parts, full=True, progress=progress).run()
    report.healed = healer.healed
    report.quarantined = healer.quarantined
    return report


class _Healer:
    def __init__(
        self,
        parts: Parts,
        origins: Sequence[StoreOrigin | FileOrigin],
        progress: Progress | None,
    ) -> None:
        self.parts = parts
        self.backend = parts.backend
        self.origins = origins
        self.healed: list[str] = []
        self.quarantined: list[str] = []
        self._healed_ids: set[ObjectId] = set()
        self._progress = progress
        self._checker = self._check()

    def _check(self) -> Checker:
        checker = Checker(self.parts, full=True, progress=self._progress)
        checker.run()
        return checker

    def heal_slots(self) -> None:
        """Bring back slots from copies of this very store."""
        keys = [
            finding.where
            for finding in self._checker.report.errors
            if finding.where.startswith("refs/") and finding.kind in {"missing", "damaged"}
        ]
        stores = [origin.parts for origin in self.origins if isinstance(origin, StoreOrigin)]
        for key in keys:
            for other in stores:
                if self._heal_slot(key, other):
                    self.healed.append(key)
                    break
        if self.healed:
            self._checker = self._check()

    def _heal_slot(self, key: str, other: Parts) -> bool:
        try:
            namespace, name, generation = parse_slot_key(key)
            content = other.backend.read(key)
            slot = decode_slot(content, generation, f"{namespace}/{name}")
        except MstoreError:
            # Not there, or damaged there as well: another place may have it.
            return False
        after = self._previous_said_by(namespace, name, generation + 1)
        before = self._hash_of(namespace, name, generation - 1)
        if after is None and other.config.id != self.parts.config.id:
            return False
        if (after or slot_hash(content)) != slot_hash(content):
            return False
        if before is not None and slot.previous != before:
            return False
        self._quarantine(key)
        return self.backend.create(key, content)

    def _previous_said_by(self, namespace: str, name: str, generation: int) -> bytes | None:
        """The hash of the slot before, as a readable slot has it."""
        try:
            content = self.backend.read(slot_key(namespace, name, generation))
            return decode_slot(content, generation).previous
        except MstoreError:
            return None

    def _hash_of(self, namespace: str, name: str, generation: int) -> bytes | None:
        try:
            content = self.backend.read(slot_key(namespace, name, generation))
            decode_slot(content, generation)
        except MstoreError:
            return None
        return slot_hash(content)

    def heal_objects(self) -> None:
        """Write what is sound in damaged packs, and what was found elsewhere, to new packs."""
        # What a description that was just healed needs comes to light in the next round.
        while self._heal_round():
            self._checker = self._check()

    def _heal_round(self) -> bool:
        """Whether anything was healed or moved, so that looking again may find more."""
        damaged = sorted(
            {
                finding.where
                for finding, ids in self._checker.pack_faults
                if finding.severity == "error" and is_damage(finding.kind, ids)
            }
        )
        wanted = self._checker.unreadable_ids()
        if not damaged and not wanted:
            return False
        # When a base comes back, so does what is stored as a difference from it.
        healed = self._heal(damaged, wanted - self._based_on(wanted))
        return healed or self._heal([], wanted)

    def _based_on(self, wanted: set[ObjectId]) -> set[ObjectId]:
        """What of ``wanted`` may need nothing but one of the others."""
        lost_bases = {
            oid
            for fault in self._checker.pack_faults
            if fault.finding.kind == "base"
            for oid in fault.ids
        }
        bases = self._checker.graph.bases
        return {oid for oid in wanted if oid in lost_bases or bases.get(oid) in wanted}

    def _heal(self, damaged: list[str], wanted: set[ObjectId]) -> bool:
        before = len(self.healed) + len(self.quarantined)
        with Transaction(self.parts) as transaction:
            for key in damaged:
                for entry in self._sound_entries(key):
                    stored = self.backend.read(key, entry.offset, entry.offset + entry.stored_size)
                    transaction.writer.add_stored(entry, stored)
            for found in self._found(wanted):
                size = len(found.content)
                entry = Entry(found.id, found.kind, RAW, 0, size, size)
                if transaction.writer.add_stored(entry, found.content):
                    self.healed.append(str(found.id))
                    self._healed_ids.add(found.id)
            transaction.publish()
        for key in damaged:
            if self._is_damaged(key):
                self._quarantine(key)
        return len(self.healed) + len(self.quarantined) > before

    def _sound_entries(self, key: str) -> list[Entry]:
        entries = sound_entries(self.backend, key, self._checker.odb.read_base)
        if key.startswith("objects/"):
            return entries
        needed = self._checker.graph.met()
        return [entry for entry in entries if entry.id in needed]

    def _found(self, wanted: set[ObjectId]) -> Iterator[Found]:
        """What the places have of ``wanted``, and of what that needs in turn."""
        for origin in self.origins:
            for found in origin.find(wanted):
                if found.id not in wanted:
                    continue
                wanted.discard(found.id)
                yield found
                wanted.update(oid for oid in described_by(found) if self._is_lost(oid))

    def _is_lost(self, oid: ObjectId) -> bool:
        return oid not in self._healed_ids and self._checker.odb.find(oid) is None

    def _is_damaged(self, key: str) -> bool:
        try:
            problems = check_pack(self.backend, key, self._checker.odb.read_base)
            return any(problem.is_damage for problem in problems)
        except NotFoundError:
            return False

    def _quarantine(self, key: str) -> None:
        """Take a damaged file's name away; its bytes stay."""
        target = f"quarantine/{os.urandom(4).hex()}-{key.replace('/', '-')}"
        if self.backend.move(key, target):
            self.backend.sync(key.rpartition("/")[0], "quarantine")
            self.quarantined.append(target)

"""fsck: what is wrong with a store, and which versions it hurts (SPEC §4.7).

Damage never stops it: it looks at everything else and says what it found. The quick check reads
every index and description; the full one every byte, so that no changed bit goes unnoticed. The
caches are not believed.
"""

from collections.abc import Callable

from msgspec import structs

from mstore.errors import MstoreError
from mstore.ids import ObjectId
from mstore.ops.check_files import (
    PackFault,
    Ref,
    check_config,
    check_leftovers,
    check_one_pack,
    check_refs,
    pack_items,
)
from mstore.ops.check_graph import Graph
from mstore.ops.findings import Finding, FsckReport
from mstore.parts import Parts, open_objects
from mstore.refs import HEADS, NOTES, REMOTES, TAGS

Progress = Callable[[int, int, int], None]
"""Called with bytes done, bytes in all, and the number of findings so far."""


def check(parts: Parts, *, full: bool = False, progress: Progress | None = None) -> FsckReport:
    """Everything that is wrong with a store; raises nothing for damage.

    Cost: the descriptions of all versions, with ``full`` every byte of every pack.
    """
    return Checker(parts, full=full, progress=progress).run()


class Checker:
    """One check. Afterwards ``graph`` and ``pack_faults`` say in ids what the report says."""

    def __init__(
        self, parts: Parts, *, full: bool = False, progress: Progress | None = None
    ) -> None:
        self.backend = parts.backend
        self.odb = open_objects(parts.backend, parts.refs, cached=False)
        self.graph = Graph(self.odb)
        self.pack_faults: list[PackFault] = []
        self.kept: dict[ObjectId, list[str]] = {}
        self.described: dict[ObjectId, list[str]] = {}
        self.report = FsckReport(full=full)
        self._full = full
        self._progress = progress

    def run(self) -> FsckReport:
        """Look at everything."""
        self.report.findings += check_config(self.backend)
        refs = list(check_refs(self.backend, self.report.findings.append))
        self._check_packs()
        self._walk(refs)
        self._add_findings()
        if self._full:
            self.report.findings += check_leftovers(self.backend)
        return self.report

    def unreadable_ids(self) -> set[ObjectId]:
        """What no sound copy is known of, and names or damaged packs say should be there."""
        damaged = {oid for fault in self.pack_faults for oid in fault.ids}
        bad = {oid for oid in damaged if not self._is_readable(oid)}
        faults = self.graph.faults.items()
        return bad | {oid for oid, fault in faults if fault.kind != "disagrees"}

    def _check_packs(self) -> None:
        items = pack_items(self.backend)
        total, done = sum(item.size for item in items), 0
        for item in items:
            objects, faults = check_one_pack(
                self.backend, item, self.odb.read_base, full=self._full
            )
            self.report.packs += 1
            self.report.objects += objects
            # What cannot be decoded because another place is away is no damage (``_walk``).
            self.pack_faults += [fault for fault in faults if fault.finding.kind != "elsewhere"]
            done += item.size
            if self._full:
                self.report.size_bytes += item.size
            if self._progress is not None:
                self._progress(done, total, len(self.pack_faults))

    def _walk(self, refs: list[Ref]) -> None:
        for ref in refs:
            self._add_roots(ref)
        self.report.versions = len(self.kept.keys() | self.described.keys())
        waiting = [*self.kept, *self.described]
        seen = set(waiting)
        while waiting:
            for parent in self.graph.add_version(waiting.pop()):
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
                    self.described[parent] = [f"ancestor {str(parent)[:12]}"]
        self.graph.add_chunks(self.kept)
        for reason, count in self.graph.look_elsewhere(full=self._full).items():
            message = f"{count} chunks were not looked at: {reason}"
            self.report.findings.append(Finding("note", "elsewhere", "refs/remotes", message))

    def _add_roots(self, ref: Ref) -> None:
        if ref.namespace == NOTES:
            for row in ref.rows.values():
                if row.state != "deleted":
                    self.graph.add_note(ObjectId(row.version))
        if ref.namespace not in {HEADS, TAGS, REMOTES}:
            return
        numbers = list(ref.rows)[-1:] if ref.namespace == TAGS else list(ref.rows)
        for number in numbers:
            row = ref.rows[number]
            label = ref.name if ref.namespace == TAGS else f"{ref.name}@{number}"
            roots = {"kept": self.kept, "stripped": self.described}.get(row.state)
            if roots is not None:
                roots.setdefault(ObjectId(row.version), []).append(label)

    def _add_findings(self) -> None:
        bad = self.unreadable_ids() | self.graph.faults.keys()
        hurt = self._who_needs(bad) if bad else {}
        said: set[ObjectId] = set()
        for finding, ids in self.pack_faults:
            if finding.kind == "base" and not self._are_needed(bad.intersection(ids)):
                # Left over from what gc took: the pack is sound, and nobody wants this of it.
                continue
            said |= bad.intersection(ids)
            labels = {label for oid in ids for label in hurt.get(oid, ())}
            self.report.findings.append(structs.replace(finding, versions=tuple(sorted(labels))))
        for oid, fault in self.graph.faults.items():
            if oid not in said:
                labels = hurt.get(oid, set())
                finding = Finding("error", fault.kind, str(oid), fault.message)
                finding = structs.replace(finding, versions=tuple(sorted(labels)))
                self.report.findings.append(finding)

    def _are_needed(self, ids: set[ObjectId]) -> bool:
        return not ids.isdisjoint(self.graph.met())

    def _who_needs(self, bad: set[ObjectId]) -> dict[ObjectId, set[str]]:
        """The labels of the versions that need each of some objects."""
        found: dict[ObjectId, set[str]] = {}
        for versions, payload in ((self.kept, True), (self.described, False)):
            for version, labels in versions.items():
                for oid in self.graph.needs(version, payload=payload):
                    if oid in bad:
                        found.setdefault(oid, set()).update(labels)
        return found

    def _is_readable(self, oid: ObjectId) -> bool:
        try:
            self.odb.read(oid)
        except MstoreError:
            return False
        return True

"""Garbage collection beside running readers and writers, by the protocol of SPEC §4.6.

Mark (G1), condemn (G2), begin the next epoch (G3), wait for the writers of older epochs or break
their leases (G4), mark again (G5), delete (G6). tests/model/gc_model.py explores every order of
these steps; each of them is needed.

1. A pack leaves ``objects/`` only by being moved to ``condemned/``, where readers still find it.
2. A condemned pack is deleted only when no lease of its epoch or an older one is left, the marks
   made after that do not need it, and whatever it shares with them was just read elsewhere.
3. Nothing is changed when anything that a name needs cannot be read. What of it is in another
   place is not looked for until the last copy here is about to go.
4. A crash anywhere leaves a store that reads as before; the next run goes on, with G3 again.
5. Clocks decide only how long bytes are held, never whether deleting them is safe.
"""

from msgspec import Struct, field

from mstore.backends.base import Item, LeaseState
from mstore.errors import ConflictError, StorageError
from mstore.format.pack import Entry
from mstore.ops import descriptions
from mstore.ops.condemn import condemn, is_there, name_too
from mstore.ops.gc_plan import (
    REPACK_AT,
    GcPlan,
    PackPlan,
    Progress,
    find_homes,
    needed_objects,
    plan_with_homes,
)
from mstore.ops.gc_verdict import Fate, Judge, ages, condemned_packs, epoch_of
from mstore.parts import Parts, Transaction
from mstore.refs import current_epoch

HOUR = 3600.0
GRACE = 24 * HOUR
"""Seconds that a condemned pack is held, for people who want something back."""
LEASE_TTL = 24 * HOUR
"""Seconds after which a lease is broken though its writer may still live."""
TMP_AGE = HOUR
"""Seconds that a temporary file is left alone: its writer may not have its lease yet."""
KEEP_EPOCHS = 16


class Limits(Struct, frozen=True):
    """How long things are held, in seconds, and what share of a pack must be dead to repack."""

    grace: float = GRACE
    lease_ttl: float = LEASE_TTL
    tmp_age: float = TMP_AGE
    repack_at: float = REPACK_AT


class Held(Struct, frozen=True):
    """A pack that stays in ``condemned/``, where readers still find it, and why."""

    key: str
    size_bytes: int
    reason: str


class GcReport(Struct):
    """What a run did, or with ``dry_run`` would do; lists hold the keys of packs, sizes bytes.

    ``skipped`` says why repacking was left out, ``deferred`` which living writers keep condemned
    packs from being deleted.
    """

    plan: GcPlan
    dry_run: bool = False
    epoch: int = 0
    condemned: list[str] = field(default_factory=list)
    condemned_bytes: int = 0
    repacked: list[str] = field(default_factory=list)
    written_bytes: int = 0
    resurrected: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    deleted_bytes: int = 0
    held: list[Held] = field(default_factory=list)
    broken_leases: list[str] = field(default_factory=list)
    deferred: list[str] = field(default_factory=list)
    removed_tmp: list[str] = field(default_factory=list)
    removed_tmp_bytes: int = 0
    skipped: str = ""


def run_gc(
    parts: Parts,
    *,
    dry_run: bool = False,
    now: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> GcReport:
    """Collect what no name needs. With ``now`` nothing is held for the time of grace.

    NotFoundError or CorruptError when anything that a name needs cannot be read, and then
    nothing is changed; ConflictError when another gc runs. ``dry_run`` writes nothing at all.
    """
    limits = limits or Limits()
    grace = 0.0 if now else limits.grace
    if dry_run:
        return _Run(parts, limits, grace, progress).foresee()
    with parts.backend.exclusive("gc"):
        return _Run(parts, limits, grace, progress).run()


class _Run:
    def __init__(
        self, parts: Parts, limits: Limits, grace: float, progress: Progress | None
    ) -> None:
        self.parts, self.limits, self.grace = parts, limits, grace
        self.progress = progress
        self.backend, self.odb = parts.backend, parts.odb
        self.odb.refresh()
        named = needed_objects(parts)
        plan, self.homes = plan_with_homes(parts, named, limits.repack_at)
        self.written: set[str] = set()
        self.report = GcReport(plan)

    def run(self) -> GcReport:
        """Do it, step by step; the caller holds the lock."""
        self._clear_tmp()
        self._repack()
        self._condemn()
        if condemned_packs(self.backend):
            self._begin_epoch()
            bound = self._fence()
            self.odb.refresh()
            # The second mark: names that old writers committed before they were fenced off.
            homes = find_homes(self.parts, needed_objects(self.parts))
            self._finish(Judge(self.parts, homes, bound, ages(self.backend), self.grace))
        self._forget_epochs()
        self.odb.refresh()
        return self.report

    def foresee(self) -> GcReport:
        """What ``run`` would do, as far as that can be known before."""
        report = self.report
        report.dry_run = True
        report.epoch = current_epoch(self.backend)
        dead = self._dead_tmp()
        report.removed_tmp = [item.key for item in dead]
        report.removed_tmp_bytes = sum(item.size for item in dead)
        report.repacked = [pack.key for pack in report.plan.chosen("repack")]
        report.written_bytes = sum(p.live_bytes for p in report.plan.chosen("repack"))
        for pack in self._doomed():
            report.condemned.append(pack.key)
            report.condemned_bytes += pack.size_bytes
        over = ages(self.backend, self.parts.clock() / 1e6)
        bound = self._look_at_leases(report.epoch + 1, break_dead=False)
        judge = Judge(self.parts, self.homes, bound, over, self.grace)
        for item, fate, reason in judge.decide_all(condemned_packs(self.backend)):
            self._note(item, fate, reason)
        return report

    def _doomed(self) -> list[PackPlan]:
        plan, repacked = self.report.plan, set(self.report.repacked)
        chosen = plan.chosen("condemn") + [p for p in plan.chosen("repack") if p.key in repacked]
        return [pack for pack in chosen if pack.key not in self.written]

    def _dead_tmp(self) -> list[Item]:
        """Temporary files that no living writer can still be writing."""
        found = list(self.backend.list("tmp"))
        if not found:
            return []
        alive = [lease.age for lease in self.backend.leases() if lease.alive]
        limit = max(self.limits.tmp_age, max(alive, default=0.0))
        now = self.parts.clock() / 1e6
        return [item for item in found if now - item.modified >= limit]

    def _clear_tmp(self) -> None:
        for item in self._dead_tmp():
            self.backend.remove(item.key)
            self.report.removed_tmp.append(item.key)
            self.report.removed_tmp_bytes += item.size

    def _repack(self) -> None:
        """Write the needed entries of half-dead packs again, each verified, durable on return."""
        chosen = self.report.plan.chosen("repack")
        if not chosen:
            return
        try:
            self.report.written_bytes = self._copy(chosen)
        except StorageError as error:
            # A full disk must not keep gc from freeing what it can without writing.
            self.report.skipped = f"nothing was repacked: {error}"
            return
        self.report.repacked = [pack.key for pack in chosen]

    def _copy(self, packs: list[PackPlan]) -> int:
        total, done = sum(pack.live_bytes for pack in packs), 0
        with Transaction(self.parts) as transaction:
            for pack in packs:
                for entry in self._home_entries(pack.key):
                    stop = entry.offset + entry.stored_size
                    stored = self.backend.read(pack.key, entry.offset, stop)
                    self.odb.check_entry(pack.key, entry, stored)
                    transaction.writer.add_stored(entry, stored)
                    done += entry.stored_size
                    if self.progress is not None:
                        self.progress(min(done, total), total, 0)
            self.written = set(transaction.writer.publish())
            return transaction.writer.stored_bytes

    def _home_entries(self, key: str) -> list[Entry]:
        """What of a pack stays, in the order of its bytes."""
        live = [entry for entry in self.odb.entries(key) if self.homes.is_home(entry.id, key)]
        return sorted(live, key=lambda entry: entry.offset)

    def _condemn(self) -> None:
        doomed = self._doomed()
        condemned = set(condemn(self.backend, [pack.key for pack in doomed]))
        for pack in doomed:
            if pack.key in condemned:
                self.report.condemned.append(pack.key)
                self.report.condemned_bytes += pack.size_bytes

    def _begin_epoch(self) -> None:
        # Also after a run that crashed: it may have condemned packs and not come to this step.
        epoch = current_epoch(self.backend) + 1
        if not self.backend.create(f"epoch/{epoch:016x}", f"{epoch}\n".encode()):
            raise ConflictError(f"epoch {epoch} was begun by another program", hint="try again")
        self.report.epoch = epoch

    def _fence(self) -> int:
        """Make sure that dead writers of older epochs commit nothing; the bound for deleting."""
        return self._look_at_leases(self.report.epoch, break_dead=True)

    def _look_at_leases(self, epoch: int, *, break_dead: bool) -> int:
        """The oldest epoch that a living writer holds, ``epoch`` when none does."""
        bound = epoch
        for lease in self.backend.leases():
            if lease.epoch >= epoch:
                continue
            if self._is_dead(lease):
                if break_dead:
                    self.backend.break_lease(lease.name)
                self.report.broken_leases.append(lease.name)
            else:
                bound = min(bound, lease.epoch)
                since = f"since epoch {lease.epoch}, for {max(0, int(lease.age))} s"
                self.report.deferred.append(f"a writer has been at work {since}")
        return bound

    def _is_dead(self, lease: LeaseState) -> bool:
        return not lease.alive or lease.age > self.limits.lease_ttl

    def _finish(self, judge: Judge) -> None:
        for item, fate, reason in judge.decide_all(condemned_packs(self.backend)):
            if fate is Fate.RESURRECT:
                self._resurrect(item)
            elif fate is Fate.DELETE:
                self.backend.remove(item.key)
            self._note(item, fate, reason)
        self.backend.sync("objects", "condemned")
        if self.report.deleted:
            # What was said of a deleted version does not live on in the cache.
            descriptions.clear(self.backend)

    def _resurrect(self, item: Item) -> None:
        name = item.key.rpartition("/")[2]
        if is_there(self.backend, f"objects/{name}"):
            # It is needed although its twin is live: then the twin is damaged.
            self.backend.move(f"objects/{name}", f"quarantine/{self.report.epoch:016x}-{name}")
            self.backend.sync("objects", "quarantine")
        if name_too(self.backend, item.key, f"objects/{name}"):
            self.backend.sync("objects")
            self.backend.remove(item.key)

    def _note(self, item: Item, fate: Fate, reason: str) -> None:
        if fate is Fate.RESURRECT:
            self.report.resurrected.append(item.key)
        elif fate is Fate.DELETE:
            self.report.deleted.append(item.key)
            self.report.deleted_bytes += item.size
        else:
            self.report.held.append(Held(item.key, item.size, reason))

    def _forget_epochs(self) -> None:
        """Keep a bounded number of epoch files: the newest, and those that tell a pack's age."""
        epoch = current_epoch(self.backend)
        oldest = min((epoch_of(item.key) for item in condemned_packs(self.backend)), default=epoch)
        limit = min(oldest, epoch - KEEP_EPOCHS)
        for item in list(self.backend.list("epoch")):
            if int(item.key.rpartition("/")[2], 16) <= limit:
                self.backend.remove(item.key)

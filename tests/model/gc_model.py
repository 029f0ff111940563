"""The garbage-collection protocol as a small model, explored exhaustively.

Two objects (bits A and B) live in packs; a pack is named by what it holds, so there are four: {A},
{B}, {A, B} and {B as a difference from A}, which is no good without A. Writers, a tagger, a deleter
and the collector take one step at a time in every order; writers and the collector may crash
between any two steps. The collector is more willing than the real one: it may condemn any pack
whose needed objects are live elsewhere, may repack any pack, may break any old lease at any moment
(the lease's time ran out) or leave it, and may stop before deleting (the grace period). While no
collector is at work, B may be stored in another form and packs condemned whose objects all have
copies elsewhere, readable or not.

The property: every object that a visible ref needs can be read from live and condemned packs.

A rule of the protocol is dropped by turning one field of ``Rules`` off; each must then be caught.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

A, B = 1, 2
PACKS = (A, B, A | B, B)
"""The objects of each pack; the last one holds a difference."""
DIFFERENCE = 8
"""The set of just the pack with the difference."""
WIDTH = len(PACKS)
ALL = (1 << WIDTH) - 1
IDLE, CHOSEN, LEASED, MISSING, READY, VISIBLE, DONE, CRASHED = range(8)
SLEEPING, MARKED, BUMPED, FENCED, REMARKED = range(5)
BROKEN = -1
NONE = -2


class Rules(NamedTuple):
    """Which rules of the protocol hold."""

    fence: bool = True
    lease_before_check: bool = True
    dedupe_live_only: bool = True
    readers_see_condemned: bool = True
    second_mark: bool = True
    bump_on_resume: bool = True
    tagger_revives: bool = True
    defer_to_living: bool = True
    gc_marks_bases: bool = True
    base_live_only: bool = True
    dedupe_follows_bases: bool = True


class Writer(NamedTuple):
    """A writer: ``lease`` is the epoch it holds (or read), ``missing`` what it must write.

    ``based`` says whether it takes B for a difference from A.
    """

    step: int = IDLE
    lease: int = NONE
    missing: int = 0
    based: bool = False


class Collector(NamedTuple):
    """The collector: ``needed`` is its latest mark, ``bound`` the epoch below which it deletes."""

    step: int = SLEEPING
    needed: int = 0
    bound: int = 0
    resumed: bool = False
    runs: int = 2


class State(NamedTuple):
    """The store and everybody: bit sets of packs, of (epoch, pack) pairs and of refs."""

    live: int
    condemned: int
    epoch: int
    refs: int
    writers: tuple[Writer, ...]
    gc: Collector
    recodings: int = 0
    """How often a form may still be changed."""


Step = tuple[str, State]


def listed(packs: int) -> int:
    """The objects that the indexes of a set of packs name."""
    held = 0
    for index, pack in enumerate(PACKS):
        if packs >> index & 1:
            held |= pack
    return held


def readable(packs: int) -> int:
    """The objects that can be had from a set of packs: a difference only with its base."""
    plain = listed(packs & ~DIFFERENCE)
    return listed(packs) if plain & A else plain


LISTED = tuple(map(listed, range(ALL + 1)))
CONTENTS = tuple(map(readable, range(ALL + 1)))


def pack_bit(objects: int) -> int:
    """The one-pack set of the pack that holds just these objects."""
    return 1 << PACKS.index(objects)


def condemned_packs(condemned: int) -> int:
    """The packs of all epochs in a set of (epoch, pack) pairs."""
    packs = 0
    while condemned:
        packs |= condemned & ALL
        condemned >>= WIDTH
    return packs


class Model:
    """The protocol under ``rules``: ``needs[i]`` is what writer i publishes.

    Ref i belongs to writer i; the last ref is there from the start and needs A. The last ref and
    that of writer 0 may be deleted at any time. A writer whose index is in ``taggers`` brings no
    bytes: before it takes its lease it reads the ref of writer 0, and points its own ref there.
    Without ``tagger_revives`` it also reads that ref under its lease, and trusts what it finds.
    ``recodings`` is how often forms are changed; with ``deltas`` writers may store B as a
    difference.
    """

    def __init__(
        self,
        rules: Rules,
        needs: tuple[int, ...] = (A, A | B),
        taggers: tuple[int, ...] = (),
        runs: int = 2,
        recodings: int = 0,
        *,
        deltas: bool = False,
    ) -> None:
        self.rules = rules
        self.deltas = deltas
        self.taggers = taggers
        self.needs = (*needs, A)
        self.old_ref = 1 << len(needs)
        writers = tuple(Writer() for _ in needs)
        packs = pack_bit(A) if deltas else pack_bit(A | B)
        gc = Collector(runs=runs)
        self.first = State(packs, 0, 0, self.old_ref, writers, gc, recodings)

    def needed(self, refs: int) -> int:
        """What the refs need."""
        objects = 0
        for index, need in enumerate(self.needs):
            if refs >> index & 1:
                objects |= need
        return objects

    def is_sound(self, state: State) -> bool:
        """Whether a reader finds everything that the visible refs need."""
        packs = state.live
        if self.rules.readers_see_condemned:
            packs |= condemned_packs(state.condemned)
        return not self.needed(state.refs) & ~CONTENTS[packs]

    def steps(self, state: State) -> Iterator[Step]:
        """Every step that anybody can take."""
        for index, writer in enumerate(state.writers):
            yield from self._writer(state, index, writer)
        yield from self._collector(state)
        yield from self._recode(state)
        for ref in (self.old_ref, 1):
            if state.refs & ref:
                yield (
                    f"ref {ref.bit_length() - 1} is deleted",
                    state._replace(refs=state.refs & ~ref),
                )

    def _writer(self, state: State, index: int, writer: Writer) -> Iterator[Step]:
        def go(label: str, writer: Writer, **changes: int) -> Step:
            writers = (*state.writers[:index], writer, *state.writers[index + 1 :])
            return f"writer {index}: {label}", state._replace(writers=writers, **changes)

        step, lease, missing, _ = writer
        if step == IDLE and self._may_begin(state, index):
            missing = 0 if self.rules.lease_before_check else self._missing(state, index)
            yield go("read the epoch", Writer(CHOSEN, state.epoch, missing))
        elif step == CHOSEN:
            yield go("create the lease", Writer(LEASED, lease, missing))
        elif step == LEASED:
            yield self._look(state, index, writer, go)
        elif step == MISSING:
            yield from self._store(state, index, writer, go)
        elif step == READY and lease == BROKEN and self.rules.fence:
            yield go("commit is refused", Writer())
        elif step == READY:
            yield go("commit", Writer(VISIBLE, lease), refs=state.refs | 1 << index)
        elif step == VISIBLE:
            yield go("drop the lease", Writer(DONE))
        if LEASED <= step <= VISIBLE:
            yield go("CRASH", Writer(CRASHED, lease))

    def _may_begin(self, state: State, index: int) -> bool:
        return index not in self.taggers or bool(state.refs & 1)

    def _look(self, state: State, index: int, writer: Writer, go: Callable[..., Step]) -> Step:
        if not self.rules.tagger_revives and not self._may_begin(state, index):
            return go("nothing to tag", Writer(DONE))
        missing = writer.missing
        if self.rules.lease_before_check:
            missing = self._missing(state, index)
        based = self.deltas and missing == B and self._has_base(state)
        return go("look", Writer(MISSING if missing else READY, writer.lease, missing, based))

    def _has_base(self, state: State) -> bool:
        packs = state.live
        if not self.rules.base_live_only:
            packs |= condemned_packs(state.condemned)
        return bool(CONTENTS[packs] & A)

    def _missing(self, state: State, index: int) -> int:
        if index in self.taggers and not self.rules.tagger_revives:
            return 0
        packs = state.live
        if not self.rules.dedupe_live_only:
            packs |= condemned_packs(state.condemned)
        held = CONTENTS if self.rules.dedupe_follows_bases else LISTED
        return self.needs[index] & ~held[packs]

    def _store(
        self, state: State, index: int, writer: Writer, go: Callable[..., Step]
    ) -> Iterator[Step]:
        ready = Writer(READY, writer.lease)
        shared = condemned_packs(state.condemned)
        if index not in self.taggers:
            live = state.live | pack_bit(writer.missing)
            yield go("publish a pack", ready, live=live)
            if writer.based:
                yield go("publish a difference", ready, live=state.live | DIFFERENCE)
        elif writer.missing & ~CONTENTS[shared | state.live]:
            yield go("the condemned pack is gone", Writer(DONE))
        else:
            yield go("link the condemned packs back", ready, live=state.live | shared)

    def _collector(self, state: State) -> Iterator[Step]:
        gc = state.gc
        if gc.step == SLEEPING:
            if gc.runs:
                marked = Collector(
                    MARKED, self.needed(state.refs), 0, bool(state.condemned), gc.runs - 1
                )
                yield "gc: mark", state._replace(gc=marked)
            return
        yield "gc: CRASH or stop", state._replace(gc=Collector(runs=gc.runs))
        if gc.step == MARKED:
            yield from self._condemn(state, gc)
            yield from self._bump(state, gc)
        elif gc.step == BUMPED:
            yield from self._fence(state, gc)
        elif gc.step == FENCED:
            needed = self.needed(state.refs) if self.rules.second_mark else gc.needed
            yield "gc: mark again", state._replace(gc=gc._replace(step=REMARKED, needed=needed))
        else:
            yield from self._finish(state, gc)

    def _condemn(self, state: State, gc: Collector) -> Iterator[Step]:
        if gc.resumed and not self.rules.bump_on_resume:
            return
        for index, pack in enumerate(PACKS):
            bit = 1 << index
            if not state.live & bit:
                continue
            others = state.live & ~bit
            if not gc.needed & self._found(state.live) & ~self._found(others):
                condemned = state.condemned | bit << WIDTH * state.epoch
                yield f"gc: condemn {index}", state._replace(live=others, condemned=condemned)
                continue
            for kept in {pack & gc.needed, pack & self._with_base(gc.needed, state.live)}:
                if kept not in {0, pack}:
                    yield f"gc: repack {index}", state._replace(live=state.live | pack_bit(kept))

    def _found(self, packs: int) -> int:
        """What the collector takes packs to hold."""
        return CONTENTS[packs] if self.rules.gc_marks_bases else LISTED[packs]

    def _with_base(self, needed: int, packs: int) -> int:
        """What is needed, and what that may be a difference from."""
        differs = self.rules.gc_marks_bases and needed & B and packs & DIFFERENCE
        return needed | A if differs else needed

    def _recode(self, state: State) -> Iterator[Step]:
        """Another form of B, or the end of one: at any time when no collector is at work."""
        if state.gc.step != SLEEPING or not state.recodings:
            return
        rest = state.recodings - 1
        there = CONTENTS[state.live]
        if there == A | B:
            for bit in (DIFFERENCE, pack_bit(B)):
                if not state.live & bit:
                    live = state.live | bit
                    yield f"recode into {bit}", state._replace(live=live, recodings=rest)
        for index in range(WIDTH):
            others = state.live & ~(1 << index)
            if others != state.live and not there & ~LISTED[others]:
                condemned = state.condemned | 1 << index << WIDTH * state.epoch
                changed = state._replace(live=others, condemned=condemned, recodings=rest)
                yield f"recoded: condemn {index}", changed

    def _bump(self, state: State, gc: Collector) -> Iterator[Step]:
        if not state.condemned:
            return
        skip = gc.resumed and not self.rules.bump_on_resume
        epoch = state.epoch if skip else state.epoch + 1
        needed = 0 if self.rules.second_mark else gc.needed
        bumped = Collector(BUMPED, needed, 0, skip, gc.runs)
        yield "gc: next epoch", state._replace(epoch=epoch, gc=bumped)

    def _fence(self, state: State, gc: Collector) -> Iterator[Step]:
        bound = self._bound(state, gc)
        fenced = Collector(FENCED, gc.needed, bound, runs=gc.runs)
        yield "gc: go on", state._replace(gc=fenced)
        for index, writer in enumerate(state.writers):
            if self._holds(writer) and 0 <= writer.lease < state.epoch:
                broken = writer._replace(lease=BROKEN)
                if writer.step in {VISIBLE, CRASHED}:
                    broken = Writer(DONE)
                writers = (*state.writers[:index], broken, *state.writers[index + 1 :])
                yield f"gc: break the lease of writer {index}", state._replace(writers=writers)

    def _bound(self, state: State, gc: Collector) -> int:
        if gc.resumed:
            return state.epoch + 1
        if not self.rules.defer_to_living:
            return state.epoch
        held = [writer.lease for writer in state.writers if self._holds(writer)]
        return min((epoch for epoch in held if epoch >= 0), default=state.epoch)

    @staticmethod
    def _holds(writer: Writer) -> bool:
        return writer.step in {LEASED, MISSING, READY, VISIBLE, CRASHED}

    def _finish(self, state: State, gc: Collector) -> Iterator[Step]:
        packs = state.live | condemned_packs(state.condemned)
        missing = gc.needed & ~self._found(state.live)
        wanted = self._with_base(missing, packs) & ~LISTED[state.live & ~DIFFERENCE]
        for epoch in range(state.epoch + 1):
            for index, pack in enumerate(PACKS):
                bit = 1 << index << WIDTH * epoch
                if not state.condemned & bit:
                    continue
                rest = state.condemned & ~bit
                if missing and pack & wanted:
                    live = state.live | 1 << index
                    yield f"gc: resurrect {index}", state._replace(live=live, condemned=rest)
                elif epoch < gc.bound:
                    yield f"gc: delete {index}", state._replace(condemned=rest)


class Verdict(NamedTuple):
    """What the exploration found: ``trace`` is the shortest way to a lost object, or empty."""

    states: int
    trace: tuple[str, ...]


def explore(model: Model) -> Verdict:
    """Visits every reachable state, breadth first, until one is not sound."""
    came_from: dict[State, tuple[str, State] | None] = {model.first: None}
    queue = deque([model.first])
    while queue:
        state = queue.popleft()
        for label, following in model.steps(state):
            if following in came_from:
                continue
            came_from[following] = (label, state)
            if not model.is_sound(following):
                return Verdict(len(came_from), _trace(came_from, following))
            queue.append(following)
    return Verdict(len(came_from), ())


def _trace(came_from: dict[State, tuple[str, State] | None], state: State) -> tuple[str, ...]:
    labels = []
    while (origin := came_from[state]) is not None:
        label, state = origin
        labels.append(label)
    return tuple(reversed(labels))

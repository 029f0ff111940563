"""Checkpoints that the training thread does not wait for.

``add`` copies the tensors and returns; one thread puts the copies, in the order in which they
came, as ordinary versions by the ordinary protocol (SPEC §4), so a crash loses only what was not
acknowledged. The thread lives as long as there is something to store.

1. At most ``waiting`` copies are in memory; who comes with one more waits until one is stored.
2. What goes wrong in the thread is raised by the next ``add``, ``flush`` or ``close``, or by
   ``Pending.result``; by one of them, once.
3. An interpreter that ends by itself first stores everything.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import cast

from mstore import adapters
from mstore.adapters import Outline
from mstore.errors import InvalidInputError
from mstore.ops.put import Complete, Description, completing
from mstore.ops.steplog import ending
from mstore.ops.steplog.host import Host
from mstore.ops.steplog.nested import flatten
from mstore.ops.steplog.putting import Putter
from mstore.ops.steplog.rows import StepRows
from mstore.ops.steplog.step import (
    Job,
    Pending,
    Training,
    described,
    exists_error,
    named_error,
    whole_step,
)
from mstore.parts import Parts, open_objects
from mstore.refs import RefStore

_MOMENT = 0.2
"""Seconds that storing stands still at most, between two chunks, while a copy is made."""


class StepLog:
    """The steps of one open store, of any number of runs."""

    def __init__(self, parts: Parts) -> None:
        # The thread's own view of the store: what the caller reads through is not for two.
        refs = RefStore(parts.backend, parts.clock)
        odb = open_objects(parts.backend, refs)
        own = Parts(parts.backend, parts.config, odb, refs, parts.clock)
        self._putter = Putter(own, self._give_way)
        self._callers_rows = StepRows(parts)
        self._taken: dict[str, set[int]] = {}
        self._changed = threading.Condition()
        self._no_copying = threading.Event()
        self._no_copying.set()
        self._jobs: deque[Job] = deque()
        self._in_memory: list[Pending] = []
        self._idle_hosts: list[Host] = []
        self._preparing = False
        self._failed: list[Pending] = []
        self._thread: threading.Thread | None = None
        self._program = os.getpid()
        ending.watch()

    def add(
        self,
        run: str,
        step: int,
        state: Mapping[str, object],
        training: Training,
        description: Description,
        *,
        complete: Complete | None = None,
        always: bool = False,
        waiting: int,
    ) -> Pending:
        """Copy a state and have it stored; returns when it is copied.

        ``complete`` adds to the description what takes as long as the copy, beside it.

        Raises what went wrong with an earlier step, and then takes nothing. ExistsError when the
        run has the step and ``always`` is off.
        """
        start = time.perf_counter()
        self._require_own()
        self._raise_failed()
        step = whole_step(step)
        pending = Pending(run, step, self._forget)
        job = Job(pending, described(run, step, state, description), always)
        outlines = [adapters.outline(name, value) for name, value in _named(state)]
        flat = None if training.state is None else flatten(training.state)
        try:
            job.host = self._wait_for_room(pending, always=always, waiting=waiting)
            job.text = None if flat is None else flat.text
            with completing(job.description, complete) as completed:
                self._copy(job, outlines, [] if flat is None else flat.outlines)
                job.description = completed()
            pending.held = time.perf_counter() - start - pending.waited
            self._start(job, alone=waiting == 1)
        except BaseException:
            self._leave(pending)
            raise
        return pending

    def flush(self) -> None:
        """Wait until every step so far is durable; raises what went wrong with any."""
        self._require_own()
        with self._changed:
            self._changed.wait_for(lambda: not self._in_memory)
        self._raise_failed()

    def close(self) -> None:
        """``flush``, and give the memory back."""
        try:
            self.flush()
        finally:
            self._idle_hosts.clear()

    def finish(self) -> None:
        """``close`` for the end of the interpreter: what went wrong is shown, not raised."""
        if self._program != os.getpid():
            return
        try:
            self.close()
        except BaseException as error:  # noqa: BLE001 - nobody is left to catch it
            sys.excepthook(type(error), error, error.__traceback__)

    def _require_own(self) -> None:
        if self._program != os.getpid():
            raise InvalidInputError(
                "this store writes the steps of the program that this one was forked from",
                hint="open the store again: mstore.open(path)",
            )

    def _wait_for_room(self, pending: Pending, *, always: bool, waiting: int) -> Host:
        """Wait until one more copy may be in memory; the memory for it."""
        if waiting < 1:
            raise InvalidInputError(f"waiting is {waiting}: at least one copy has to be made")
        start = time.perf_counter()
        with self._changed:
            if not always:
                self._refuse_again(pending)
            self._changed.wait_for(lambda: len(self._in_memory) + self._preparing < waiting)
            self._in_memory.append(pending)
            self._taken.setdefault(pending.run, set()).add(pending.step)
            ending.UNFINISHED.add(self)
            host = self._idle_hosts.pop() if self._idle_hosts else Host()
        pending.waited = time.perf_counter() - start
        return host

    def _refuse_again(self, pending: Pending) -> None:
        """ExistsError for a step that the run has; the store is asked only when that may be so."""
        run, step = pending.run, pending.step
        taken = self._taken.get(run)
        if taken is not None and step not in taken:
            return
        coming = {other.step for other in self._in_memory if other.run == run}
        stored = (row.step for row in self._callers_rows.of(run))
        self._taken[run] = coming | {known for known in stored if known is not None}
        if step in self._taken[run]:
            raise exists_error(run, step)

    def _copy(self, job: Job, model: Sequence[Outline], optimizer: Sequence[Outline]) -> None:
        self._no_copying.clear()
        try:
            copies = job.host.copy([*model, *optimizer])
        finally:
            self._no_copying.set()
        job.model, job.optimizer = copies[: len(model)], copies[len(model) :]

    def _give_way(self, *_: int) -> None:
        """Let a copy that is being made have the GIL; it is called between chunks."""
        self._no_copying.wait(_MOMENT)

    def _start(self, job: Job, *, alone: bool) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="mstore-steps")
                thread.start()
                self._thread = thread
            # The first step pays for untouched memory; the second need not.
            job.spare = not (alone or self._idle_hosts or len(self._in_memory) > 1)
            self._preparing = self._preparing or job.spare
            self._jobs.append(job)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs.popleft()
            if job.spare:
                self._prepare(job.host.size)
            self._store(job)

    def _prepare(self, size: int) -> None:
        """Have memory for another copy ready before it is asked for."""
        host = Host()
        with suppress(OSError, MemoryError):  # who copies next asks again, and hears of it
            host.reserve(size)
        with self._changed:
            self._preparing = False
            self._idle_hosts.append(host)
            self._changed.notify_all()

    def _store(self, job: Job) -> None:
        pending = job.pending
        try:
            result = self._putter.put(job)
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller is
            with self._changed:
                self._failed.append(pending)
            pending._future.set_exception(named_error(pending, error))  # noqa: SLF001 - ours
        else:
            pending._future.set_result(result)  # noqa: SLF001 - as above
        job.model, job.optimizer = [], []
        self._idle_hosts.append(job.host)
        self._leave(pending)

    def _leave(self, pending: Pending) -> None:
        with self._changed:
            if pending in self._in_memory:
                self._in_memory.remove(pending)
            self._settle()
            self._changed.notify_all()

    def _forget(self, pending: Pending) -> None:
        with self._changed:
            if pending in self._failed:
                self._failed.remove(pending)
            self._settle()

    def _settle(self) -> None:
        if not self._in_memory and not self._failed:
            ending.UNFINISHED.discard(self)

    def _raise_failed(self) -> None:
        with self._changed:
            failed, self._failed = self._failed, []
            self._settle()
        if failed:
            error = cast("BaseException", failed[0]._future.exception())  # noqa: SLF001 - ours
            for other in failed[1:]:
                error.add_note(str(other._future.exception()))  # noqa: SLF001 - as above
            raise error


def _named(state: Mapping[str, object]) -> list[tuple[str, object]]:
    for name in state:
        if not isinstance(name, str):
            raise InvalidInputError(f"tensor name {name!r} is not a string")
    return list(state.items())

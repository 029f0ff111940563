"""Every legal state of the disk after a crash in any sequence of commands, each made and opened.

The commands really run; what they do to the disk is written down, and ``mstore.testing.crash``
says what a power cut may leave of it. Each such state is made as a folder in memory and held
against what had been acknowledged.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.commands import (
    COMMANDS,
    Observed,
    Oracle,
    all_faults,
    copy_world,
    make_world,
    run_command,
)

from mstore.testing.crash import CrashState, crash_states, materialise, read_folder
from mstore.testing.disk import FolderState
from mstore.testing.filesystems import Operation, RecordingFileSystem

MEMORY = Path("/dev/shm")  # noqa: S108 - folders are made in it by mkdtemp

LEASES_TOGETHER = ("tmp", "leases", "cache")
LEASES_APART = ("tmp",)
"""Dead leases and caches multiply the states: they are lost all or none, one by one in a sample."""


def scratch_folder() -> Path:
    """A new folder, in memory where that is possible."""
    return Path(tempfile.mkdtemp(prefix="mstore-crash-", dir=MEMORY if MEMORY.is_dir() else None))


@dataclass
class Bounds:
    """How far to go.

    ``depth`` commands in a row; per sequence every ``stride``-th of the states with leases apart,
    ``apart`` of them at most. Every ``later_every``-th state is also written to, collected and
    loaded from.
    """

    depth: int
    apart: int
    stride: int
    later_every: int


@dataclass
class Explored:
    """What was looked at, and what was wrong with it."""

    sequences: int = 0
    states: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass
class _Done:
    """Some commands that were done: where, what they did to the disk, and what was acknowledged."""

    world: Path
    names: tuple[str, ...]
    operations: list[Operation]
    oracle: Oracle


class Explorer:
    """Goes through all sequences of commands that begin with a given one."""

    def __init__(self, bounds: Bounds, scratch: Path) -> None:
        self.found = Explored()
        self._bounds = bounds
        self._scratch = scratch
        self._world = make_world(scratch / "world")
        self._start = read_folder(self._world / "store")
        self._seen: set[object] = set()

    def explore(self, first: str) -> Explored:
        """All sequences that begin with the command ``first``."""
        oracle = Oracle()
        oracle.learn(self._world / "store")
        self._go_on(_Done(self._world, (), [], oracle), [first])
        return self.found

    def _go_on(self, done: _Done, names: Iterable[str]) -> None:
        for name in names:
            after = self._do(done, name)
            self.found.sequences += 1
            self._check(after)
            if len(after.names) < self._bounds.depth:
                self._go_on(after, COMMANDS)
            shutil.rmtree(after.world)

    def _do(self, done: _Done, name: str) -> _Done:
        world = copy_world(done.world, Path(tempfile.mkdtemp(dir=self._scratch)) / "world")
        files = RecordingFileSystem(world / "store")
        run_command(COMMANDS[name], world, files)
        files.mark(name)
        oracle = done.oracle.fork()
        oracle.learn(world / "store")
        return _Done(world, (*done.names, name), done.operations + files.operations, oracle)

    def _check(self, done: _Done) -> None:
        for state in self._states(done):
            allowed = done.oracle.observed[len(state.marks) :][:2]
            key = (state.folders, frozenset(state.files.items()), repr(allowed))
            if hash(key) not in self._seen:
                self._seen.add(hash(key))
                self._check_state(done, state, allowed)

    def _states(self, done: _Done) -> Iterator[CrashState]:
        """The states of a crash in the last command, or after it."""
        together = _during_last(self._start, done, LEASES_TOGETHER)
        apart = _during_last(self._start, done, LEASES_APART)
        yield from together
        stride = self._bounds.stride
        yield from itertools.islice(apart, 0, stride * self._bounds.apart, stride)

    def _check_state(self, done: _Done, state: CrashState, allowed: Sequence[Observed]) -> None:
        self.found.states += 1
        folder = self._scratch / "state"
        materialise(state, folder)
        later = self.found.states % self._bounds.later_every == 0
        for fault in all_faults(folder, allowed, done.oracle.digests, later=later):
            self.found.violations.append(f"{done.names} {state.story}: {fault}")
        shutil.rmtree(folder)


def _during_last(start: FolderState, done: _Done, together: Sequence[str]) -> Iterator[CrashState]:
    states = crash_states(start, done.operations, together=together, cap=256)
    earlier = len(done.names) - 1
    return (state for state in states if len(state.marks) >= earlier)

"""A power cut while two programs are at work, one stopped in the middle of its command."""

import itertools
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.crash.commands import (
    COMMANDS,
    Observed,
    Oracle,
    all_faults,
    copy_world,
    kept_versions,
    make_world,
    observe,
    open_at,
    run_command,
)
from tests.crash.exploring import LEASES_TOGETHER, scratch_folder
from tests.crash.powercut import CuttingFileSystem

from mstore.errors import MstoreError
from mstore.testing.crash import crash_states, materialise, read_folder
from mstore.testing.filesystems import RecordingFileSystem

STRIDE = 71
"""Of how many moments one is tried unless MSTORE_THOROUGH asks for all."""
STATES = 5
"""Of how many states that a crash may leave one is looked at, likewise."""
SPREAD = 37
"""So that the moments of the pairs are far from each other; a prime."""
INNER = "inner"
MET = 3
"""How often one has looked when both programs ran."""


@cache
def count_calls(scratch: Path, name: str) -> int:
    """How many calls of a command change the disk."""
    world = copy_world(scratch / "template", scratch / "count")
    counting = CuttingFileSystem(0, lambda: None)
    run_command(COMMANDS[name], world, counting)
    shutil.rmtree(world)
    return counting.done


@cache
def kept_after(scratch: Path, name: str) -> frozenset[str]:
    """The versions that are kept after one command only."""
    world = copy_world(scratch / "template", scratch / "alone")
    run_command(COMMANDS[name], world)
    kept = kept_versions(observe(open_at(world / "store")))
    shutil.rmtree(world)
    return frozenset(kept)


class Meeting:
    """One command that does all its work before some call of another that changes the disk."""

    def __init__(self, scratch: Path, outer: str, inner: str, stride: int) -> None:
        self._stride = stride
        self._scratch = scratch
        self._template = scratch / "template"
        self._start = read_folder(self._template / "store")
        self._outer, self._inner = COMMANDS[outer], COMMANDS[inner]
        self.states = 0
        self._before = observe(open_at(self._template / "store"))
        self._alone = kept_after(scratch, inner)

    def problems(self, at: int) -> Iterator[str]:
        """What a crash may break when they meet before the call ``at``."""
        world = copy_world(self._template, self._scratch / "world")
        recording = RecordingFileSystem(world / "store")
        oracle = Oracle()

        def meet() -> None:
            oracle.learn(world / "store")
            run_command(self._inner, world, recording)
            recording.mark(INNER)
            oracle.learn(world / "store")

        try:
            run_command(self._outer, world, CuttingFileSystem(at, meet, recording))
        except MstoreError as error:
            yield f"{type(error).__name__}: {error}"
        recording.mark("outer")
        oracle.learn(world / "store")
        if len(oracle.observed) == MET:
            yield from self._crash(recording, oracle.observed, at % self._stride)
        shutil.rmtree(world)

    def _crash(
        self, recording: RecordingFileSystem, observed: list[Observed], first: int
    ) -> Iterator[str]:
        end = observed[-1]
        before, begin, met, last = map(kept_versions, (self._before, *observed))
        # What the first had linked when they met was not acknowledged: it may be lost.
        alone = self._alone & met & last
        must = {(): alone & before & begin, (INNER,): alone}
        states = crash_states(self._start, recording.operations, together=LEASES_TOGETHER, cap=256)
        for state in itertools.islice(states, first, None, self._stride):
            self.states += 1
            folder = self._scratch / "state"
            materialise(state, folder)
            found = all_faults(folder, [end] if len(state.marks) > 1 else [], {}, later=False)
            if not found:
                lost = must.get(state.marks, set()) - kept_versions(observe(open_at(folder)))
                found = [f"version {version} was lost" for version in lost]
            yield from (f"{state.story}: {fault}" for fault in found)
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory, gone afterwards."""
    folder = scratch_folder()
    make_world(folder / "template")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("outer", COMMANDS)
def test_a_crash_of_both_loses_nothing(scratch: Path, outer: str, *, thorough: bool) -> None:
    """What either had acknowledged is there after the crash, and the store is whole."""
    found: dict[tuple[str, int], list[str]] = {}
    states = 0
    step, stride = (1, 1) if thorough else (STRIDE, STATES)
    calls = count_calls(scratch, outer)
    for number, inner in enumerate(COMMANDS):
        meeting = Meeting(scratch, outer, inner, stride)
        for at in range(1 + number * SPREAD % min(step, calls), calls + 1, step):
            problems = list(meeting.problems(at))
            if problems:
                found[inner, at] = problems
        states += meeting.states
    print(f"{outer}: {states} states")  # noqa: T201 - the count
    assert found == {}

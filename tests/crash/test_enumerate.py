"""No legal state of the disk after a crash loses or breaks anything that was acknowledged."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.crash.commands import COMMANDS, init_at, numbers, open_at
from tests.crash.exploring import Bounds, Explorer, scratch_folder

from mstore.testing.crash import crash_states, materialise
from mstore.testing.disk import FolderState
from mstore.testing.filesystems import RecordingFileSystem

LEAST_STATES = {1: 200, 2: 5_000, 3: 100_000}
"""How many states all sequences of a length have together, at the least."""
BOUNDS = {1: Bounds(1, 10_000, 1, 1), 2: Bounds(2, 4, 45, 8), 3: Bounds(3, 120, 1, 8)}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory, gone afterwards."""
    folder = scratch_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("first", COMMANDS)
def test_nothing_acknowledged_is_lost(
    scratch: Path, depth: int, first: str, record_property: Callable[[str, object], None]
) -> None:
    """After a crash in any sequence of commands all is readable, and no name went back."""
    found = Explorer(BOUNDS[depth], scratch).explore(first)
    record_property("crash_states", found.states)
    print(f"{first}: {found.sequences} sequences, {found.states} states")  # noqa: T201 - the count
    assert found.violations == []
    assert found.states >= LEAST_STATES[depth] // len(COMMANDS)


def test_a_crash_while_a_store_is_made(scratch: Path) -> None:
    """A store that was being made is there or can be made, and takes a model either way."""
    files = RecordingFileSystem(scratch / "store")
    (scratch / "store").mkdir()
    init_at(scratch / "store", files)
    files.mark("made")
    states = list(crash_states(FolderState({}, frozenset()), files.operations))
    assert len(states) > 10
    for state in states:
        folder = scratch / "state"
        materialise(state, folder)
        if state.marks:
            open_at(folder)
        store = init_at(folder)
        store.put(numbers(1), "lenet")
        assert store.fsck(full=True).clean, state.story
        shutil.rmtree(folder)

"""Whichever call of a command fails, and however: it says so, or it has done its job."""

import errno
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.crash.commands import (
    COMMANDS,
    Observed,
    Oracle,
    all_faults,
    copy_world,
    drop_base,
    get,
    make_world,
    numbers,
    run_command,
)
from tests.crash.exploring import scratch_folder

from mstore.backends.fsio import FileSystem
from mstore.errors import MstoreError
from mstore.testing.filesystems import (
    CountingFileSystem,
    FaultyFileSystem,
    InterceptingFileSystem,
    ShortFileSystem,
)

TRIED = {**COMMANDS, "drop base": drop_base, "get": get}
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EINTR": errno.EINTR}
STRIDES = 23, 83
"""Of how many faults one is tried unless MSTORE_THOROUGH asks for all; prime, so all kinds are."""
MANY = 2000
"""Faults of one command from which on the second of these counts."""


class ShortOnceFileSystem(InterceptingFileSystem):
    """The N-th write or read moves only one byte."""

    def __init__(self, primitive: str, at: int) -> None:
        super().__init__()
        self._primitive, self._left = primitive, at
        self._short = ShortFileSystem(1)

    def intercept(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Do the call with less, if it is its turn."""
        if name == self._primitive:
            self._left -= 1
            if self._left == 0:
                return self._short.intercept(name, call, arguments)
        return call(**arguments)


@dataclass(frozen=True)
class Fault:
    """One way in which a command's file system fails; errno 0 stands for a short call."""

    primitive: str
    at: int
    error: int
    sticky: bool

    def files(self) -> FileSystem:
        """The file system that fails so."""
        if not self.error:
            return ShortOnceFileSystem(self.primitive, self.at)
        return FaultyFileSystem(self.primitive, self.at, self.error, sticky=self.sticky)


@dataclass(frozen=True)
class Rehearsed:
    """What a command does when nothing fails."""

    counts: dict[str, int]
    oracle: Oracle

    @property
    def before(self) -> Observed:
        """The names before the command."""
        return self.oracle.observed[0]

    @property
    def after(self) -> Observed:
        """The names after it."""
        return self.oracle.observed[1]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory, gone afterwards."""
    folder = scratch_folder()
    make_world(folder / "template")
    yield folder
    shutil.rmtree(folder)


def rehearse(scratch: Path, name: str) -> Rehearsed:
    """Do the command once, counting its calls."""
    world = copy_world(scratch / "template", scratch / "rehearsal")
    oracle = Oracle()
    oracle.learn(world / "store")
    counting = CountingFileSystem()
    assert run_command(TRIED[name], world, counting)
    oracle.learn(world / "store")
    shutil.rmtree(world)
    return Rehearsed(counting.counts, oracle)


def every_fault(counts: dict[str, int]) -> Iterator[Fault]:
    """Each number of each primitive with each error, once and from then on."""
    for primitive, count in sorted(counts.items()):
        for at in range(1, count + 1):
            for error in ERRORS.values():
                yield Fault(primitive, at, error, sticky=False)
                yield Fault(primitive, at, error, sticky=True)
            if primitive in {"write", "pwrite", "pread", "pread_into"}:
                yield Fault(primitive, at, 0, sticky=False)


def problems(scratch: Path, name: str, fault: Fault, rehearsed: Rehearsed) -> list[str]:
    """What is wrong after a command during which ``fault`` happened."""
    world = copy_world(scratch / "template", scratch / "world")
    try:
        acknowledged = run_command(TRIED[name], world, fault.files())
    except MstoreError:
        acknowledged = False
    allowed = [rehearsed.after] if acknowledged else [rehearsed.before, rehearsed.after]
    found = [] if name != "get" else written_wrong(world, acknowledged=acknowledged)
    found += all_faults(world / "store", allowed, rehearsed.oracle.digests)
    shutil.rmtree(world)
    return found


def written_wrong(world: Path, *, acknowledged: bool) -> list[str]:
    """What is wrong with the file that ``get`` wrote, or did not write."""
    out = world / "out"
    if not out.exists():
        return ["get was acknowledged and wrote nothing"] if acknowledged else []
    found = load_file(out)
    same = all(np.array_equal(found[key], value) for key, value in numbers(1).items())
    return [] if same and len(found) == len(numbers(1)) else ["get left a half-written file"]


@pytest.mark.parametrize("name", TRIED)
def test_a_failing_call_is_told_or_made_good(scratch: Path, name: str, *, thorough: bool) -> None:
    """A command whose n-th call fails raises or does its job, and the store is whole after it."""
    rehearsed = rehearse(scratch, name)
    faults = list(every_fault(rehearsed.counts))
    stride = 1 if thorough else STRIDES[len(faults) >= MANY]
    tried = faults[len(name) % stride :: stride]
    print(f"{name}: {len(tried)} of {len(faults)} faults")  # noqa: T201 - the count
    wrong = {
        fault: found for fault in tried if (found := problems(scratch, name, fault, rehearsed))
    }
    assert wrong == {}


@pytest.mark.parametrize("name", TRIED)
def test_short_calls_are_completed(scratch: Path, name: str) -> None:
    """A file system that moves few bytes a call changes nothing but the time it takes."""
    rehearsed = rehearse(scratch, name)
    world = copy_world(scratch / "template", scratch / "short")
    assert run_command(TRIED[name], world, ShortFileSystem(7))
    assert all_faults(world / "store", [rehearsed.after], rehearsed.oracle.digests) == []
    assert name != "get" or written_wrong(world, acknowledged=True) == []
    shutil.rmtree(world)


@pytest.mark.parametrize("name", TRIED)
def test_interrupted_calls_are_repeated(scratch: Path, name: str) -> None:
    """Every primitive that a signal interrupts once is called again, and the command succeeds."""
    rehearsed = rehearse(scratch, name)
    for primitive in rehearsed.counts:
        world = copy_world(scratch / "template", scratch / "interrupted")
        files = FaultyFileSystem(primitive, 1, errno.EINTR)
        assert run_command(TRIED[name], world, files), primitive
        assert files.failed == 1
        assert all_faults(world / "store", [rehearsed.after], {}, later=False) == []
        shutil.rmtree(world)

"""Real power cuts: a command runs on an ext4, which loses its power before one of its calls.

``python -m tests.crash.powercut --cuts 20000`` cuts that often and prints what was found as JSON.
The kernel drops what was not durable (FS_IOC_SHUTDOWN), the file system is mounted again, its
journal replayed, and the store held against what had been acknowledged.
"""

import argparse
import gc
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.commands import (
    COMMANDS,
    Oracle,
    all_faults,
    copy_world,
    make_world,
    run_command,
)
from tests.crash.exploring import scratch_folder
from tests.crash.mounts import KEEP_NAMES, LOSE_ALL, PowerlessDisk

from mstore.backends.fsio import FileSystem
from mstore.errors import MstoreError
from mstore.testing.filesystems import CHANGES, InterceptingFileSystem

LATER_EVERY = 8
"""Of how many stores one is also written to, collected and loaded from."""
REPORT_EVERY = 1000


class CuttingFileSystem(InterceptingFileSystem):
    """Calls ``cut`` before the N-th call that changes the disk (counted from 1).

    ``done`` counts those calls, ``is_cut`` tells whether it came to that.
    """

    def __init__(self, at: int, cut: Callable[[], object], inner: FileSystem | None = None) -> None:
        super().__init__(inner)
        self.done = 0
        self.is_cut = False
        self._at = at
        self._cut = cut

    def intercept(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Do the call, with or without power."""
        if name in CHANGES:
            self.done += 1
            if self.done == self._at:
                self.is_cut = True
                self._cut()
        return call(**arguments)


class ForgetfulFileSystem(FileSystem):
    """Never makes anything durable: the fault that power cuts must bring to light."""

    def fsync(self, fd: int) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Plan:
    """Some commands that go well, then one during which the power goes; ``at`` is its call."""

    before: tuple[str, ...]
    name: str
    at: int
    flag: int


@dataclass
class Rehearsed:
    """What a sequence of commands does when nothing goes wrong; ``calls`` of the last one."""

    oracle: Oracle
    calls: int


@dataclass
class CutReport:
    """What was found.

    ``acknowledged`` counts the commands that had returned before the power went, ``at_once`` the
    cuts right after one had.
    """

    cuts: int = 0
    acknowledged: int = 0
    at_once: int = 0
    keep_names: int = 0
    lose_all: int = 0
    commands: dict[str, int] = field(default_factory=dict)
    sequences: int = 0
    written_to_afterwards: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


class Cutter:
    """Cuts the power of one disk again and again."""

    def __init__(self, disk: PowerlessDisk, scratch: Path, files: FileSystem | None) -> None:
        self.report = CutReport()
        self._disk = disk
        self._scratch = scratch
        self._files = files
        self._template = make_world(scratch / "template")
        self._rehearsed: dict[tuple[str, ...], Rehearsed] = {}

    def plans(self, rng: random.Random) -> Iterator[Plan]:
        """First a cut after each command, then cuts before any call, with ever more history."""
        for flag in (KEEP_NAMES, LOSE_ALL):
            for name in COMMANDS:
                yield Plan((), name, 0, flag)
        for length in (0, 1, *([2] * 1000)):
            names = rng.sample(list(COMMANDS), len(COMMANDS))
            found = []
            for name in names:
                before = tuple(rng.choices(list(COMMANDS), k=length))
                calls = self.rehearse((*before, name)).calls
                found += [
                    Plan(before, name, at, flag)
                    for at in range(1, calls + 2)
                    for flag in (KEEP_NAMES, LOSE_ALL)
                ]
            yield from rng.sample(found, len(found))

    def rehearse(self, names: tuple[str, ...]) -> Rehearsed:
        """Do the commands with power, once."""
        if names not in self._rehearsed:
            world = copy_world(self._template, self._scratch / "rehearsal")
            oracle = Oracle()
            oracle.learn(world / "store")
            for name in names:
                counting = CuttingFileSystem(0, lambda: None)
                run_command(COMMANDS[name], world, counting)
                oracle.learn(world / "store")
            shutil.rmtree(world)
            self._rehearsed[names] = Rehearsed(oracle, counting.done)
        return self._rehearsed[names]

    def cut(self, plan: Plan) -> None:
        """Carry out one plan, and look at what is left."""
        world, oracle = self._disk.folder, self.rehearse((*plan.before, plan.name)).oracle
        copy_world(self._template / "store", world / "store")
        # The other store keeps its power; what was given to it in another plan is not in it.
        other = self._scratch / "other"
        shutil.rmtree(other, ignore_errors=True)
        copy_world(self._template / "other", other)
        if not (world / "other").is_symlink():
            (world / "other").symlink_to(other)
        self._disk.settle()
        for name in plan.before:
            run_command(COMMANDS[name], world, self._files)
        acknowledged = self._run_into_cut(plan, world)
        gc.collect(0)
        self._disk.start_again()
        self._count(plan, acknowledged=acknowledged)
        self._look(plan, oracle, acknowledged=acknowledged)
        shutil.rmtree(world / "store")

    def _run_into_cut(self, plan: Plan, world: Path) -> bool:
        """Whether the command returned before the power went."""
        files = CuttingFileSystem(plan.at, lambda: self._disk.cut(plan.flag), self._files)
        try:
            run_command(COMMANDS[plan.name], world, files)
        except MstoreError:
            if not files.is_cut:
                raise
        if not files.is_cut:
            self._disk.cut(plan.flag)
            return True
        return False

    def _count(self, plan: Plan, *, acknowledged: bool) -> None:
        report = self.report
        report.cuts += 1
        report.acknowledged += len(plan.before) + acknowledged
        report.at_once += acknowledged
        report.keep_names += plan.flag == KEEP_NAMES
        report.lose_all += plan.flag == LOSE_ALL
        report.commands[plan.name] = report.commands.get(plan.name, 0) + 1
        report.sequences = len(self._rehearsed)

    def _look(self, plan: Plan, oracle: Oracle, *, acknowledged: bool) -> None:
        allowed = oracle.observed[-1:] if acknowledged else oracle.observed[-2:]
        later = self.report.cuts % LATER_EVERY == 0
        self.report.written_to_afterwards += later
        store = self._disk.folder / "store"
        for fault in all_faults(store, allowed, oracle.digests, later=later):
            self.report.violations.append(f"{plan}: {fault}")


def cut_often(cuts: int, seed: int = 0, files: FileSystem | None = None) -> CutReport:
    """Cut the power ``cuts`` times; needs root."""
    begun, scratch = time.monotonic(), scratch_folder()
    try:
        with PowerlessDisk() as disk:
            cutter = Cutter(disk, scratch, files)
            for plan, _ in zip(cutter.plans(random.Random(seed)), range(cuts), strict=False):
                cutter.cut(plan)
                if cutter.report.cuts % REPORT_EVERY == 0:
                    rest = len(cutter.report.violations)
                    sys.stderr.write(f"{cutter.report.cuts} cuts, {rest} violations\n")
    finally:
        shutil.rmtree(scratch)
    cutter.report.seconds = round(time.monotonic() - begun, 1)
    return cutter.report


def main() -> int:
    """Do what the command line says; 1 when anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forgetful", action="store_true", help="leave out every fsync")
    given = parser.parse_args()
    files = ForgetfulFileSystem() if given.forgetful else None
    report = cut_often(given.cuts, given.seed, files)
    sys.stdout.write(json.dumps(asdict(report), indent=1) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())

"""Kills a command before each of its calls that change the disk, one after another.

``killer.py COMMAND EVERY`` prints as JSON how many kills there were and what was wrong after one;
only each ``EVERY``-th call is tried. A program of its own, because it forks.
"""

import json
import os
import shutil
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tests.crash.commands import (
    COMMANDS,
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

from mstore.testing.filesystems import KillingFileSystem

KILLED = {**COMMANDS, "drop base": drop_base, "get": get}
REPEATABLE = {
    "put delta",
    "put unchanged",
    "tag",
    "gc",
    "gc --now",
    "strip",
    "retain",
    "drop base",
    "materialize",
    "archive",
    "planes",
    "tier",
    "pull",
    "get",
}
"""Commands that may be done twice: after a kill they are simply done again."""


@dataclass
class KillReport:
    """What was found."""

    kills: int = 0
    violations: list[str] = field(default_factory=list)


def kill_everywhere(name: str, every: int, scratch: Path) -> KillReport:
    """Kill the command before each ``every``-th call that changes the disk."""
    report = KillReport()
    template = make_world(scratch / "template")
    rehearsal = copy_world(template, scratch / "rehearsal")
    oracle = Oracle()
    oracle.learn(rehearsal / "store")
    counting = KillingFileSystem(0)
    run_command(KILLED[name], rehearsal, counting)
    oracle.learn(rehearsal / "store")
    for step in range(1, counting.done + 1, every):
        world = copy_world(template, scratch / "world")
        report.violations += kill_at(name, step, world)
        report.kills += 1
        report.violations += [f"step {step}: {f}" for f in survivor_faults(name, world, oracle)]
        shutil.rmtree(world)
    return report


def kill_at(name: str, step: int, world: Path) -> list[str]:
    """Do the command in a child that dies at a step; what is wrong with how it ended."""
    child = os.fork()
    if child == 0:
        try:
            run_command(KILLED[name], world, KillingFileSystem(step))
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return [] if died else [f"step {step}: it ended with {status}"]


def survivor_faults(name: str, world: Path, oracle: Oracle) -> list[str]:
    """What is wrong after the kill, and after doing the same again."""
    out = world / "out"
    found = []
    if out.exists() and not is_whole(out):
        found.append("a half-written file stands at the destination")
    found += all_faults(world / "store", oracle.observed, oracle.digests, later=False)
    if name in REPEATABLE and not out.exists():
        if not run_command(KILLED[name], world):
            found.append("the same command is refused afterwards")
        elif name == "get" and not is_whole(out):
            found.append("get wrote something else the second time")
        found += all_faults(world / "store", oracle.observed[-1:], oracle.digests)
    else:
        found += all_faults(world / "store", oracle.observed, oracle.digests)
    return found


def is_whole(path: Path) -> bool:
    """Whether a file has the tensors of lenet@1."""
    found = load_file(path)
    return found.keys() == numbers(1).keys() and all(
        np.array_equal(found[name], value) for name, value in numbers(1).items()
    )


def main() -> None:
    """Do what the command line says."""
    scratch = scratch_folder()
    try:
        report = kill_everywhere(sys.argv[1], int(sys.argv[2]), scratch)
    finally:
        shutil.rmtree(scratch)
    sys.stdout.write(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()

"""Two programs at once, one stopped before each of its calls while the other does all its work."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.crash.commands import (
    COMMANDS,
    REFUSALS,
    Command,
    all_faults,
    archive,
    collect,
    collect_now,
    copy_world,
    delete,
    digest,
    digest_of,
    drop_base,
    kept_versions,
    make_world,
    materialize,
    numbers,
    observe,
    open_at,
    planes,
    retain,
    run_command,
    strip,
    tuned,
    undo,
)
from tests.crash.exploring import scratch_folder

from mstore.errors import MstoreError
from mstore.ops.gc import Limits
from mstore.parts import utc_microseconds
from mstore.store import Store
from mstore.testing.filesystems import InterceptingFileSystem

PAIRS = 2
"""Of how many pairs one is tried, at one moment, unless MSTORE_THOROUGH asks for all."""
SPREAD = 37
"""So that the moments of the pairs are far from each other; a prime."""
PUTS = {"put new": numbers(6), "put changed": numbers(7), "put delta": tuned(2)}
TAKING = ("delete", "undo", "strip", "retain", "drop")
"""Commands that may take away what the other one has just put."""
BREAKING = Limits(grace=0.0, lease_ttl=-1.0, tmp_age=0.0, repack_at=0.1)


def is_taking(name: str) -> bool:
    """Whether a command takes versions away."""
    return any(word in name for word in TAKING)


def collect_breaking(store: Store, world: Path) -> None:
    """A collection that waits for no writer, but breaks the leases of all."""
    del world
    store.gc(now=True, limits=BREAKING)


def delete_tuned(store: Store, world: Path) -> None:
    """All versions go of which another model is a difference."""
    del world
    store.delete("tuned")


def in_turn(*commands: Command) -> Command:
    """Some commands one after another, each of which may be refused."""

    def run(store: Store, world: Path) -> None:
        for command in commands:
            with suppress(*REFUSALS):
                command(open_at(Path(store.path), clock=utc_microseconds), world)

    return run


MEANWHILE: dict[str, Command] = {
    **COMMANDS,
    "gc that breaks leases": collect_breaking,
    "delete, gc --now": in_turn(delete, collect_now),
    "delete, gc that breaks leases": in_turn(delete, collect_breaking),
    "strip, gc --now": in_turn(strip, collect_now),
    "retain, gc that breaks leases": in_turn(retain, collect_breaking),
    "drop base": drop_base,
    "delete all, gc --now": in_turn(delete_tuned, collect_now),
    "delete all, gc that breaks leases": in_turn(delete_tuned, collect_breaking),
    "materialize, gc --now": in_turn(materialize, collect_now),
    "archive, gc --now": in_turn(archive, collect_now),
    "planes, gc --now": in_turn(planes, collect_now),
    "archive, gc that breaks leases": in_turn(archive, collect_breaking),
    "undo, gc --now, gc --now": in_turn(undo, collect_now, collect_now),
    "delete, gc, undo, gc --now": in_turn(delete, collect, undo, collect_now),
}
"""What happens while the other program waits."""


class PausingFileSystem(InterceptingFileSystem):
    """Does ``action`` before the N-th call (counted from 1); ``done`` counts the calls."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        super().__init__()
        self.done = 0
        self._at = at
        self._action = action

    def intercept(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Do the call, and before it the action if it is time."""
        del name
        self.done += 1
        if self.done == self._at:
            self._action()
        return call(**arguments)


@cache
def count_calls(template: Path, scratch: Path, outer: str) -> int:
    """How many calls a command makes when nothing happens meanwhile."""
    world = copy_world(template, scratch / "count")
    counting = PausingFileSystem(0, lambda: None)
    run_command(COMMANDS[outer], world, counting, utc_microseconds)
    shutil.rmtree(world)
    return counting.done


@cache
def kept_in_turn(template: Path, scratch: Path, *names: str) -> frozenset[str]:
    """The versions that are kept after some commands one after another."""
    world = copy_world(template, scratch / "turn")
    for name in names:
        run_command(MEANWHILE[name], world, clock=utc_microseconds)
    kept = kept_versions(observe(open_at(world / "store")))
    shutil.rmtree(world)
    return frozenset(kept)


class Pair:
    """Two commands in one world, the second in the middle of the first."""

    def __init__(self, template: Path, scratch: Path, outer: str, inner: str) -> None:
        self._template = template
        self._scratch = scratch
        self._names = (outer, inner)
        self._must = self._kept_in_any_order()
        self.calls = count_calls(template, scratch, outer)

    def _kept_in_any_order(self) -> frozenset[str]:
        """The versions that neither takes away, whichever comes first."""
        # Of two that take versions away, what is meant depends on when each looked.
        if all(map(is_taking, self._names)):
            return frozenset()
        outer, inner = self._names
        orders = (), (outer, inner), (inner, outer)
        kept = [kept_in_turn(self._template, self._scratch, *order) for order in orders]
        return frozenset.intersection(*kept)

    def problems(self, at: int) -> Iterator[str]:
        """What is wrong when the second runs before the first one's call ``at``."""
        outer, inner = (MEANWHILE[name] for name in self._names)
        world = copy_world(self._template, self._scratch / "world")
        done: dict[str, bool] = {}

        def interrupt() -> None:
            done["inner"] = run_command(inner, world, clock=utc_microseconds)

        try:
            files = PausingFileSystem(at, interrupt)
            done["outer"] = run_command(outer, world, files, utc_microseconds)
        except MstoreError as error:
            yield f"{type(error).__name__}: {error}"
        else:
            yield from self._look(world, done)
        shutil.rmtree(world)

    def _look(self, world: Path, done: dict[str, bool]) -> Iterator[str]:
        store = open_at(world / "store")
        now = observe(store)
        kept = kept_versions(now)
        yield from (f"version {version} was lost" for version in self._must - kept)
        digests = {version: digest(store, version) for version in kept}
        yield from all_faults(world / "store", [now], digests)
        acknowledged = zip(self._names, (done["outer"], done["inner"]), strict=True)
        expected = [name for name, was_done in acknowledged if was_done and name in PUTS]
        for name in () if any(map(is_taking, self._names)) else expected:
            if digest_of(PUTS[name]) not in digests.values():
                yield f"'{name}' was acknowledged and is not there"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory, gone afterwards."""
    folder = scratch_folder()
    make_world(folder / "template")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("outer", COMMANDS)
def test_no_moment_is_bad(scratch: Path, outer: str, *, thorough: bool) -> None:
    """Whatever happens in the middle of a command, nothing is lost and nothing fails falsely."""
    found: dict[tuple[str, int], list[str]] = {}
    tried = 0
    first, stride = (0, 1) if thorough else (list(COMMANDS).index(outer) % PAIRS, PAIRS)
    for number, inner in itertools.islice(enumerate(MEANWHILE), first, None, stride):
        pair = Pair(scratch / "template", scratch, outer, inner)
        step = 1 if thorough else pair.calls
        for at in range(1 + number * SPREAD % step, pair.calls + 1, step):
            tried += 1
            problems = list(pair.problems(at))
            if problems:
                found[inner, at] = problems
    print(f"{outer}: {tried} moments")  # noqa: T201 - the count
    assert found == {}


def test_two_renames_lose_no_model(scratch: Path) -> None:
    """Of two programs that give a model the same new name, none loses it."""
    pair = Pair(scratch / "template", scratch, "rename", "rename")
    found = {at: list(pair.problems(at)) for at in range(1, pair.calls + 1)}
    assert {at: problems for at, problems in found.items() if problems} == {}

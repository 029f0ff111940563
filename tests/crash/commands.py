"""The commands whose crashes, faults and kills are tested, and what must hold after each.

A world is a folder with a store that has some history, another store to pull from, and a place
for files that are written out. Clocks stand still, so the same commands make the same versions.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from mstore.backends.checkout import Checkout
from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.errors import (
    ConflictError,
    ExistsError,
    InvalidInputError,
    MstoreError,
    NotFoundError,
)
from mstore.ops import get as get_module
from mstore.ops import planes as planes_module
from mstore.ops.archive import Terms
from mstore.ops.archive_survey import MIN_TENSOR
from mstore.ops.gc import Limits
from mstore.parts import init_parts, open_parts
from mstore.refs import HEADS, TAGS, Clock
from mstore.store import Store

NOON = 4_102_488_000_000_000
"""Microseconds: so late that every temporary file is old enough for gc."""

AT_ONCE = Limits(grace=0.0, tmp_age=0.0, repack_at=0.1)

REFUSALS = (ConflictError, ExistsError, InvalidInputError, NotFoundError)
"""What a command raises where it does not apply, such as deleting what is gone."""

Rows = tuple[tuple[int, str, str], ...]
Observed = Mapping[str, Rows]
"""Every name, such as "heads/lenet", with its rows: number, version, state."""


def noon() -> int:
    """A clock that stands still."""
    return NOON


def open_at(folder: Path, files: FileSystem | None = None, clock: Clock = noon) -> Store:
    """The store in a folder, at a fixed time."""
    return Store(open_parts(LocalBackend(folder, files), clock))


def init_at(folder: Path, files: FileSystem | None = None) -> Store:
    """A new store in a folder, at a fixed time."""
    return Store(init_parts(LocalBackend(folder, files), noon)[0])


def numbers(seed: int) -> dict[str, np.ndarray]:
    """Two tensors: one that many seeds share, one that only this seed has."""
    return {
        "shared": np.full(50, seed % 3, np.float32),
        "own": np.random.default_rng(seed).standard_normal(25, dtype=np.float32),
    }


def make_world(folder: Path) -> Path:
    """A world with work for every command; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    other = init_at(folder / "other")
    for seed in (1, 21):
        other.put(numbers(seed), "resnet")
    other.tag("resnet@1", "stable")
    store = init_at(folder / "store")
    store.put(numbers(1), "lenet")
    store.put(numbers(2), "lenet")
    store.tag("lenet@1", "best")
    store.put(numbers(3), "old")
    store.delete("old")
    store.gc()
    store.put(numbers(4) | {"more": numbers(5)["own"]}, "gone")
    store.put(numbers(4), "half")
    store.delete("gone")
    for step in range(2):
        store.put(tuned(step), "tuned")
    store.put(tuned(3), "raw", parents=["tuned@2"], codec="raw")
    return folder


def tuned(step: int) -> dict[str, np.ndarray]:
    """One tensor that is stored as a difference from that of the step before.

    It is just large enough to be archived.
    """
    start = np.random.default_rng(30).standard_normal(1100, dtype=np.float32)
    return {"weight": start + np.float32(step * 1e-6)}


def first_model(store: Store) -> str:
    """The first model by name."""
    return store.models()[0].name


def put_new(store: Store, world: Path) -> None:
    """A model of a new name, and a tag with it: two names change."""
    del world
    store.put(numbers(6), "alexnet", tags=["fresh"])


def put_changed(store: Store, world: Path) -> None:
    """The next version of a model."""
    del world
    store.put(numbers(7), first_model(store))


def put_delta(store: Store, world: Path) -> None:
    """The next version of a model, stored as a difference from the one before."""
    del world
    store.put(tuned(2), "tuned")


def put_unchanged(store: Store, world: Path) -> None:
    """A model that is stored already."""
    del world
    store.put(numbers(2), "lenet")


def tag(store: Store, world: Path) -> None:
    """A tag moves to the newest version of a model."""
    del world
    store.tag(first_model(store), "best")


def delete(store: Store, world: Path) -> None:
    """The newest version of a model goes."""
    del world
    row = store.models()[0]
    store.delete(f"{row.name}@{row.number}")


def rename(store: Store, world: Path) -> None:
    """A model gets another name: two names change."""
    del world
    store.rename(first_model(store), "zfnet")


def undo(store: Store, world: Path) -> None:
    """The newest change of a model is taken back."""
    del world
    store.undo(first_model(store))


def revert(store: Store, world: Path) -> None:
    """An old version of a model becomes its newest."""
    del world
    store.revert(f"{first_model(store)}@1")


def collect(store: Store, world: Path) -> None:
    """A collection that holds what it condemns."""
    del world
    store.gc()


def collect_now(store: Store, world: Path) -> None:
    """A collection that deletes at once."""
    del world
    store.gc(now=True, limits=AT_ONCE)


def strip(store: Store, world: Path) -> None:
    """Only one version keeps its bytes."""
    del world
    store.strip([first_model(store)])


def retain(store: Store, world: Path) -> None:
    """The bytes of an old version go, those that the newest is a difference from excepted."""
    del world
    store.retain("tuned", last=1)


def drop_base(store: Store, world: Path) -> None:
    """A version is deleted and collected, and the next one still needs its bytes as a base."""
    del world
    store.retain("tuned", last=1, forget=True)
    store.gc(now=True, limits=AT_ONCE)


def materialize(store: Store, world: Path) -> None:
    """A version that was stored as a difference becomes raw, and its old form is condemned."""
    del world
    store.materialize(["tuned"])


def archive(store: Store, world: Path) -> None:
    """What was raw becomes a difference, and what was one may become another."""
    del world
    store.archive(terms=Terms(alpha=3.0, measure="bytes"))


def planes(store: Store, world: Path) -> None:
    """A version is stored in steps: its leading bits apart from the others."""
    del world
    store_in_steps(store, "raw", (8, 16))


def tier(store: Store, world: Path) -> None:
    """The low planes of a version go to another store."""
    store_in_steps(store, "raw", (8, 16))
    with small_tensors():
        store.tier(world / "other", ["raw"])


def store_in_steps(store: Store, revision: str, levels: Sequence[int]) -> None:
    """What ``archive_planes`` does to large tensors, for small ones."""
    with small_tensors():
        store.archive_planes([revision], levels)


@contextmanager
def small_tensors() -> Iterator[None]:
    """A block in which small tensors are taken for large enough to be cut."""
    before = planes_module.MIN_TENSOR
    planes_module.MIN_TENSOR = MIN_TENSOR
    try:
        yield
    finally:
        planes_module.MIN_TENSOR = before


def pull(store: Store, world: Path) -> None:
    """All of another store comes in."""
    store.pull(world / "other")


def get(store: Store, world: Path) -> None:
    """The files of a version, written outside the store."""
    store.get("lenet@1", world / "out")


Command = Callable[[Store, Path], None]

COMMANDS: dict[str, Command] = {
    "put new": put_new,
    "put changed": put_changed,
    "put delta": put_delta,
    "put unchanged": put_unchanged,
    "tag": tag,
    "delete": delete,
    "rename": rename,
    "undo": undo,
    "revert": revert,
    "gc": collect,
    "gc --now": collect_now,
    "strip": strip,
    "retain": retain,
    "materialize": materialize,
    "archive": archive,
    "planes": planes,
    "tier": tier,
    "pull": pull,
}
"""The commands that change a store."""


@contextmanager
def checkouts_through(files: FileSystem | None) -> Iterator[None]:
    """A block in which ``get`` writes through a file system of the test's choice."""
    before = get_module.Checkout
    get_module.Checkout = partial(Checkout, fs=files)  # type: ignore[misc,assignment] # for a test
    try:
        yield
    finally:
        get_module.Checkout = before  # type: ignore[misc] # put back


def run_command(
    command: Command, world: Path, files: FileSystem | None = None, clock: Clock = noon
) -> bool:
    """Open the store and do one command; False when the command does not apply."""
    try:
        with checkouts_through(files):
            command(open_at(world / "store", files, clock), world)
    except REFUSALS as error:
        if "nothing was collected" in str(error):
            raise
        return False
    return True


def copy_world(source: Path, target: Path) -> Path:
    """A copy in which files with two names still are one file."""
    copies: dict[int, str] = {}

    def copy_file(old: str, new: str) -> None:
        inode = Path(old).stat().st_ino
        if inode in copies:
            os.link(copies[inode], new)
        else:
            shutil.copy2(old, new)
            copies[inode] = new

    shutil.copytree(source, target, copy_function=copy_file, symlinks=True)
    return target


def observe(store: Store) -> Observed:
    """What every name of a store holds."""
    return {
        f"{namespace}/{name}": tuple(
            (row.number, row.version.hex(), row.state) for row in table.rows.values()
        )
        for namespace in (HEADS, TAGS)
        for name, table in store.parts.refs.tables(namespace).items()
    }


def kept_versions(observed: Observed) -> set[str]:
    """The versions whose bytes some name keeps."""
    return {row[1] for rows in observed.values() for row in rows if row[2] == "kept"}


def digest(store: Store, version: str) -> str:
    """A hash of all tensors of a version, as they are loaded; nobody takes note of it."""
    return digest_of(store.read(f"blake3:{version}").load(verify=True))


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of some tensors with their names."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape} ".encode())
        total.update(array.tobytes())
    return total.hexdigest()


@dataclass
class Oracle:
    """What was acknowledged: the states of the names one after another, and all that was put."""

    observed: list[Observed] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)

    def learn(self, folder: Path) -> Observed:
        """Take in the store as it is now, after a command that was acknowledged."""
        store = open_at(folder)
        now = observe(store)
        for version in kept_versions(now) - self.digests.keys():
            self.digests[version] = digest(store, version)
        self.observed.append(now)
        return now

    def fork(self) -> "Oracle":
        """The same knowledge, to go on with in another direction."""
        return Oracle(list(self.observed), dict(self.digests))


def faults_of(folder: Path, allowed: Sequence[Observed]) -> Iterator[str]:
    """What is wrong with a store after a crash, when each name may be as in any of ``allowed``.

    With none allowed the names may be as they like.
    """
    store = open_at(folder)
    report = store.fsck(full=True)
    yield from (f"fsck: {finding.message}" for finding in report.errors)
    now = observe(store)
    if not allowed:
        return
    for name in {*now, *(name for state in allowed for name in state)}:
        rows = now.get(name, ())
        if all(rows != state.get(name, ()) for state in allowed):
            yield f"'{name}' is {rows}, not one of {[state.get(name, ()) for state in allowed]}"
    lost = set.intersection(*map(kept_versions, allowed)) - kept_versions(now)
    yield from (f"no name keeps version {version} any more" for version in lost)


def later_faults(folder: Path, digests: Mapping[str, str]) -> Iterator[str]:
    """What does not work in a store after a crash, without any repair: put, gc, loading."""
    store = open_at(folder)
    before = observe(store)
    store.put(numbers(90), "afterwards")
    store.gc(now=True, limits=AT_ONCE)
    after = dict(observe(store))
    if not after.pop("heads/afterwards", ()) or after != before:
        yield f"the names changed from {before} to {after}"
    known = {**digests, store.resolve("afterwards").version.hex(): digest_of(numbers(90))}
    for version in kept_versions(observe(store)):
        if digest(store, version) != known.get(version):
            yield f"version {version} does not load as it was put"
    left = [path.name for path in (folder / "tmp").iterdir()]
    if left:
        yield f"gc left {left} in tmp"


def all_faults(
    folder: Path, allowed: Sequence[Observed], digests: Mapping[str, str], *, later: bool = True
) -> list[str]:
    """Everything that is wrong with a store after a crash; an error is a fault too."""
    try:
        found = list(faults_of(folder, allowed))
        if later and not found:
            found = list(later_faults(folder, digests))
    except MstoreError as error:
        found = [f"{type(error).__name__}: {error}"]
    return found

"""Programs of their own that the tests of this folder start, kill and watch.

``worker.py write FOLDER INDEX SECONDS`` puts, deletes, undoes, tags and reverts, and prints what
must be readable afterwards. ``collect`` runs gc after gc. ``kill FOLDER WORK`` lets gc die before
each of its calls that change the disk, one after another.
"""

import json
import os
import random
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

import mstore
from mstore.backends.fsio import FileSystem
from mstore.errors import ConflictError, NotFoundError
from mstore.ops.check import check
from mstore.ops.gc import Limits
from mstore.store import Store, open_store
from mstore.testing.filesystems import KillingFileSystem

SEEDS = 6
FOREVER = 1e9
ANY = -1
"""The seed of a version that somebody else put."""


def numbers(seed: int) -> dict[str, np.ndarray]:
    """Two tensors: one that many seeds share, one that only this seed has."""
    rng = np.random.default_rng(seed)
    return {
        "shared": np.full(3000, seed % 3, np.float32),
        "own": rng.standard_normal(1500, dtype=np.float32),
    }


def is_whole(store: Store, revision: str, seed: int) -> bool:
    """Whether a version reads back as it was put."""
    found = store.load(revision)
    return all(np.array_equal(found[name], value) for name, value in numbers(seed).items())


class Writer:
    """One writer; ``kept`` is what was acknowledged and not deleted since: revision to seed."""

    def __init__(self, folder: str, index: int) -> None:
        self.store = mstore.open(folder)
        self.rng = random.Random(index)
        self.name = f"model{index}"
        self.index = index
        self.kept: dict[str, int] = {}
        self.conflicts = 0

    def work(self, seconds: float) -> None:
        """Do one thing after another until the time is over."""
        actions = [self.put] * 4 + [self.delete] * 5 + [self.tag, self.revert, self.tag_any]
        actions += [self.rename, self.put_shared]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.rng.choice(actions)()
            except ConflictError:
                self.conflicts += 1

    def put(self) -> None:
        """The next version of the own model."""
        self._put(self.name)

    def put_shared(self) -> None:
        """The next version of a model that all writers put and nobody deletes."""
        self._put("everybody")

    def _put(self, name: str) -> None:
        seed = self.rng.randrange(SEEDS)
        result = self.store.put(numbers(seed), name, always=True)
        self.kept[f"{name}@{result.number}"] = seed

    def delete(self) -> None:
        """Delete an own version, and sometimes take that back."""
        own = [revision for revision in self.kept if revision.startswith(f"{self.name}@")]
        if not own:
            return
        revision = self.rng.choice(own)
        seed = self.kept.pop(revision)
        try:
            self.store.delete(revision)
        except ConflictError:
            # It has a tag, or the lease was broken: then it was not deleted.
            self.kept[revision] = seed
            return
        if self.rng.random() < 0.5:
            with suppress(NotFoundError, ConflictError):
                self.store.undo(self.name)
                self.kept[revision] = seed

    def tag(self) -> None:
        """Move the own tag to any version that is there."""
        if not self.kept:
            return
        revision = self.rng.choice(list(self.kept))
        self.store.tag(revision, f"tag{self.index}")
        self.kept[f"tag{self.index}"] = self.kept[revision]

    def tag_any(self) -> None:
        """Tag the newest version of any model, which its writer may delete at this moment."""
        models = self.store.models()
        if not models:
            return
        tag = f"any{self.index}"
        with suppress(NotFoundError):
            self.store.tag(self.rng.choice(models).name, tag)
            self.kept[tag] = ANY

    def rename(self) -> None:
        """Give the own model another name and go on with that; tags keep their versions."""
        if any(revision.startswith(f"{self.name}@") for revision in self.kept):
            new = f"model{self.index}-{len(self.kept)}-{self.rng.randrange(10**6)}"
            try:
                self.store.rename(self.name, new)
            except ConflictError:
                # Broken in the middle: either name may hold the versions, or both.
                self._settle(new)
            else:
                self._move(new)

    def _settle(self, new: str) -> None:
        if any(model.name == new for model in self.store.models()):
            self._move(new)

    def _move(self, new: str) -> None:
        old = f"{self.name}@"
        moved = {key: seed for key, seed in self.kept.items() if key.startswith(old)}
        for key, seed in moved.items():
            del self.kept[key]
            self.kept[key.replace(old, f"{new}@")] = seed
        self.name = new

    def revert(self) -> None:
        """A new version with the files of an older one."""
        own = [revision for revision in self.kept if revision.startswith(f"{self.name}@")]
        if own:
            revision = self.rng.choice(own)
            moved = self.store.revert(revision)
            self.kept[moved.labels[0]] = self.kept[revision]


def collect(folder: str, index: int, seconds: float) -> int:
    """Run gc after gc; some break the leases of living writers. How many were done."""
    rng, done = random.Random(index), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ttl = -1.0 if rng.random() < 0.3 else FOREVER
        try:
            mstore.open(folder).gc(now=True, limits=Limits(lease_ttl=ttl, repack_at=0.1))
        except ConflictError:
            time.sleep(0.01)
        else:
            done += 1
    return done


def kill_everywhere(folder: str, work: str) -> int:
    """Let gc die before each call that changes the disk; after each, all must be readable."""
    step = 0
    while True:
        step += 1
        target = Path(work) / str(step)
        shutil.copytree(folder, target, symlinks=True)
        child = os.fork()
        if child == 0:
            files: FileSystem = KillingFileSystem(step)
            open_store(target, files=files).gc(now=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        _check_survivor(target)
        shutil.rmtree(target)
        if status == 0:
            return step - 1


def _check_survivor(target: Path) -> None:
    store = mstore.open(target)
    report = check(store.parts, full=True)
    assert report.clean, report.errors
    assert is_whole(store, "kept", 1)
    assert is_whole(store, "half", 2)
    store.gc(now=True)
    plan = store.gc(now=True, dry_run=True)
    assert plan.plan.dead_bytes == 0
    assert plan.held == []
    assert plan.condemned == []
    assert is_whole(store, "half", 2)


def main() -> None:
    """Do what the command line says and print the outcome as JSON."""
    mode, folder, *rest = sys.argv[1:]
    outcome: object
    if mode == "write":
        writer = Writer(folder, int(rest[0]))
        writer.work(float(rest[1]))
        outcome = {"kept": writer.kept, "conflicts": writer.conflicts}
    elif mode == "collect":
        outcome = collect(folder, int(rest[0]), float(rest[1]))
    else:
        outcome = kill_everywhere(folder, rest[0])
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main()

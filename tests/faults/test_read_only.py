"""A store that takes no writes can be read in every way."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.crash.commands import COMMANDS, digest, make_world, numbers, open_at, run_command

from mstore.errors import StorageError
from mstore.testing.filesystems import CHANGES, InterceptingFileSystem


class ReadOnlyFileSystem(InterceptingFileSystem):
    """Refuses every call that would change the disk."""

    def intercept(self, name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Do the call, or refuse it."""
        if name in CHANGES - {"close", "fsync"}:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return call(**arguments)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A world with some history."""
    return make_world(tmp_path / "world")


def test_reading_needs_no_write_access(world: Path, tmp_path: Path) -> None:
    """List, log, show, load, get, du, why, identify and fsck write nothing to the store."""
    store = open_at(world / "store", ReadOnlyFileSystem())
    assert [row.name for row in store.models()] == ["half", "lenet", "raw", "tuned"]
    assert len(store.log("lenet")) == 2
    version = store.show("lenet").id
    assert digest(store, version.hex()) == digest(open_at(world / "store"), version.hex())
    assert np.array_equal(store.load("best")["own"], numbers(1)["own"])
    store.get("lenet", tmp_path / "out")
    assert store.identify(tmp_path / "out").exact
    assert store.du()
    assert store.why(version.hex())
    assert store.fsck(full=True).clean
    assert store.gc(dry_run=True).plan.dead_bytes > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_changing_says_why_not(world: Path, name: str) -> None:
    """Every command that would write says that the place is read-only."""
    with pytest.raises(StorageError, match="read-only file system") as caught:
        run_command(COMMANDS[name], world, ReadOnlyFileSystem())
    assert "read-only" in (caught.value.hint or "")


def test_pulling_from_a_read_only_store(world: Path) -> None:
    """The store that is pulled from is not written to."""
    before = set((world / "other").rglob("*"))
    run_command(COMMANDS["pull"], world)
    assert set((world / "other").rglob("*")) == before

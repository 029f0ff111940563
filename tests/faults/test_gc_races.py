"""The one order of steps in which a name that was read under a lease is not enough.

tests/model/gc_model.py finds it when taggers do not revive; here it is played on real files.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mstore
from mstore.errors import MstoreError
from mstore.format.slots import Row
from mstore.ops.check import check
from mstore.parts import Transaction
from mstore.refs import HEADS, Change
from mstore.store import Store, open_store
from mstore.testing.filesystems import InterceptingFileSystem

SECONDS = 20


class Stage(InterceptingFileSystem):
    """Calls each action once, in their order, just before a call of its primitive on its folder."""

    def __init__(self, *scenes: tuple[str, str, Callable[[], None]]) -> None:
        super().__init__()
        self._scenes = list(scenes)

    def intercept(
        self, name: str, call: Callable[..., object], arguments: dict[str, object]
    ) -> object:
        """Do the call, after the next action if it is due."""
        if self._scenes:
            primitive, folder, action = self._scenes[0]
            place = str(arguments.get("target") or arguments.get("place"))
            if name == primitive and folder in place:
                del self._scenes[0]
                action()
        return call(**arguments)


Act = Callable[[Store], object]


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.tag("again", "best"),
        lambda store: store.rename("again", "best"),
        lambda store: store.put({"other": np.ones(5, np.float32)}, "best", parents=["again"]),
    ],
    ids=["tag", "rename", "put"],
)
def test_condemned_version_gets_a_new_name(store: Store, act: Act) -> None:
    """A name given to a version whose pack is condemned keeps the pack from being deleted."""
    weights = {"w": np.arange(2000, dtype=np.float32)}
    store.put(weights, "gone")
    version = store.resolve("gone").version
    store.delete("gone")
    row = Row(1, bytes(version), "kept")
    at_commit, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        at_commit.set()
        assert go_on.wait(SECONDS)

    writer = Transaction(store.parts)
    actor = open_store(store.path, files=Stage(("link", "/refs/", wait)))
    with ThreadPoolExecutor(1) as pool:

        def commit_late() -> None:
            writer.publish()
            writer.commit(HEADS, "again", lambda _: Change((row,), "put"))
            writer.__exit__(None, None, None)

        def let_the_actor_look() -> None:
            acting.append(pool.submit(act, actor))
            assert at_commit.wait(SECONDS)
            mstore.open(store.path).delete("again")

        acting: list[Future[object]] = []
        stage = Stage(("link", "/epoch/", commit_late), ("scan", "/leases", let_the_actor_look))
        open_store(store.path, files=stage).gc(now=True)
        go_on.set()
        failure = acting[0].exception(SECONDS)
        assert failure is None or isinstance(failure, MstoreError)
    report = check(mstore.open(Path(store.path)).parts, full=True)
    assert report.clean, report.errors

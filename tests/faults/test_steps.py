"""A training run that is killed at any moment has every step that it was told is durable."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.faults.steps_worker import state

from mstore.store import Store

WORKER = Path(__file__).with_name("steps_worker.py")


def last_acknowledged(store: Store, lines: int) -> int:
    """Kill a training program after it has acknowledged some steps; the last of them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, str(WORKER), store.path]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stdout is not None
        for _ in range(lines):
            program.stdout.readline()
        program.kill()
        # What it wrote before it died counts too; the last line may be cut.
        rest = [text for text in program.stdout.readlines() if text.endswith("\n")]
    return max([lines - 1, *map(int, rest)])


@pytest.mark.parametrize("lines", [1, 5, 17])
def test_killed_while_training(store: Store, lines: int) -> None:
    """After SIGKILL all acknowledged steps resume with their optimizer, and the store is sound."""
    last = last_acknowledged(store, lines)
    rows = [row.version for row in reversed(store.log("run"))]
    found = [row.metadata["step"] for row in rows if row is not None]
    assert found == list(range(len(found)))
    assert len(found) > last
    for step in found:
        resumed = store.resume("run", step)
        assert np.array_equal(resumed.model["w"], state(step)["w"])
        assert resumed.optimizer is not None
        assert resumed.trainer == {"step": step}
        assert np.array_equal(resumed.optimizer["m"], np.full(5000, step))
    assert store.fsck(full=True).clean


def test_a_killed_run_goes_on(store: Store) -> None:
    """The next program continues with the step after the last one that is there."""
    last_acknowledged(store, 3)
    last = store.resume("run").step
    store.checkpoint(state(last + 1), "run", last + 1, optimizer={"m": np.zeros(3)})
    store.flush()
    assert store.resume("run").step == last + 1

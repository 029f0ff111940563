"""Eight programs that put, delete, undo, tag and collect at once lose nothing.

MSTORE_SECONDS says for how long; a few seconds if it is not set.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import numpy as np

import mstore
from mstore.ops.check import check
from mstore.store import Store

WRITERS = 6
COLLECTORS = 2
ANY = -1
"""The seed that worker.py gives for versions that another writer put."""
SECONDS = float(os.environ.get("MSTORE_SECONDS", "4"))


def numbers(seed: int) -> dict[str, np.ndarray]:
    """The two tensors that worker.py puts for a seed."""
    rng = np.random.default_rng(seed)
    return {
        "shared": np.full(3000, seed % 3, np.float32),
        "own": rng.standard_normal(1500, dtype=np.float32),
    }


def test_eight_programs_at_once(store: Store, start: Callable[..., "Popen[str]"]) -> None:
    """Every version that was acknowledged and not deleted reads back, and fsck is clean."""
    writers = [start("write", store.path, index, SECONDS) for index in range(WRITERS)]
    collectors = [start("collect", store.path, index, SECONDS) for index in range(COLLECTORS)]
    outcomes = []
    for program in (*writers, *collectors):
        output, errors = program.communicate()
        assert program.returncode == 0, errors
        outcomes.append(json.loads(output))
    assert sum(outcomes[WRITERS:]) > 0
    again = mstore.open(Path(store.path))
    kept = [item for outcome in outcomes[:WRITERS] for item in outcome["kept"].items()]
    assert len(kept) > WRITERS
    for revision, seed in kept:
        found = again.load(revision)
        for name, value in numbers(seed).items() if seed != ANY else ():
            assert np.array_equal(found[name], value), revision
    report = check(again.parts, full=True)
    assert report.clean, report.errors
    generations = [slot.generation for slot in again.parts.refs.history("heads", "everybody")]
    assert generations == list(range(len(generations), 0, -1))

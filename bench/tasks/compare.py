"""Compares two versions on two threads, or infers the parent of one among many models.

Usage: compare.py diff STORE A B | infer STORE MODELS. Prints JSON: the seconds, without imports,
and for a diff what was read and found. ``infer`` first makes a store of MODELS models of 241
tensors as small as a sketch lets them be: no byte of a tensor is read, so it takes as long as for
large ones.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import mstore

TENSORS = 241
FAMILIES = 10
EDGE = 48
STEP = np.float32(0.01)


def compare(place: str, base: str, other: str) -> dict[str, object]:
    """Times one comparison."""
    store = mstore.open(place)
    start = time.perf_counter()
    found = store.diff(base, other)
    seconds = time.perf_counter() - start
    total = found.others[0].total
    share = 0.0 if total is None else total.changed_share
    return {"seconds": seconds, "read": found.bytes_read, "changed": share}


def infer(place: Path, count: int) -> dict[str, object]:
    """Makes the models, and times the search for the parent of the last one."""
    store, _ = mstore.init(place)
    rng = np.random.default_rng(10)
    families = [
        {f"{i}.weight": rng.standard_normal((EDGE, EDGE), np.float32) for i in range(TENSORS)}
        for _ in range(FAMILIES)
    ]
    for number in range(count):
        tuned = {
            name: array + STEP * rng.standard_normal(array.shape, np.float32)
            for name, array in families[number % FAMILIES].items()
        }
        store.put(tuned, name=f"model-{number:03}", parents=[])
    start = time.perf_counter()
    found = mstore.open(place).infer_parents(f"model-{count - 1:03}")
    seconds = time.perf_counter() - start
    (guess,) = found.parents
    ours, theirs = (int(label[6:9]) % FAMILIES for label in (guess.label, guess.parent_label))
    if ours != theirs:
        raise AssertionError("the parent is of another family")
    return {"seconds": seconds, "considered": found.considered}


def main(what: str, *words: str) -> None:
    """Runs one of the two on two cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    found = compare(*words) if what == "diff" else infer(Path(words[0]), int(words[1]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

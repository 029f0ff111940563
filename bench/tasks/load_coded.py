"""Loads a model several times into new arrays on two threads, and compares it with its file.

Usage: load_coded.py STORE REVISION FILE COUNT. Prints JSON: the seconds of each load,
without imports, and the speeds of the machine. COUNT 0 loads nothing, to see what the imports hold;
COUNT 1 compares nothing, so that nothing but the load is in memory.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from references import flat
from safetensors import safe_open
from speeds import speeds

import mstore


def seconds_of(place: str, revision: str) -> tuple[float, dict[str, torch.Tensor]]:
    """One load from a store that is opened for it."""
    start = time.perf_counter()
    found = mstore.open(place).load(revision, framework="torch")
    return time.perf_counter() - start, found


def check(found: dict[str, torch.Tensor], file: Path) -> None:
    """AssertionError unless every tensor has the bytes of the file; one tensor at a time."""
    with safe_open(file, framework="pt") as original:
        if set(original.keys()) != set(found):
            raise AssertionError("the names of the tensors differ")
        for name in original.keys():  # noqa: SIM118  the class has no iterator
            if not bool((flat(original.get_tensor(name)) == flat(found[name])).all()):
                raise AssertionError(f"'{name}' is not what the file holds")


def main(place: str, revision: str, file: Path, count: int) -> None:
    """Times the loads; checks each outside the time. A single load is there to be watched."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    times = []
    for _ in range(count):
        seconds, found = seconds_of(place, revision)
        times.append(seconds)
        if count > 1:
            check(found, file)
        del found
    scale = speeds() if count > 1 else {}
    print(json.dumps({"seconds": times, "speeds": scale}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))

"""A training program that is killed: ``steps_worker.py STORE`` prints each step that is durable."""

import sys
from collections import deque

import numpy as np

import mstore
from mstore.ops.steplog.step import Pending


def state(step: int) -> dict[str, np.ndarray]:
    """What a step stores."""
    rng = np.random.default_rng(step)
    return {"w": rng.standard_normal(20_000, dtype=np.float32), "b": np.zeros(10)}


def main() -> None:
    """Store steps until the end of the world."""
    store = mstore.open(sys.argv[1])
    waiting: deque[Pending] = deque()
    for step in range(10_000):
        words = {"optimizer": {"m": np.full(5000, step)}, "trainer": {"step": step}}
        waiting.append(store.checkpoint(state(step), "run", step, **words))
        while waiting and waiting[0].done():
            waiting.popleft().result()
            sys.stdout.write(f"{step - len(waiting)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Builds a store of many versions: half of them of one model, the rest spread over fifty.

Usage: make_store.py STORE VERSIONS. Every version has ten tensors that no other version has, and
fifty metrics.
"""

import sys
from pathlib import Path

import numpy as np

import mstore


def name_of(number: int, versions: int) -> str:
    """The model that version `number` belongs to."""
    return "large" if number < versions // 2 else f"model-{number % 50:02}"


def main(place: Path, versions: int) -> None:
    """Puts one version after another."""
    store, _ = mstore.init(place)
    rng = np.random.default_rng(6)
    for number in range(versions):
        numbers = rng.standard_normal((10, 64), dtype=np.float32)
        tensors = {f"layer.{i}.weight": row for i, row in enumerate(numbers)}
        name = name_of(number, versions)
        metrics = {f"val/metric-{i:02}": float(found) for i, found in enumerate(rng.random(48))}
        metrics |= {"loss": 1 / (1 + number), "val/accuracy": number / versions}
        store.put(
            tensors,
            name=name,
            message=f"step {number}",
            task="object-detection" if number % 3 else "image-classification",
            params={"lr": 10.0 ** -(number % 5), "seed": number},
            metrics=metrics,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

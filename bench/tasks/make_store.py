"""Builds a store of many versions: half of them of one model, the rest spread over fifty.

Usage: make_store.py STORE VERSIONS [METRICS]. Every version has ten tensors that no other version
has, and as many metrics, if any.
"""

import sys
from pathlib import Path

import numpy as np

import mstore


def name_of(number: int, versions: int) -> str:
    """The model that version `number` belongs to."""
    return "large" if number < versions // 2 else f"model-{number % 50:02}"


def metrics_of(number: int, versions: int, random: list[float]) -> dict[str, float]:
    """The metrics of a version: as many as there are random numbers, two of them not random."""
    found = {f"val/metric-{i:02}": value for i, value in enumerate(random[2:])}
    return found | {"loss": 1 / (1 + number), "val/accuracy": number / versions}


def main(place: Path, versions: int, metrics: int = 0) -> None:
    """Puts one version after another."""
    store, _ = mstore.init(place)
    rng = np.random.default_rng(6)
    for number in range(versions):
        numbers = rng.standard_normal((10, 64), dtype=np.float32)
        tensors = {f"layer.{i}.weight": row for i, row in enumerate(numbers)}
        name = name_of(number, versions)
        random = rng.random(metrics).tolist()
        store.put(
            tensors,
            name=name,
            message=f"step {number}",
            task="object-detection" if number % 3 else "image-classification",
            params={"lr": 10.0 ** -(number % 5), "seed": number},
            metrics=metrics_of(number, versions, random) if metrics else None,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

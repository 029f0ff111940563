"""Loads a model as torch tensors and touches every byte; prints the seconds and a sum.

Usage: load.py mapped|verified|safetensors|tensorfs PLACE [NAME]
"""

import json
import sys
import time
from collections.abc import Mapping

import torch
from safetensors.torch import load_file

import mstore

Tensors = Mapping[str, torch.Tensor]


def touch(tensors: Tensors) -> int:
    """Adds up all bytes, eight at a time."""
    total = 0
    for name in sorted(tensors):
        total += int(tensors[name].reshape(-1).view(torch.int64).sum())
    return total % (1 << 64)


def by_tensorfs(place: str, name: str) -> Tensors:
    """Loads by tensorfs."""
    import tensorfs  # noqa: PLC0415  it may not be installed

    checkpoint = tensorfs.open(name, cache_dir=place, local_files_only=True)
    arrays = checkpoint.components["model"].tensors.read(device="cpu")
    return {key: torch.from_dlpack(array) for key, array in arrays.items()}


def load(how: str, place: str, name: str) -> Tensors:
    """Loads in one of the four ways."""
    if how == "safetensors":
        return load_file(place)
    if how == "tensorfs":
        return by_tensorfs(place, name)
    store = mstore.open(place)
    return store.load(name, framework="torch", verify=how == "verified")


def main(how: str, place: str, name: str = "") -> None:
    """Times one load and touch."""
    start = time.perf_counter()
    total = touch(load(how, place, name))
    print(json.dumps({"seconds": time.perf_counter() - start, "sum": total}))


if __name__ == "__main__":
    main(*sys.argv[1:])

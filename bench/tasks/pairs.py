"""Measures pairs of a model and what it became: stored by mstore, and as XOR + planes + zstd-1.

Usage: pairs.py FOLDER LIST, where LIST is a JSON file of [label, base, tuned], the last two each
a safetensors file. Stores are made in FOLDER. Prints JSON, bytes per pair; both ways are decoded
again and compared.
"""

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from references import by_planes, flat, from_planes
from safetensors.torch import load_file

import mstore

Weights = dict[str, torch.Tensor]


def require(same: bool, label: str) -> None:  # noqa: FBT001  a claim
    """AssertionError unless what came back is what was given."""
    if not same:
        raise AssertionError(f"'{label}' did not come back as it was")


def reference(label: str, base: Weights, tuned: Weights) -> int:
    """Bytes as XOR + byte planes + zstd-1; what has no counterpart goes without the XOR."""

    def one(name: str) -> int:
        content = flat(tuned[name])
        width = tuned[name].element_size()
        other = flat(base[name]) if name in base else content
        changed = content ^ other if name in base and len(other) == len(content) else content
        stored = by_planes(changed, width)
        require(bool((from_planes(stored, len(changed), width) == changed).all()), label)
        return min(len(stored), len(content))

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(one, tuned))


def in_store(folder: Path, label: str, base: Path, tuned: Path, policy: str) -> int:
    """Bytes by which a store of `base` grows, whatever they are for, cache/ aside."""
    place = folder / "pair"
    shutil.rmtree(place, ignore_errors=True)
    store, _ = mstore.init(place)
    store.put(base, "model", codec=policy)
    before = size_of(place)
    store.put(tuned, "model", codec=policy)
    grown = size_of(place) - before
    got, wanted = mstore.open(place).load("model", framework="torch"), load_file(tuned)
    require(got.keys() == wanted.keys(), label)
    for name, tensor in wanted.items():
        require(bool((flat(got[name]) == flat(tensor)).all()), label)
    shutil.rmtree(place)
    return grown


def size_of(place: Path) -> int:
    """Bytes of a store, its cache aside."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return sum(p.stat().st_size for p in files if p.relative_to(place).parts[0] != "cache")


def main(folder: Path, pairs: list[tuple[str, str, str]]) -> None:
    """Prints one object per pair."""
    found = []
    for label, base, tuned in pairs:
        row: dict[str, object] = {"label": label, "size": Path(tuned).stat().st_size}
        row["reference"] = reference(label, load_file(base), load_file(tuned))
        for policy in ("auto", "small"):
            row[policy] = in_store(folder, label, Path(base), Path(tuned), policy)
        found.append(row)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))

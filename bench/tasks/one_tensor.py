"""Reads twenty tensors of 2 MiB by name, one at a time, and prints the times in milliseconds.

Usage: one_tensor.py mstore|safetensors|tensorfs|hf-xet PLACE FILE [IDS], where FILE is the original
that the bytes are compared with.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

import mstore

SIZE = 2 << 20
COUNT = 20
Spans = dict[str, tuple[int, int]]


def spans_of(path: Path) -> Spans:
    """Where the tensors of 2 MiB lie in the file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    found = {n: t["data_offsets"] for n, t in header.items() if n != "__metadata__"}
    base = 8 + length
    return {n: (base + a, base + b) for n, (a, b) in found.items() if b - a == SIZE}


def by_mstore(place: str, spans: Spans, ids: str) -> Callable[[str], object]:
    """Through an open store, the version found by its name each time."""
    del spans, ids
    store = mstore.open(place)
    return lambda name: store.read("model", framework="torch").get_tensor(name)


def by_safetensors(place: str, spans: Spans, ids: str) -> Callable[[str], object]:
    """Through safe_open, opened each time, which checks nothing."""
    del spans, ids
    return lambda name: safe_open(place, framework="pt").get_tensor(name).clone()


def by_tensorfs(place: str, spans: Spans, ids: str) -> Callable[[str], object]:
    """Through a store, the checkpoint opened by its name each time."""
    del spans, ids
    import tensorfs  # noqa: PLC0415  it may not be installed

    def read(name: str) -> object:
        checkpoint = tensorfs.open("local/a", cache_dir=place, local_files_only=True)
        tensors = checkpoint.components["model"].tensors
        return torch.from_dlpack(tensors.read([name], device="cpu")[name])

    return read


def by_xet(place: str, spans: Spans, ids: str) -> Callable[[str], object]:
    """Through ranges of the file, whose header the caller would have to know."""
    import hf_xet  # noqa: PLC0415  it may not be installed

    [[_, digest, size]] = json.loads(Path(ids).read_text())
    session = hf_xet.XetSession()
    group = session.new_download_stream_group(endpoint=f"local://{place}")
    file = hf_xet.XetFileInfo(digest, size)

    def read(name: str) -> bytes:
        start, end = spans[name]
        return b"".join(group.download_stream(file, start=start, end=end))

    return read


def plain(value: object) -> bytes:
    """The bytes of what a reader gave."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().view(torch.uint8).numpy().tobytes()
    return value if isinstance(value, bytes) else np.asarray(value).tobytes()


WAYS = {
    "mstore": by_mstore,
    "safetensors": by_safetensors,
    "tensorfs": by_tensorfs,
    "hf-xet": by_xet,
}


def main(how: str, place: str, file: str, ids: str = "") -> None:
    """Times every read; checks each against the file outside the time."""
    spans = spans_of(Path(file))
    read = WAYS[how](place, spans, ids)
    names = sorted(spans)[:: max(1, len(spans) // COUNT)][:COUNT]
    times = []
    for name in names:
        start = time.perf_counter()
        value = read(name)
        times.append(1000 * (time.perf_counter() - start))
        with Path(file).open("rb") as original:
            original.seek(spans[name][0])
            if original.read(SIZE) != plain(value):
                raise AssertionError(f"'{name}' is not what the file holds")
    words = {"median": statistics.median(times), "worst": max(times[1:]), "first": times[0]}
    print(json.dumps(words))


if __name__ == "__main__":
    main(*sys.argv[1:])

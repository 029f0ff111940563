"""Sizes of one model file, tensor by tensor, by codecs without a base; prints JSON.

Usage: first.py FILE bf16|fp16|fp32. Every result is decoded and compared. `zipnn` is left out
where it is missing.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from backports import zstd
from references import Bytes, by_planes, flat, from_planes
from safetensors.torch import load_file

Both = tuple[Callable[[Bytes, int], bytes], Callable[[bytes, int, int], bytes | Bytes]]

WAYS: dict[str, Both] = {
    "zstd-3": (
        lambda content, _: zstd.compress(content, 3),
        lambda stored, _, __: zstd.decompress(stored),
    ),
    "byte planes + zstd-1": (by_planes, from_planes),
}


def zipnn_ways() -> dict[str, Both]:
    """zipnn, one codec per dtype; it works on a copy, because it changes what it is given."""
    try:
        from zipnn import ZipNN  # noqa: PLC0415  it may not be installed
    except ImportError:
        return {}
    kinds = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    coders = {
        kind: ZipNN(input_format="byte", bytearray_dtype=dtype, threads=1)
        for kind, dtype in kinds.items()
    }

    def way(kind: str) -> Both:
        coder = coders[kind]
        return (
            lambda content, _: bytes(coder.compress(bytearray(content.tobytes()))),
            lambda stored, _, __: coder.decompress(stored),
        )

    return {f"zipnn, {kind}": way(kind) for kind in coders}


def measured(tensors: dict[str, torch.Tensor], way: Both) -> dict[str, float]:
    """Bytes and seconds of all tensors one after another; no tensor counts more than raw."""
    encode, decode = way
    total, seconds = 0, 0.0
    for name, tensor in tensors.items():
        content, width = flat(tensor), tensor.element_size()
        start = time.perf_counter()
        stored = encode(content, width)
        seconds += time.perf_counter() - start
        got = np.frombuffer(memoryview(decode(stored, len(content), width)), np.uint8)
        if not np.array_equal(got, content):
            raise AssertionError(f"'{name}' did not come back as it was")
        total += min(len(stored), len(content))
    return {"bytes": total, "seconds": seconds}


def main(file: Path, kind: str) -> None:
    """Prints what each way makes of the file."""
    tensors = load_file(file)
    ways = dict(WAYS)
    for name, way in zipnn_ways().items():
        if name.endswith(kind):
            ways["zipnn"] = way
    found = {name: measured(tensors, way) for name, way in ways.items()}
    print(json.dumps({"size": file.stat().st_size, "ways": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

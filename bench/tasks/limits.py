"""Prints the limits of the machine as JSON: memory, hashing and disk, each the best of a few."""

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3
import numpy as np

PIECE = 4 << 20


def best(task: Callable[[], object], size: int, times: int = 5) -> float:
    """The greatest speed of `task` in GiB/s."""
    least = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        task()
        least = min(least, time.perf_counter() - start)
    return size / least / (1 << 30)


def hash_in_threads(pieces: list[memoryview], threads: int) -> None:
    """Hashes every piece by itself on a pool of `threads`."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: blake3.blake3(piece).digest(), pieces))


def write(path: Path, content: memoryview, *, durable: bool) -> None:
    """Writes a new file, with an fsync when `durable`."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    for start in range(0, len(content), PIECE):
        os.write(descriptor, content[start : start + PIECE])
    if durable:
        os.fsync(descriptor)
    os.close(descriptor)


def read(path: Path) -> None:
    """Reads a file piece by piece into one buffer."""
    buffer = bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def main(folder: Path, size: int) -> dict[str, str]:
    """Measures everything on `size` bytes, in files in `folder`."""
    content = np.random.default_rng(0).integers(0, 1 << 63, size // 8, dtype=np.int64)
    target = np.empty_like(content)
    target.fill(1)
    view = memoryview(content.data).cast("B")
    pieces = [view[start : start + PIECE] for start in range(0, size, PIECE)]
    path = folder / "limits.bin"
    speeds = {
        "memcpy": best(lambda: np.copyto(target, content), size),
        "BLAKE3, one thread, 4 MiB pieces": best(lambda: hash_in_threads(pieces, 1), size),
        "BLAKE3, two threads, 4 MiB pieces": best(lambda: hash_in_threads(pieces, 2), size),
        "SHA-256": best(lambda: hashlib.sha256(view).digest(), size, 2),
        "write into the page cache": best(lambda: write(path, view, durable=False), size),
    }
    os.sync()
    speeds["write and fsync"] = best(lambda: write(path, view, durable=True), size)
    speeds["read from the page cache"] = best(lambda: read(path), size)
    path.unlink()
    words = {name: f"{speed:.2f} GiB/s" for name, speed in speeds.items()}
    return {"Python": platform.python_version(), **words}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), (32 if int(sys.argv[2]) else 512) << 20)))

"""Measures how fast the codecs encode and decode chunks of 4 MiB, on one and on two threads.

Usage: codec_speed.py MODEL TUNED WIDTH MIB, two files of the same layout with numbers of WIDTH
bytes, of which the first MIB are taken. Prints JSON in GiB/s of original bytes, together with the
speeds that they are to be scaled by.
"""

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from limits import best
from speeds import speeds

from mstore.codecs import DELTA_PCO, PCO, SPLIT_FLOAT, Layout, codec

CHUNK = 4 << 20
CODES = {"split-float": SPLIT_FLOAT, "pco": PCO, "delta-pco": DELTA_PCO}


def chunks_of(path: Path, size: int) -> list[bytes]:
    """The first bytes of the tensors of a safetensors file, in chunks."""
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), 1)
        size = min(size, path.stat().st_size - file.tell()) // CHUNK * CHUNK
        return [file.read(CHUNK) for _ in range(size // CHUNK)]


def speed(task: Callable[[int], object], count: int, threads: int) -> float:
    """GiB/s of doing `task` for every chunk, the chunks shared among threads."""

    def every() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, range(count)))

    return float(best(every, count * CHUNK, 2))


def measure(name: str, chunks: list[bytes], bases: list[bytes], width: int) -> dict[str, Any]:
    """Both ways of one codec, on one and two threads, and the ratio."""
    coder, layout = codec(CODES[name]), Layout(width)
    given: Iterable[bytes | None] = bases if coder.TAKES_BASE else [None] * len(chunks)
    bases_or_none = list(given)
    results: list[bytes] = [b""] * len(chunks)
    targets = [bytearray(CHUNK) for _ in chunks]

    def encode(number: int) -> None:
        stored = coder.encode(chunks[number], layout, bases_or_none[number])
        results[number] = stored if stored is not None else b""

    def decode(number: int) -> None:
        target = memoryview(targets[number])
        coder.decode_into(results[number], target, bases_or_none[number])

    found: dict[str, Any] = {}
    for threads in (1, 2):
        found[f"encode {threads}"] = speed(encode, len(chunks), threads)
    for threads in (1, 2):
        found[f"decode {threads}"] = speed(decode, len(chunks), threads)
    if any(target != chunk for target, chunk in zip(targets, chunks, strict=True)):
        raise AssertionError(f"'{name}' did not give back what it was given")
    return {**found, "ratio": sum(map(len, results)) / (len(chunks) * CHUNK)}


def main(model: Path, tuned: Path, width: int, size: int) -> None:
    """Prints everything."""
    bases, chunks = chunks_of(model, size), chunks_of(tuned, size)
    found = {name: measure(name, chunks, bases, width) for name in CODES}
    print(json.dumps({"codecs": found, "speeds": speeds()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) << 20)

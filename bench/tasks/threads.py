"""Measures reading with one and two threads, and a counting thread beside bulk operations.

Usage: threads.py STORE FILE, where STORE holds FILE as the newest version of `model`.
"""

import hashlib
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mstore


def read_speed(store: mstore.Store, threads: int) -> float:
    """Bytes per second over all tensors, the names divided among `threads`."""
    reader = store.read("model", framework="torch")
    names = sorted(reader.keys())

    def share(number: int) -> int:
        return sum(reader.get_tensor(name).nbytes for name in names[number::threads])

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        size = sum(pool.map(share, range(threads)))
    return size / (time.perf_counter() - start)


class Counter:
    """A thread that counts in pure Python and notes its longest pause."""

    def __init__(self) -> None:
        self.count = 0
        self.pause = 0.0
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._stop:
            self.count += 1
            now = time.perf_counter()
            self.pause = max(self.pause, now - last)
            last = now

    def beside(self, task: Callable[[], object]) -> dict[str, float]:
        """Counts while `task` runs; gives counts per second and the longest pause in seconds."""
        self._thread.start()
        start = time.perf_counter()
        task()
        seconds = time.perf_counter() - start
        self._stop = True
        self._thread.join()
        return {"rate": self.count / seconds, "pause": self.pause}


def main(place: Path, file: Path) -> None:
    """Prints everything as JSON."""
    store = mstore.open(place)
    read_speed(store, 1)
    speeds = {str(n): max(read_speed(store, n) for _ in range(3)) for n in (1, 2)}
    content = file.read_bytes()
    fresh = Path(tempfile.mkdtemp(dir=place.parent))
    empty, _ = mstore.init(fresh / "store")
    tasks: dict[str, Callable[[], object]] = {
        "nothing": lambda: time.sleep(1),
        "SHA-256 (releases the lock)": lambda: hashlib.sha256(content).digest(),
        "a copy of bytes (holds the lock)": lambda: bytearray(content),
        "mstore put, new model, default codec": lambda: empty.put(file, name="model"),
        "mstore put, unchanged model": lambda: empty.put(file, name="model"),
        "mstore load, raw, verified": lambda: store.load("model", framework="torch"),
        "mstore load, encoded": lambda: empty.load("model", framework="torch"),
        "mstore get, raw": lambda: store.get("model", fresh / "got"),
    }
    found = {name: Counter().beside(task) for name, task in tasks.items()}
    shutil.rmtree(fresh)
    alone = found["nothing"]["rate"]
    counters = {n: {"share": f["rate"] / alone, "pause": f["pause"]} for n, f in found.items()}
    print(json.dumps({"read": speeds, "counter": counters}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

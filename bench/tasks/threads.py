"""Measures reading on one and two cores, and a counting thread beside bulk operations.

Usage: threads.py STORE FILE, where STORE holds FILE as the newest version of `model`; or
threads.py FILE FIRST STEP, which maps FILE and hashes every STEP-th piece of it from piece FIRST on
when a line comes in, and then says so by a line.
"""

import hashlib
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from blake3 import blake3

import mstore

PIECE = 4 << 20
CORES = sorted(os.sched_getaffinity(0))[:2]


def read_speed(store: mstore.Store, threads: int) -> float:
    """Bytes per second over all tensors, read by name in `threads`."""
    reader = store.read("model", framework="torch")

    def read(name: str) -> int:
        return int(reader.get_tensor(name).nbytes)

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        size = sum(pool.map(read, reader.keys()))
    return size / (time.perf_counter() - start)


def hash_pieces(file: Path, first: int, step: int) -> None:
    """Maps a file and hashes every `step`-th piece of it."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = memoryview(mapped)
        for at in range(first * PIECE, len(view), step * PIECE):
            with view[at : at + PIECE] as piece:
                blake3(piece).digest()
        view.release()


def thread_speed(file: Path, threads: int) -> float:
    """Bytes per second that threads hash of a file and do nothing else."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(hash_pieces, [file] * threads, range(threads), [threads] * threads))
    return file.stat().st_size / (time.perf_counter() - start)


def program_speed(file: Path, count: int) -> float:
    """The same in processes, which share no lock and no memory but the file's."""
    started = [Hashing(file, first, count) for first in range(count)]
    start = time.perf_counter()
    for each in started:
        each.begin()
    for each in started:
        each.wait()
    seconds = time.perf_counter() - start
    for each in started:
        each.close()
    return file.stat().st_size / seconds


class Hashing:
    """A process of this very program that hashes when told to; it is ready once it is made."""

    def __init__(self, file: Path, first: int, step: int) -> None:
        words = [sys.executable, __file__, str(file), str(first), str(step)]
        self._heard, told = os.pipe()
        ask, self._told = os.pipe()
        self._running = subprocess.Popen(words, stdin=ask, stdout=told)
        os.close(ask)
        os.close(told)
        self.wait()

    def begin(self) -> None:
        """Has it hash."""
        os.write(self._told, b"\n")

    def wait(self) -> None:
        """Waits for the line that it writes when it is ready, and when it is done."""
        os.read(self._heard, 1)

    def close(self) -> None:
        """Waits until it has ended."""
        self._running.wait()
        os.close(self._heard)
        os.close(self._told)


def on_cores(speed: Callable[[int], float]) -> dict[str, float]:
    """The best of three of a speed on one core, and on two with twice the threads."""
    found = {}
    for count in (1, len(CORES)):
        # Threads and processes that are begun from here on keep to them.
        os.sched_setaffinity(0, CORES[:count])
        found[str(count)] = max(speed(count) for _ in range(3))
    return found


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
    speeds = {
        "mstore, every tensor by its name, in threads": on_cores(partial(read_speed, store)),
        "BLAKE3 alone, in threads": on_cores(partial(thread_speed, file)),
        "BLAKE3 alone, in processes": on_cores(partial(program_speed, file)),
    }
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


def serve(file: Path, first: int, step: int) -> None:
    """Hashes once told to, and says when that is done."""
    print(flush=True)
    sys.stdin.readline()
    hash_pieces(file, first, step)
    print(flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Reads versions from a disk of 500 MB/s, which is simulated: every read of a store waits.

Usage: slow_disk.py read FILE
       slow_disk.py get STORE REVISION FILE
       slow_disk.py load STORE REVISION FILE [BITS]

The file system that is given to the store takes each read from the page cache, then lets the
reading thread sleep until a disk of that speed, serving one read after another, would have
delivered it. Other threads go on meanwhile, as they would beside a real disk. A map is read whole.
Prints JSON: seconds, and the bytes that were read from the store.
"""

import json
import mmap
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from mstore.backends.fsio import FileSystem
from mstore.backends.local import LocalBackend
from mstore.parts import open_parts
from mstore.store import Store
from mstore.testing.filesystems import InterceptingFileSystem

SPEED = 500 * 10**6
PIECE = 4 << 20


class SlowDisk(InterceptingFileSystem):
    """The file system inside, its reads slowed down to `SPEED` altogether."""

    def __init__(self) -> None:
        super().__init__(FileSystem())
        self.bytes_read = 0
        self._lock = threading.Lock()
        self._maps: dict[tuple[int, int], mmap.mmap] = {}
        self._free_at = 0.0

    def wait_for(self, count: int) -> None:
        """Sleeps until the disk has delivered `count` bytes more."""
        with self._lock:
            self.bytes_read += count
            self._free_at = max(self._free_at, time.perf_counter()) + count / SPEED
            until = self._free_at
        time.sleep(max(0.0, until - time.perf_counter()))

    def intercept(self, name: str, call: Any, arguments: dict[str, Any]) -> Any:
        """Does the call; a read then waits."""
        if name == "map":
            return self._read_whole(**arguments)
        result = call(**arguments)
        if name == "pread":
            self.wait_for(len(result))
        elif name == "pread_into":
            self.wait_for(result)
        return result

    def _read_whole(self, fd: int, size: int) -> mmap.mmap:
        """Memory with what is in the file, which is read once however often it is mapped."""
        status = os.fstat(fd)
        whole = self._maps.get((status.st_dev, status.st_ino))
        if whole is not None:
            return whole
        whole = self._maps[status.st_dev, status.st_ino] = mmap.mmap(-1, size)
        view = memoryview(whole)
        for start in range(0, size, PIECE):
            self.pread_into(fd, view[start : start + PIECE], start)
        return whole


def open_slowly(place: str) -> tuple[Store, SlowDisk]:
    """A store on the slow disk."""
    disk = SlowDisk()
    return Store(open_parts(LocalBackend(Path(place), disk))), disk


def read_file(file: str) -> tuple[float, int]:
    """The file itself, read once into one buffer: what no store can beat."""
    disk = SlowDisk()
    fd = os.open(file, os.O_RDONLY)
    size = os.fstat(fd).st_size
    buffer = memoryview(bytearray(size))
    start = time.perf_counter()
    for at in range(0, size, PIECE):
        disk.pread_into(fd, buffer[at : at + PIECE], at)
    return time.perf_counter() - start, disk.bytes_read


def get(place: str, revision: str, file: str) -> tuple[float, int]:
    """The version written to a new file, which is compared with `file`."""
    with tempfile.TemporaryDirectory(dir=Path(place).parent) as folder:
        target = Path(folder) / "got"
        start = time.perf_counter()
        store, disk = open_slowly(place)
        store.get(revision, target)
        seconds = time.perf_counter() - start
        with target.open("rb") as got, Path(file).open("rb") as wanted:
            while block := wanted.read(PIECE):
                if block != got.read(PIECE):
                    raise AssertionError(f"'{revision}' did not come back as '{file}'")
            if got.read(1):
                raise AssertionError(f"'{revision}' came back longer than '{file}'")
    return seconds, disk.bytes_read


def load(place: str, revision: str, file: str, bits: str = "") -> tuple[float, int]:
    """The version as arrays; with `bits`, only the leading ones of every number."""
    import torch  # noqa: PLC0415  only this way needs it
    from safetensors import safe_open  # noqa: PLC0415  as torch

    options = {"bits": int(bits)} if bits else {}
    start = time.perf_counter()
    store, disk = open_slowly(place)
    found = store.load(revision, framework="torch", **options)
    seconds = time.perf_counter() - start
    kept = 32 - int(bits or 32)
    with safe_open(file, framework="pt") as original:
        for name in original.keys():  # noqa: SIM118  the class has no iterator
            wanted, got = (
                t.view(torch.int32) >> kept for t in (original.get_tensor(name), found[name])
            )
            if not torch.equal(wanted, got):
                raise AssertionError(f"the leading bits of '{name}' are not those of the file")
    return seconds, disk.bytes_read


if __name__ == "__main__":
    way = {"read": read_file, "get": get, "load": load}[sys.argv[1]]
    taken, count = way(*sys.argv[2:])
    print(json.dumps({"seconds": taken, "bytes": count}))

"""What the machine can do at most: the limits that the rows are read against."""

import json
import platform
from pathlib import Path

from bench.measure import Command, run
from bench.places import TASKS, Places


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def _file_system(folder: Path) -> str:
    """The kind of the file system `folder` is on: of the longest mount point that holds it."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if folder.is_relative_to(point) and len(point) > len(best[0]):
            best = (point, kind)
    return best[1]


def describe(places: Places) -> dict[str, str]:
    """Facts of the machine in words, in the order in which the report prints them."""
    task = (str(places.python), str(TASKS / "limits.py"), str(places.work), str(int(places.quick)))
    limits: dict[str, str] = json.loads(run(Command(task, places.work), places).output)
    processor = _first("/proc/cpuinfo", "model name")
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    return {
        "processor": f"{processor}, {_cores()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(places.cache.resolve()),
        **limits,
    }


def _cores() -> int:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return sum(line.startswith("processor") for line in lines)

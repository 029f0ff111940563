"""Rows on the archive: what restoring from it costs, and reading only the leading bits."""

import json
import statistics
from pathlib import Path

from bench.measure import Command, Run
from bench.peers import Mstore, MstoreRaw
from bench.rows.base import Bench, Result, Table, Verdict, at_most

MB = 10**6
SLOW = (
    "The disk of 500 MB/s is simulated: the store is given a file system whose every read comes "
    "from the page cache and then waits until such a disk, serving one read after another, would "
    "have delivered it; other threads go on meanwhile (`bench/tasks/slow_disk.py`). "
)
Found = dict[str, float]


def _mstore(bench: Bench, peer: Mstore, *words: str) -> Run:
    """Runs a command on the store."""
    return bench.run(Command(("mstore", *words), peer.root, {"MSTORE_STORE": str(peer.store)}))


def _slowly(bench: Bench, *words: object) -> list[Found]:
    """Seconds and bytes of a few runs of `slow_disk.py`."""
    command = bench.task("slow_disk.py", *words)
    return [json.loads(bench.run(command).output.splitlines()[-1]) for _ in range(bench.few)]


def _middle(found: list[Found]) -> float:
    return statistics.median(one["seconds"] for one in found)


def archive(bench: Bench) -> Result:
    """Versions restored from the archive and from a store of raw weights."""
    given = {"first version": bench.files.model(), "fine-tune": bench.files.tuned()}
    with bench.fresh(MstoreRaw) as raw, bench.fresh(Mstore) as small:
        for label, source in given.items():
            bench.fill(raw, source, label)
            bench.fill(small, source, label)
        before = small.stored()
        planning = _mstore(bench, small, "archive", "--alpha", "1.6")
        _mstore(bench, small, "gc", "--now")
        sizes = (raw.stored(), before, small.stored())
        lines = [["restored", "raw, seconds", "archive, seconds", "ratio", "MB read"]]
        ratios = []
        for label, source in given.items():
            plain = _slowly(bench, "get", raw.store, raw.revision(label), source)
            packed = _slowly(bench, "get", small.store, small.revision(label), source)
            ratios.append(_middle(packed) / _middle(plain))
            times = (_middle(plain), _middle(packed), ratios[-1])
            read = f"{plain[0]['bytes'] / MB:.0f}, {packed[0]['bytes'] / MB:.0f}"
            lines.append([label, *(f"{value:.2f}" for value in times), read])
    stored = [["store", "MB"], *_lines(("raw", "after put", "after archive"), sizes)]
    return Result(
        "Restoring from the archive",
        f"A model of 1 GiB of bf16 and its fine-tune; `mstore archive --alpha 1.6` took "
        f"{planning.seconds:.1f} s. {SLOW}Each version is written to a new file and compared.",
        [Table(lines), Table(stored)],
        [at_most("at most 1.5 x the time of restoring raw, the worst version", max(ratios), 1.5)],
    )


def _lines(names: tuple[str, ...], sizes: tuple[int, ...]) -> list[list[str]]:
    return [[name, f"{size / MB:.0f}"] for name, size in zip(names, sizes, strict=True)]


def bits(bench: Bench) -> Result:
    """The leading bytes of every number against all of them."""
    source: Path = bench.files.model32()
    with bench.fresh(Mstore) as peer:
        bench.fill(peer, source, "A")
        _mstore(bench, peer, "archive", "--planes", "8,16")
        _mstore(bench, peer, "gc", "--now")
        words = ("load", peer.store, peer.revision("A"), source)
        found = {
            "the raw file, all of it": _slowly(bench, "read", source),
            "2 of 4 bytes": _slowly(bench, *words, 16),
            "1 of 4 bytes": _slowly(bench, *words, 8),
            "4 of 4 bytes": _slowly(bench, *words),
        }
    whole = _middle(found["the raw file, all of it"])
    lines = [["read", "seconds", "times faster", "MB read"]]
    for name, runs in found.items():
        seconds, read = _middle(runs), runs[0]["bytes"] / MB
        lines.append([name, f"{seconds:.2f}", f"{whole / seconds:.2f}", f"{read:.0f}"])
    return Result(
        "Reading the leading bytes of 1 GiB of fp32",
        "After `mstore archive --planes 8,16`, by `store.load(revision, bits=N)`; the leading bits "
        f"are compared with those of the file. {SLOW}The raw file is read the same way, with "
        "nothing checked.",
        [Table(lines)],
        [
            _faster(name, whole / _middle(found[name]), limit)
            for name, limit in (("2 of 4 bytes", 1.8), ("1 of 4 bytes", 3.5))
        ],
    )


def _faster(name: str, ratio: float, limit: float) -> Verdict:
    goal = f"{name}: at least {limit} x faster than a full raw read"
    return Verdict(goal, f"{ratio:.2f} x", met=ratio >= limit)

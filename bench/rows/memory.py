"""Rows on peak memory: put and get of one very large file, and of encoded models."""

from pathlib import Path

from bench.measure import Command, Run, clear
from bench.peers import Mstore, MstoreRaw
from bench.rows.base import GIB, MIB, Bench, Result, Table, Verdict
from bench.verify import check_same, count_files

LIMIT = 300 * 10**6
CODED_LIMIT = 400 * 10**6
Line = tuple[str, Run, int]


def memory(bench: Bench) -> Result:
    """Peak memory of put and get of 8 GiB, and the files the put wrote."""
    source = bench.files.large()
    size = source.stat().st_size
    wait = (str(bench.places.python), "-c", "import time; time.sleep(0.1)")
    idle = bench.run(Command(wait, bench.places.work), watch=True)
    target = bench.places.work / "fetched"
    try:
        with bench.fresh(MstoreRaw) as peer:
            empty = count_files(peer.store)
            put = bench.run(peer.durable_put(source, "A"), watch=True)
            written = count_files(peer.store) - empty
            get = bench.run(peer.get("A", target), watch=True)
            check_same(source, target)
    finally:
        clear(target)
        clear(source)
    return _result(size, idle, {"put": put, "get": get}, written)


def _result(size: int, idle: Run, runs: dict[str, Run], written: int) -> Result:
    lines = [["command", "seconds", "peak MiB", "of it not mapped files", "above the interpreter"]]
    worst = 0
    for name, run in runs.items():
        above = run.anonymous - idle.anonymous
        worst = max(worst, above)
        cells = (run.peak, run.anonymous, above)
        lines.append([name, f"{run.seconds:.1f}", *(f"{cell / MIB:,.0f}" for cell in cells)])
    limit = 8 + -(-size // GIB)
    bound = "the buffers of the chunks that are read, hashed and written at once"
    return Result(
        f"Peak memory of put and get of {size / GIB:.3g} GiB",
        "One file, `--codec raw`, one run. Peak: the kernel's own count (`wait4`), which includes "
        "the pages of mapped files; not mapped: read from `/proc` every 5 ms. The interpreter "
        f"alone holds {idle.anonymous / MIB:.0f} MiB that are not mapped.",
        [Table(lines)],
        [
            Verdict(
                "at most 300 MB above the interpreter, mapped files aside",
                f"{worst / 10**6:.0f} MB",
                met=worst <= LIMIT,
                bound=bound,
            ),
            Verdict(
                "files written: at most 8, plus one per GiB", str(written), met=written <= limit
            ),
        ],
    )


def memory_coded(bench: Bench) -> Result:
    """Peak memory of put, get and load of encoded models and their fine-tunes."""
    sizes = {"1 GiB": (bench.files.model(), bench.files.tuned()), "4 GiB": bench.files.wide()}
    wait = (str(bench.places.python), "-c", "import time; time.sleep(0.1)")
    idle = bench.run(Command(wait, bench.places.work), watch=True).anonymous
    found: list[Line] = []
    for label, (base, tuned) in sizes.items():
        with bench.fresh(Mstore) as peer:
            for what, source in (("first version", base), ("fine-tune", tuned)):
                found += _watched(bench, peer, f"{label}, {what}", source, idle)
    lines = [["command", "seconds", "peak MiB, not mapped files", "above interpreter and result"]]
    for name, run, above in found:
        lines.append(
            [name, f"{run.seconds:.1f}", *(f"{v / MIB:,.0f}" for v in (run.anonymous, above))]
        )
    worst = max(found, key=lambda line: line[2])
    goal = "at most 400 MB above the interpreter and the result, for any size"
    words = f"{worst[2] / 10**6:.0f} MB, by {worst[0]}"
    return Result(
        "Peak memory of encoded models of 1 and 4 GiB",
        "Default codec; a fine-tune is stored as a difference. One run each, peaks read from "
        "`/proc` every 5 ms. For a load, the interpreter with torch imported and the bytes of the "
        "tensors are taken off.",
        [Table(lines)],
        [Verdict(goal, words, met=worst[2] <= CODED_LIMIT, bound="chunks in flight")],
    )


def _watched(bench: Bench, peer: Mstore, label: str, source: Path, idle: int) -> list[Line]:
    """Put, get and load of one file: each with what it held above what it had to."""
    target = bench.places.work / "fetched"
    put = bench.run(peer.durable_put(source, label), watch=True)
    get = bench.run(peer.get(label, target), watch=True)
    check_same(source, target)
    clear(target)

    def load(count: int) -> Run:
        words = (peer.store, peer.revision(label), source, count)
        return bench.run(bench.task("load_coded.py", *words), watch=True)

    imports, loaded = load(0).anonymous, load(1)
    above = loaded.anonymous - imports - source.stat().st_size
    rows = [(f"{label}, put", put, put.anonymous - idle)]
    rows += [(f"{label}, get", get, get.anonymous - idle), (f"{label}, load", loaded, above)]
    return rows

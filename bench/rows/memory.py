"""The row on peak memory: put and get of one very large file."""

from bench.measure import Command, Run, clear
from bench.peers import Mstore
from bench.rows.base import GIB, MIB, Bench, Result, Table, Verdict
from bench.verify import check_same, count_files

LIMIT = 300 * 10**6


def memory(bench: Bench) -> Result:
    """Peak memory of put and get of 8 GiB, and the files the put wrote."""
    source = bench.files.large()
    size = source.stat().st_size
    wait = (str(bench.places.python), "-c", "import time; time.sleep(0.1)")
    idle = bench.run(Command(wait, bench.places.work), watch=True)
    target = bench.places.work / "fetched"
    try:
        with bench.fresh(Mstore) as peer:
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
        "One file, one run. Peak: the kernel's own count (`wait4`), which includes the pages of "
        "mapped files; not mapped: read from `/proc` every 5 ms. The interpreter alone holds "
        f"{idle.anonymous / MIB:.0f} MiB that are not mapped.",
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

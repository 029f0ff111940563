"""Rows on many things: a folder of small files, a store of many versions, and the start-up."""

import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.measure import Command, Run, clear, in_turns, median_seconds, ratios, spread
from bench.peers import Mstore, Peer
from bench.rows.base import (
    MIB,
    Bench,
    Contestants,
    Result,
    Table,
    Verdict,
    compare,
    faster_than_all,
)
from bench.verify import count_files, size_on_disk

Taken = dict[str, list[Run]]
# A round takes two minutes, most of them in tools that wait for the disk file by file.
FOLDER_ROUNDS = 2


def folder(bench: Bench) -> Result:
    """Put and get of a folder of 5,000 small files."""
    source = bench.files.folder()
    size = size_on_disk(source)
    kinds = bench.everyone(any_file=True)

    def put_once(kind: type[Peer], number: int) -> Run:
        with bench.fresh(kind) as peer:
            peer.stage(source, "A")
            run = bench.run(peer.durable_put(source, "A"))
            if number == 0:
                bench.fetch(peer, source, "A")
            return run

    rounds = min(bench.runs, FOLDER_ROUNDS)
    puts = in_turns({kind.name: partial(put_once, kind) for kind in kinds}, rounds)
    with ExitStack() as stack:
        peers = {kind.name: stack.enter_context(bench.fresh(kind)) for kind in kinds}
        for peer in peers.values():
            bench.fill(peer, source, "A")
        gets = in_turns(bench.fetching(peers, source, "A"), rounds)
    return _folder_result(source, size, puts, gets, {kind.name: kind.durable for kind in kinds})


def _folder_result(
    source: Path,
    size: int,
    puts: dict[str, list[Run]],
    gets: dict[str, list[Run]],
    notes: dict[str, str],
) -> Result:
    put_table, get_table = compare(puts, size, notes), compare(gets, size)
    put_table.lines[0][0], get_table.lines[0][0] = "put", "get"
    return Result(
        f"A folder of {count_files(source):,} small files, {size / MIB:.0f} MiB",
        "Put into an empty store, everything on the disk at the end; get into a new folder, not "
        "followed by a sync. tensorfs takes only model files.",
        [put_table, get_table],
        [
            faster_than_all(puts, "put: faster than every peer made as durable"),
            faster_than_all(gets, "get: faster than every peer"),
        ],
    )


def many(bench: Bench) -> Result:
    """A store of 10,000 versions and 100,000 tensors: looking, and one put more."""
    versions = 200 if bench.places.quick else 10_000
    with bench.fresh(Mstore) as big:
        built = build(bench, big, versions)
        facts = f"{count_files(big.store):,} files, {size_on_disk(big.store) / MIB:,.0f} MiB"
        looks = _look(bench, big)
        puts = _one_more(bench, big, _folded(bench, big))
    return Result(
        f"A store of {versions:,} versions and {10 * versions:,} tensors",
        f"One model with half of the versions, 50 models with the rest, ten new tensors each; "
        f"built in {built:.0f} s by `store.put` on a file system in memory, then copied to the "
        f"disk ({facts}). Whole commands with the interpreter's start; `open` is `mstore.open` "
        "inside a running interpreter. One put more: a model of 1 MiB into this store, into a copy "
        "of it that `mstore gc --now` has folded into few packs, and into an empty one, in turns.",
        [_looks_table(looks), _puts_table(puts)],
        [
            *(_look_verdict(name, taken) for name, taken in looks.items()),
            _put_verdict("put of one more version", puts["full"], puts["empty"]),
            _put_verdict("put of one more version after a gc", puts["folded"], puts["empty"]),
        ],
    )


def build(bench: Bench, big: Peer, versions: int, metrics: int = 0) -> float:
    """Builds the store in memory, where nothing waits for a disk, and copies it to the disk."""
    with in_memory(bench) as place:
        run = bench.run(bench.task("make_store.py", place / "store", versions, metrics))
        clear(big.store)
        shutil.copytree(place / "store", big.store)
    return run.seconds


@contextmanager
def in_memory(bench: Bench) -> Iterator[Path]:
    """A folder on a file system in memory, where there is one; it is removed at the end."""
    memory = Path("/dev/shm/mstore-bench")  # noqa: S108  our own folder, on purpose in memory
    place = memory if memory.parent.is_dir() else bench.places.work / "building"
    clear(place)
    try:
        yield place
    finally:
        clear(place)


def _look(bench: Bench, big: Peer) -> dict[str, list[Run]]:
    """Times the commands that look."""
    env = {"MSTORE_STORE": str(big.store)}

    def command(*words: str) -> Contestants:
        asked = Command(("mstore", *words), big.root, env)
        return {f"mstore {' '.join(words)}": lambda _: bench.run(asked)}

    opening = bench.task("open_store.py", big.store)

    def open_once(_: int) -> Run:
        run = bench.run(opening)
        return Run(json.loads(run.output)["seconds"], run.peak)

    contestants = {"open": open_once, **command("list")}
    contestants |= {**command("log", "model-07"), **command("log", "large")}
    contestants |= {**command("show", "large"), **command("show", "model-07@2")}
    return in_turns(contestants, bench.runs)


def _folded(bench: Bench, big: Peer) -> Path:
    """A copy of the store after the gc that its owner would run now and then."""
    place = big.root / "folded"
    shutil.copytree(big.store, place)
    bench.run(Command(("mstore", "gc", "--now"), big.root, {"MSTORE_STORE": str(place)}))
    return place


def _one_more(bench: Bench, big: Peer, folded: Path) -> dict[str, list[Run]]:
    """Puts the same new model into the full store, into the folded one and into an empty one."""
    singles = bench.files.singles()

    def put_into(store: Path, number: int) -> Run:
        # A name of its own, so that every one of them is a first version, as in the empty store.
        source, name = singles[number % len(singles)], f"more-{number}"
        words = ("mstore", "put", str(source), "--name", name)
        return bench.run(Command(words, big.root, {"MSTORE_STORE": str(store)}))

    def empty(number: int) -> Run:
        with bench.fresh(Mstore) as peer:
            return put_into(peer.store, number)

    contestants = {
        "empty": empty,
        "full": lambda number: put_into(big.store, number),
        "folded": lambda number: put_into(folded, number),
    }
    return in_turns(contestants, min(2 * bench.runs, len(singles)))


def _looks_table(looks: dict[str, list[Run]]) -> Table:
    lines = [["what", "seconds", "peak MiB"]]
    for name, taken in looks.items():
        peak = max(run.peak for run in taken) / MIB
        seconds = spread([run.seconds for run in taken], 3)
        lines.append([f"`{name}`", seconds, f"{peak:.0f}"])
    return Table(lines)


def _puts_table(puts: dict[str, list[Run]]) -> Table:
    lines = [["put of 1 MiB into", "seconds"]]
    for name, taken in puts.items():
        lines.append([f"the {name} store", spread([run.seconds for run in taken], 3)])
    return Table(lines)


def _put_verdict(goal: str, taken: list[Run], empty: list[Run]) -> Verdict:
    slower = statistics.median(ratios(taken, empty))
    return Verdict(
        f"{goal}: at most 10 % slower than in an empty store",
        f"{100 * (slower - 1):+.0f} %",
        met=slower <= 1.1,
        bound="listing the folder of packs",
    )


def _look_verdict(name: str, taken: list[Run]) -> Verdict:
    seconds = median_seconds(taken)
    return Verdict(f"`{name}`: at most 0.3 s", f"{seconds:.3f} s", met=seconds <= 0.3)


def start(bench: Bench) -> Result:
    """How long `mstore --help` takes."""
    shown = Command(("mstore", "--help"), bench.places.work)
    idle = Command((str(bench.places.python), "-c", "pass"), bench.places.work)
    runs = in_turns(
        {"mstore --help": lambda _: bench.run(shown), "python -c pass": lambda _: bench.run(idle)},
        2 * bench.runs,
    )
    lines = [["command", "seconds"]]
    lines += [[f"`{name}`", spread([r.seconds for r in taken], 3)] for name, taken in runs.items()]
    seconds = median_seconds(runs["mstore --help"])
    goal = "`mstore --help`: at most 0.15 s"
    return Result(
        "Start of the command",
        "Whole command, caches warm.",
        [Table(lines)],
        [Verdict(goal, f"{seconds:.3f} s", met=seconds <= 0.15)],
    )

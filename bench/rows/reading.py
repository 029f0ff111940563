"""Rows on reading weights into a program: the whole model, and one tensor of it."""

import json
import statistics
from collections.abc import Callable
from dataclasses import replace

from bench.measure import Command, Run, in_turns, ratios, spread
from bench.peers import OURS, HfXet, Mstore, MstoreRaw, Peer, Tensorfs
from bench.rows.base import MIB, Bench, Result, Table, Verdict, at_most, mib_per_second

SAFETENSORS = "safetensors.torch.load_file"
MAPPED = "mstore, verify=False"
VERIFIED = "mstore, verified"


def _timed_inside(bench: Bench, command: Command) -> Callable[[int], Run]:
    """A contestant whose seconds are those that the script itself measured."""

    def once(_: int) -> Run:
        run = bench.run(command)
        return replace(run, seconds=json.loads(run.output.splitlines()[-1])["seconds"])

    return once


def _sums(runs: dict[str, list[Run]]) -> set[int]:
    every = (run for taken in runs.values() for run in taken)
    return {json.loads(run.output.splitlines()[-1])["sum"] for run in every}


def load(bench: Bench) -> Result:
    """The whole model as torch tensors, every byte touched."""
    source = bench.files.model()
    with bench.fresh(MstoreRaw) as ours, bench.fresh(Tensorfs) as theirs:
        bench.fill(ours, source, "A")
        commands = {
            MAPPED: bench.task("load.py", "mapped", ours.store, "model"),
            SAFETENSORS: bench.task("load.py", "safetensors", source),
            VERIFIED: bench.task("load.py", "verified", ours.store, "model"),
        }
        if Tensorfs in bench.peers:
            bench.fill(theirs, source, "A")
            commands["tensorfs"] = bench.task("load.py", "tensorfs", theirs.store, "local/a")
        contestants = {name: _timed_inside(bench, command) for name, command in commands.items()}
        runs = in_turns(contestants, bench.runs)
    if len(_sums(runs)) != 1:
        raise AssertionError("the loaded models differ")
    return _load_result(runs, source.stat().st_size)


def _load_result(runs: dict[str, list[Run]], size: int) -> Result:
    lines = [["loaded by", "seconds", "MiB/s", "its time / safetensors' time"]]
    middles = {}
    for name, taken in runs.items():
        seconds = statistics.median(run.seconds for run in taken)
        ratio = ratios(taken, runs[SAFETENSORS])
        middles[name] = statistics.median(ratio)
        lines.append([name, f"{seconds:.3f}", mib_per_second(size, seconds), spread(ratio)])
    bound = "both read every byte once; a verified load also hashes and copies it"
    return Result(
        "Load of 1 GiB as torch tensors, touching all of it",
        "mstore: put with `--codec raw`. Open, load, then sum every tensor as 64-bit integers; "
        "imports not counted; a new process each time; the sums agree.",
        [Table(lines)],
        [
            at_most("mapped: at most 1.1 x safetensors", middles[MAPPED], 1.1, bound=bound),
            at_most("verified: at most 1.8 x safetensors", middles[VERIFIED], 1.8, bound=bound),
        ],
        {name: min(run.seconds for run in taken) for name, taken in runs.items()},
    )


def one_tensor(bench: Bench) -> Result:
    """One tensor of 2 MiB by its name, in a store that is open."""
    source = bench.files.model()
    commands = {"safetensors.safe_open": bench.task("one_tensor.py", "safetensors", source, source)}
    kinds: tuple[type[Peer], ...] = (MstoreRaw, Mstore, HfXet, Tensorfs)
    lines = [["tool", "median ms", "worst ms", "first ms"]]
    found: dict[str, dict[str, float]] = {}
    for kind in kinds:
        if kind not in (*OURS, *bench.peers):
            continue
        with bench.fresh(kind) as peer:
            bench.fill(peer, source, "a")
            place = peer.root / "a.json" if kind is HfXet else source
            command = bench.task("one_tensor.py", kind.tool, peer.store, source, place)
            found[kind.name] = json.loads(bench.run(command).output.splitlines()[-1])
    for name, command in commands.items():
        found[name] = json.loads(bench.run(command).output.splitlines()[-1])
    for name, times in found.items():
        lines.append([name, *(f"{times[key]:.2f}" for key in ("median", "worst", "first"))])
    middle = found[MstoreRaw.name]["median"]
    return Result(
        "One tensor of 2 MiB of a model of 1 GiB, by name",
        "Twenty different tensors in one process with the store open; the model is opened by its "
        "name each time, and the bytes are compared with the file's. mstore checks what it reads "
        "and decodes what is encoded, safetensors does neither; hf-xet is told the range. git-lfs, "
        "DVC, borg and restic give no part of a file.",
        [Table(lines)],
        [
            Verdict(
                "`--codec raw`: at most 5 ms in an open store", f"{middle:.2f} ms", met=middle <= 5
            )
        ],
    )


def threads(bench: Bench) -> Result:
    """Whether reading grows with threads, and whether other threads keep running."""
    source = bench.files.model()
    with bench.fresh(MstoreRaw) as peer:
        bench.fill(peer, source, "A")
        found = [
            json.loads(bench.run(bench.task("threads.py", peer.store, source)).output)
            for _ in range(bench.few)
        ]
    speeds = {
        name: {
            cores: statistics.median(run["read"][name][cores] for run in found)
            for cores in found[0]["read"][name]
        }
        for name in found[0]["read"]
    }
    table = [["MiB/s", "one core", "two cores", "grows"]]
    for name, speed in speeds.items():
        cells = [f"{value / MIB:,.0f}" for value in speed.values()]
        table.append([name, *cells, f"{_growth(speed):.2f} x"])
    pauses = [["beside", "share of its counting alone", "longest pause, ms"]]
    for name in found[0]["counter"]:
        share = statistics.median(run["counter"][name]["share"] for run in found)
        pause = statistics.median(run["counter"][name]["pause"] for run in found)
        pauses.append([name, f"{share:.2f}", f"{1000 * pause:.1f}"])
    return _threads_result(found, list(speeds.values()), [Table(table), Table(pauses)])


def _growth(speed: dict[str, float]) -> float:
    """By how much the last of some speeds is greater than the first."""
    values = list(speed.values())
    return values[-1] / values[0]


def _threads_result(
    found: list[dict[str, dict[str, dict[str, float]]]],
    speeds: list[dict[str, float]],
    tables: list[Table],
) -> Result:
    names = [name for name in found[0]["counter"] if name.startswith("mstore")]
    longest = max(
        statistics.median(run["counter"][name]["pause"] for run in found) for name in names
    )
    reading, _, bound = map(_growth, speeds)
    words = f"longest pause of another thread {1000 * longest:.0f} ms"
    return Result(
        "Concurrency",
        "First table: all tensors read by name through one store of raw weights, every chunk "
        "hashed, on one core and then on two in two threads; and what hashing alone makes of the "
        "same file, mapped into memory. One thread is held to one core, as a tensor of more than "
        "4 MiB is read on all there are. Second table: a thread that only counts in Python, beside "
        "a bulk operation; a `bytes` copy of 1 GiB, which holds the interpreter's lock, and "
        "SHA-256, which does not, are there to compare with. Two cores are shared by all threads.",
        tables,
        [
            Verdict(
                "reading grows with threads: at least 1.5 x with two",
                f"{reading:.2f} x",
                met=reading >= 1.5,
                bound=f"hashing in two processes, which share no lock: {bound:.2f} x",
            ),
            Verdict("no bulk operation holds the GIL", words, met=longest < 0.1),
        ],
    )

"""Rows on comparing models: two large fine-tunes, the history of many, a parent among many."""

import json
from statistics import median

from bench.measure import Command, clear, in_turns, median_seconds
from bench.peers import Mstore
from bench.rows.base import MIB, Bench, Result, Table, Verdict, at_most, scale_words, scaled

MB = 10**6
DIFF_SECONDS = 6.0
DIFF_MEMORY = 400 * MB
HISTORY_SECONDS = 1.0
INFER_SECONDS = 5.0


def diff(bench: Bench) -> Result:
    """A diff of two versions of 1 GiB of bf16 in which every tensor changed."""
    wait = (str(bench.places.python), "-c", "import time; time.sleep(0.1)")
    idle = bench.run(Command(wait, bench.places.work), watch=True).anonymous
    with bench.fresh(Mstore) as peer:
        for label, source in (("A", bench.files.model()), ("B", bench.files.tuned())):
            bench.run(peer.durable_put(source, label))
        words = ("diff", peer.store, peer.revision("A"), peer.revision("B"))
        task = bench.task("compare.py", *words)
        runs = [bench.run(task, watch=True) for _ in range(bench.few)]
        same = bench.task("compare.py", "diff", peer.store, *[peer.revision("A")] * 2)
        read = json.loads(bench.run(same).output)["read"]
    found = [json.loads(run.output) for run in runs]
    seconds = median(entry["seconds"] for entry in found)
    above = max(run.anonymous for run in runs) - idle
    speeds = bench.speeds()
    lines = [["what", "measured"]]
    lines.append(["seconds", f"{seconds:.2f}"])
    lines.append(["memory above the interpreter", f"{above / MIB:.0f} MiB"])
    lines.append(["numbers that changed", f"{100 * found[0]['changed']:.0f} %"])
    lines.append(["read for a version against itself", f"{read} bytes"])
    return Result(
        "A diff of 1 GiB of bf16 and its fine-tune",
        "`Store.diff` on two cores with every figure, imports not counted; the second version is "
        f"stored as a difference from the first. {scale_words(speeds)}.",
        [Table(lines)],
        [
            at_most(
                "at most 6 s, scaled", seconds * scaled(speeds), DIFF_SECONDS, "s", "two threads"
            ),
            Verdict(
                "at most 400 MB above the interpreter",
                f"{above / MB:.0f} MB",
                met=above <= DIFF_MEMORY,
            ),
            Verdict("identical tensors cost no read", f"{read} bytes", met=read == 0),
        ],
    )


def history(bench: Bench) -> Result:
    """The lineage of a model and the drawing of a store of 10,000 versions."""
    versions = 200 if bench.places.quick else 10_000
    with bench.fresh(Mstore) as big:
        clear(big.store)
        bench.run(bench.task("make_store.py", big.store, versions))
        env = {"MSTORE_STORE": str(big.store)}
        asked = {
            words: Command(("mstore", *words.split()), big.root, env)
            for words in ("log large --graph", "list --graph", "lineage large --graph")
        }
        contestants = {f"mstore {w}": lambda _, c=c: bench.run(c) for w, c in asked.items()}
        runs = in_turns(contestants, bench.runs)
    lines = [["command", "seconds"]]
    lines += [[f"`{name}`", f"{median_seconds(taken):.3f}"] for name, taken in runs.items()]
    return Result(
        f"The history of {versions:,} versions",
        "Half of the versions are one model's. Whole commands with the interpreter's start, after "
        "one run that keeps descriptions together.",
        [Table(lines)],
        [
            at_most(f"`{name}`: at most 1 s", median_seconds(taken), HISTORY_SECONDS, "s")
            for name, taken in runs.items()
        ],
    )


def infer(bench: Bench) -> Result:
    """The parent of one model among 100, from sketches."""
    count = 20 if bench.places.quick else 100
    with bench.fresh(Mstore) as peer:
        clear(peer.store)
        run = bench.run(bench.task("compare.py", "infer", peer.store, count))
    found = json.loads(run.output)
    seconds, speeds = found["seconds"], bench.speeds()
    return Result(
        f"The parent of a model of 241 tensors among {found['considered']}",
        "`Store.infer_parents` by the sketches that the store keeps; the size of the tensors does "
        f"not matter, as none is read. {scale_words(speeds)}.",
        [Table([["what", "measured"], ["seconds", f"{seconds:.2f}"]])],
        [at_most("at most 5 s, scaled", seconds * scaled(speeds), INFER_SECONDS, "s")],
    )

"""Rows on comparing models: two large fine-tunes, and a parent among many."""

import json
from statistics import median

from bench.measure import Command
from bench.peers import Mstore
from bench.rows.base import MIB, Bench, Result, Table, Verdict, at_most, scale_words, scaled
from bench.rows.many import in_memory

MB = 10**6
DIFF_SECONDS = 6.0
DIFF_MEMORY = 400 * MB
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


def infer(bench: Bench) -> Result:
    """The parent of one model among 100, from sketches."""
    count = 20 if bench.places.quick else 100
    with in_memory(bench) as place:
        run = bench.run(bench.task("compare.py", "infer", place / "store", count))
    found = json.loads(run.output)
    seconds, speeds = found["seconds"], bench.speeds()
    return Result(
        f"The parent of a model of 241 tensors among {found['considered']}",
        "`Store.infer_parents` by the sketches that the store keeps; the size of the tensors does "
        f"not matter, as none is read. {scale_words(speeds)}.",
        [Table([["what", "measured"], ["seconds", f"{seconds:.2f}"]])],
        [at_most("at most 5 s, scaled", seconds * scaled(speeds), INFER_SECONDS, "s")],
    )

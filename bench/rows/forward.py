"""What running a model takes, estimated and measured."""

import json

from bench.rows.base import MIB, Bench, Result, Table, Verdict

MOST = 2.0


def forward(bench: Bench) -> Result:
    """The estimated time of a forward pass against the time it takes."""
    done = bench.run(bench.task("forward.py", bench.places.work / "estimates"))
    found = json.loads(done.output)
    lines = [["network", "MFLOP", "activations, MiB", "estimated ms", "timed ms", "ratio"]]
    off = {}
    for name, one in found["networks"].items():
        ratio = one["estimated"] / one["timed"]
        off[name] = max(ratio, 1 / ratio)
        sizes = (one["flops"] / 1e6, one["activations"] / MIB)
        times = (one["estimated"] * 1e3, one["timed"] * 1e3)
        lines.append([name, *(f"{value:,.2f}" for value in (*sizes, *times, ratio))])
    worst = max(off, key=off.__getitem__)
    return Result(
        title="What a forward pass takes",
        how="Five networks of torch, batch 1, one thread: estimated by `Store.trace`, which "
        "calibrates once, and timed in the same run (median of 20).",
        tables=[Table(lines)],
        verdicts=[
            Verdict(
                f"within {MOST:g} x of the time on five networks",
                f"{off[worst]:.2f} x, {worst}",
                off[worst] <= MOST,
            )
        ],
    )

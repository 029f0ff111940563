"""The row on the step log: a checkpoint after every step of a real training loop."""

import json
import statistics
from typing import Any

from bench.measure import clear
from bench.rows.base import Bench, Result, Table, Verdict, at_most

MB = 10**6
LONG = 0.001
"""Seconds above which a step has waited."""


def steps(bench: Bench) -> Result:
    """How long the training thread is held, and what is stored."""
    count, width = (5, 128) if bench.places.quick else (100, 1024)
    place = bench.places.work / "steps.store"
    clear(place)
    run = bench.run(bench.task("train_steps.py", place, count, width))
    clear(place)
    found = json.loads(run.output.splitlines()[-1])
    held = sorted(1000 * seconds for seconds in found["held"])
    waits = sum(seconds > LONG for seconds in found["waited"])
    ratio = found["stored"] / found["given"]
    return Result(
        f"The step log: {count} steps",
        "A network of 50 million weights trained by AdamW at 1e-5 on random tokens, a state of "
        f"{found['given'] / count / MB:.0f} MB of bf16 checkpointed after every step by "
        "`store.checkpoint`. Training has one thread, as beside an accelerator. Every step is "
        "loaded again and compared by its hash.",
        [_table(found, held, waits)],
        [
            Verdict(
                "training thread held at most 60 ms a step (the longest)",
                f"{held[-1]:.1f} ms; median {statistics.median(held):.1f} ms",
                met=held[-1] <= 60,
                bound="storing a step takes about as long as training one here, and two copies may "
                "wait"
                if waits
                else "the first copy touches memory that is new to the interpreter, half of it in "
                "the training thread",
            ),
            at_most("stored: at most 0.10 of the full copies", ratio, 0.10, ""),
        ],
    )


def _table(found: dict[str, Any], held: list[float], waits: int) -> Table:
    copied = [a - b for a, b in zip(found["held"], found["waited"], strict=True)]
    return Table(
        [
            ["what", "measured"],
            ["held a step, median", f"{statistics.median(held):.1f} ms"],
            ["held a step, the second longest", f"{held[-2]:.1f} ms"],
            ["held a step, longest", f"{held[-1]:.1f} ms"],
            ["steps that waited until an earlier one was stored", f"{waits}"],
            ["held a step by anything else, longest", f"{1000 * max(copied):.1f} ms"],
            ["a whole step, median", f"{1000 * statistics.median(found['whole']):.0f} ms"],
            ["stored after the last step", f"{1000 * found['waited_at_the_end']:.0f} ms"],
            ["given", f"{found['given'] / MB:.0f} MB"],
            ["stored, without cache/", f"{found['stored'] / MB:.0f} MB"],
        ]
    )

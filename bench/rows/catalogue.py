"""The row on searching and looking over: many versions with fifty metrics each."""

import json
from functools import partial

from bench.measure import Command, Run, in_turns, median_seconds, spread
from bench.peers import Mstore
from bench.rows.base import MIB, Bench, Result, Table, Verdict
from bench.rows.many import build

QUERIES = (
    "task = 'object-detection' and val/accuracy > 0.9 and derived from large limit 5",
    "val/metric-01 > 0.5 and val/metric-02 > 0.5 and val/metric-03 > 0.5 and lr < 0.1",
    "memory < 100MB or not has val/metric-07",
    "~ 'step 77'",
    "order by val/accuracy desc",
    "object detection model with accuracy > 99% that runs on a 1GHz processor",
)
METRICS = 50
LOOKS = {
    "list": 0.5,
    "log large": 1.0,
    "log large --graph": 1.0,
    "list --graph": 1.0,
    "lineage large --graph": 1.0,
}
"""Whole commands, and the seconds that each may take."""


def search(bench: Bench) -> Result:
    """The catalogue of a store of 10,000 versions: making it, and asking it."""
    versions = 200 if bench.places.quick else 10_000
    with bench.fresh(Mstore) as big:
        build(bench, big, versions, METRICS)

        def timed(query: str, _: int) -> Run:
            run = bench.run(bench.task("search.py", big.store, query))
            return Run(json.loads(run.output)["seconds"], run.peak)

        def look(words: str, _: int) -> Run:
            asked = Command(("mstore", *words.split()), big.root, {"MSTORE_STORE": str(big.store)})
            return bench.run(asked)

        made = in_turns({"reindex": partial(timed, "reindex")}, bench.few)
        answered = in_turns({query: partial(timed, query) for query in QUERIES}, bench.runs)
        looked = in_turns({f"mstore {w}": partial(look, w) for w in LOOKS}, bench.runs)
        catalogue = (big.store / "cache/catalog.db").stat().st_size
    return Result(
        f"Searching {versions:,} versions with {METRICS * versions:,} metrics",
        f"The models of the row before, {10 * versions:,} tensors, with {METRICS} metrics in each "
        "version. Searches and `reindex` inside a running interpreter, the first search aside; the "
        "others are whole commands with the interpreter's start. The catalogue takes "
        f"{catalogue / MIB:,.0f} MiB.",
        [_table({**made, **answered, **looked})],
        [
            _verdict("`mstore reindex`", made["reindex"], 60),
            *(_verdict(f"search `{query}`", taken, 0.1) for query, taken in answered.items()),
            *(_verdict(f"`mstore {w}`", looked[f"mstore {w}"], most) for w, most in LOOKS.items()),
        ],
    )


def _table(taken: dict[str, list[Run]]) -> Table:
    lines = [["what", "seconds", "peak MiB"]]
    for name, runs in taken.items():
        peak = max(run.peak for run in runs) / MIB
        seconds = spread([run.seconds for run in runs], 3)
        lines.append([f"`{name}`", seconds, f"{peak:.0f}"])
    return Table(lines)


def _verdict(name: str, taken: list[Run], most: float) -> Verdict:
    seconds = median_seconds(taken)
    return Verdict(f"{name}: at most {most:g} s", f"{seconds:.3f} s", met=seconds <= most)

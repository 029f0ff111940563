"""The one command: `python -m bench [--only ROW] [--quick] [--runs N]`."""

import argparse
import json
import sys
import time
from pathlib import Path

from bench import machine, report
from bench.files import Files
from bench.installing import install
from bench.measure import clear
from bench.peers import PEERS, Mstore, Peer
from bench.places import ROOT, Places
from bench.rows import ROWS, Bench, Result


def arguments(words: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(ROWS), help="measure just this row")
    parser.add_argument("--without", action="append", choices=list(ROWS), help="leave a row out")
    parser.add_argument("--peer", action="append", help="just these peers, by the tool's name")
    parser.add_argument("--quick", action="store_true", help="small files: checks, no numbers")
    parser.add_argument("--runs", type=int, default=0, help="rounds (default 5; 1 when quick)")
    parser.add_argument("--cache", type=Path, default=ROOT / "bench" / ".cache")
    parser.add_argument("--plots", action="store_true", help="also draw docs/benchmarks-*.svg")
    return parser.parse_args(words)


def measure_rows(bench: Bench, wanted: list[str]) -> None:
    """Runs the rows, keeping each result as soon as it is there."""
    for key in wanted:
        print(f"{time.strftime('%H:%M:%S')} {key}", file=sys.stderr)
        result = ROWS[key](bench)
        result.date = time.strftime("%Y-%m-%d", time.gmtime())
        result.runs = bench.runs
        text = json.dumps(result.to_json(), indent=1)
        (bench.places.results / f"{key}.json").write_text(text)
        clear(bench.places.work)
        clear(bench.places.home)
        bench.places.prepare()


def kept_results(places: Places) -> dict[str, Result]:
    """The results of this and of earlier runs, in the order of the requirements."""
    paths = {key: places.results / f"{key}.json" for key in ROWS}
    there = {key: path for key, path in paths.items() if path.exists()}
    return {key: Result.from_json(json.loads(path.read_text())) for key, path in there.items()}


def write_report(places: Places, kinds: tuple[type[Peer], ...], missing: dict[str, str]) -> None:
    """Writes the report of all results that are there."""
    facts = machine.describe(places)
    versions = {kind.name: kind(places, places.work).version() for kind in kinds}
    results = kept_results(places)
    text = report.write(facts, versions, kinds, missing, results, quick=places.quick)
    places.report.write_text(text)
    print(places.report)


def main(words: list[str]) -> None:
    """Installs, measures, reports."""
    options = arguments(words)
    places = Places(options.cache.resolve(), options.quick)
    missing = install(places)
    clear(places.work)
    places.prepare()
    there = tuple(kind for kind in PEERS if kind.tool not in missing)
    chosen = tuple(k for k in there if not options.peer or k.tool in options.peer)
    runs = options.runs or (1 if options.quick else 5)
    bench = Bench(places, Files(places), chosen, runs)
    wanted = [row for row in options.only or ROWS if row not in (options.without or ())]
    measure_rows(bench, wanted)
    write_report(places, (Mstore, *there), missing)
    if options.plots:
        bench.run(bench.task("plot.py", places.results, places.report.parent))
    clear(places.work)


if __name__ == "__main__":
    main(sys.argv[1:])

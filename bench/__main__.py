"""The one command: `python -m bench [--only ROW] [--quick] [--runs N]`."""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from bench import machine, report
from bench.files import Files
from bench.installing import install
from bench.measure import CommandFailedError, clear
from bench.peers import OURS, PEERS, Peer
from bench.places import ROOT, Places
from bench.rows import ROWS, Bench, Result, failed

PLOTS = {
    "benchmarks-size.svg": "What versions of a model cost on the disk",
    "benchmarks-time.svg": "How long a put and a get of 1 GiB take",
}


def arguments(words: list[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(ROWS), help="measure just this row")
    parser.add_argument("--without", action="append", choices=list(ROWS), help="leave a row out")
    parser.add_argument("--peer", action="append", help="just these peers, by the tool's name")
    parser.add_argument("--quick", action="store_true", help="small files: checks, no numbers")
    parser.add_argument(
        "--runs",
        type=int,
        default=0,
        help="rounds (default 5, of rows in which slow tools take part 3; 1 when quick)",
    )
    parser.add_argument("--cache", type=Path, default=ROOT / "bench" / ".cache")
    parser.add_argument(
        "--plots", action="store_true", help="also draw both plots beside the report"
    )
    return parser.parse_args(words)


def measure_rows(bench: Bench, wanted: list[str]) -> tuple[dict[str, float], list[str]]:
    """Runs the rows, keeping each result as soon as it is there.

    Gives the seconds of each row, and the rows that ended with an error: those stand in the
    report as missed, with their last words, and the others are measured all the same.
    """
    seconds: dict[str, float] = {}
    broken = []
    for key in wanted:
        print(f"{time.strftime('%H:%M:%S')} {key}", file=sys.stderr)
        start = time.perf_counter()
        try:
            result = ROWS[key](bench)
        except Exception as error:  # noqa: BLE001  whatever it is, the other rows are to be measured
            if not isinstance(error, CommandFailedError):
                traceback.print_exc()
            result = failed(key, last_words(error))
            print(f"    not measured: {result.verdicts[0].measured}", file=sys.stderr)
            broken.append(key)
        seconds[key] = time.perf_counter() - start
        result.date = time.strftime("%Y-%m-%d", time.gmtime())
        result.runs = bench.runs
        text = json.dumps(result.to_json(), indent=1)
        (bench.places.results / f"{key}.json").write_text(text)
        clear(bench.places.work)
        clear(bench.places.home)
        bench.places.prepare()
    return seconds, broken


def last_words(error: Exception) -> str:
    """The last line of an error's message but hints, fit for a cell of a table."""
    said = (line.strip() for line in str(error).splitlines())
    lines = [line for line in said if line and not line.startswith("hint:")]
    return (lines[-1] if lines else type(error).__name__).strip().replace("|", "/")[:300]


def kept_results(places: Places) -> dict[str, Result]:
    """The results of this and of earlier runs, in the order of the requirements."""
    paths = {key: places.results / f"{key}.json" for key in ROWS}
    there = {key: path for key, path in paths.items() if path.exists()}
    return {key: Result.from_json(json.loads(path.read_text())) for key, path in there.items()}


def write_report(places: Places, kinds: tuple[type[Peer], ...], missing: dict[str, str]) -> None:
    """Writes the report of all results that are there."""
    facts = machine.describe(places)
    versions = {kind.name: kind(places, places.work).version() for kind in kinds}
    tools = report.describe_tools(versions, kinds, missing)
    results = kept_results(places)
    folder = places.report.parent
    plots = {name: words for name, words in PLOTS.items() if (folder / name).exists()}
    text = report.write(facts, tools, results, plots, quick=places.quick)
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
    seconds, broken = measure_rows(bench, wanted)
    if options.plots:
        bench.run(bench.task("plot.py", places.results, places.report.parent))
    write_report(places, (*OURS, *there), missing)
    clear(places.work)
    for key, taken in seconds.items():
        print(f"{taken:7.1f} s  {key}", file=sys.stderr)
    print(f"{sum(seconds.values()):7.1f} s  altogether", file=sys.stderr)
    if broken:
        sys.exit(f"these rows ended with an error: {', '.join(broken)}")


if __name__ == "__main__":
    main(sys.argv[1:])

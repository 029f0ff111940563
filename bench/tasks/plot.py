"""Draws two of the tables as SVG files: the first put, and the growth by the variants.

Usage: plot.py RESULTS TARGET, two folders.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

OURS, THEIRS = "#c44e52", "#8c8c8c"


def bars(chart: dict[str, float], title: str, target: Path) -> None:
    """One bar per tool, the smallest on top."""
    ordered = sorted(chart.items(), key=lambda pair: -pair[1])
    names, values = [pair[0] for pair in ordered], [pair[1] for pair in ordered]
    figure, axes = plt.subplots(figsize=(7, 0.4 * len(names) + 1))
    colours = [OURS if name == "mstore" else THEIRS for name in names]
    axes.bar_label(axes.barh(names, values, color=colours), fmt="%.1f", padding=3)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def chart_of(results: Path, row: str) -> dict[str, Any]:
    """The numbers that a row kept for its plot; empty when it was not measured."""
    path = results / f"{row}.json"
    found: dict[str, Any] = json.loads(path.read_text())["chart"] if path.exists() else {}
    return found


def main(results: Path, target: Path) -> None:
    """Draws what there is."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mstore"
    for row, title in (("put", "First put, seconds"), ("get", "Get, seconds")):
        if chart := chart_of(results, row):
            bars(chart, title, target / f"benchmarks-{row}.svg")
    if growth := chart_of(results, "variants").get("growth"):
        sums = {name: sum(values) for name, values in growth.items()}
        bars(sums, "Variants A to H, MB stored", target / "benchmarks-variants.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

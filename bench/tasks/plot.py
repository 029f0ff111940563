"""Draws what was measured as two SVG files: what is stored, and how long it takes.

Usage: plot.py RESULTS TARGET, two folders. A row that was not measured is left out.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

OURS, OURS_TOO, THEIRS = "#c44e52", "#dd9a9c", "#8c8c8c"
WIDE, HIGH = 4.4, 3.4
Bars = dict[str, float]
Panel = tuple[str, Bars]


def colour(name: str) -> str:
    """Ours stands out, its other codecs a little less."""
    if name == "mstore":
        return OURS
    return OURS_TOO if name.startswith("mstore") else THEIRS


def bars(axes: Axes, title: str, chart: Bars) -> None:
    """One bar per tool, the smallest on top."""
    ordered = sorted(chart.items(), key=lambda pair: -pair[1])
    names, values = [pair[0] for pair in ordered], [pair[1] for pair in ordered]
    drawn = axes.barh(names, values, color=[colour(name) for name in names])
    digits = 0 if max(values) >= 100 else 1
    axes.bar_label(drawn, fmt=f"%.{digits}f", padding=3, fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.margins(x=0.15)
    axes.tick_params(labelsize=8, left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(panels: list[Panel], target: Path) -> None:
    """The panels beside one another, two in a line."""
    if not panels:
        return
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure, grid = plt.subplots(
        down, across, figsize=(WIDE * across, HIGH * down), squeeze=False, layout="constrained"
    )
    places = list(grid.flat)
    for axes, (title, chart) in zip(places, panels, strict=False):
        bars(axes, title, chart)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def chart_of(results: Path, row: str) -> dict[str, Any]:
    """The numbers that a row kept for its plot; empty when it was not measured."""
    path = results / f"{row}.json"
    found: dict[str, Any] = json.loads(path.read_text())["chart"] if path.exists() else {}
    return found


def size_panels(results: Path) -> list[Panel]:
    """What versions cost."""
    found = chart_of(results, "tunes")
    panels = [(f"A model and 3 checkpoints, {kind}: MB stored", found[kind]) for kind in found]
    growth: dict[str, list[float]] = chart_of(results, "variants").get("growth", {})
    if growth:
        panels.append(("Variants A to H: MB stored", {n: sum(v) for n, v in growth.items()}))
        tuned = {name: values[2] for name, values in growth.items()}
        panels.append(("Variant C, a full fine-tune: new MB", tuned))
    return panels


def time_panels(results: Path) -> list[Panel]:
    """How long the whole commands take, everything on the disk at the end of a put."""
    titles = {
        "put": "First put, 1 GiB of bf16: seconds",
        "get": "Get, 1 GiB of bf16: seconds",
        "tune-put": "Put of its fine-tune: seconds",
        "tune-get": "Get of its fine-tune: seconds",
    }
    charts = {row: chart_of(results, row) for row in ("put", "get")}
    tuned = chart_of(results, "tune-put")
    charts |= {f"tune-{verb}": tuned.get(verb, {}) for verb in ("put", "get")}
    return [(titles[row], chart) for row, chart in charts.items() if chart]


def main(results: Path, target: Path, suffix: str = "svg") -> None:
    """Draws what there is."""
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "mstore"
    draw(size_panels(results), target / f"benchmarks-size.{suffix}")
    draw(time_panels(results), target / f"benchmarks-time.{suffix}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

"""Rows on what versions cost: the variants A to H, and a real fine-tune series."""

from collections.abc import Mapping
from pathlib import Path

from bench.files import VARIANTS
from bench.measure import CommandFailedError
from bench.peers import Cp, Mstore, Peer
from bench.rows.base import Bench, Result, Table, Verdict
from bench.verify import DifferentError, size_on_disk

MB = 10**6
Growth = dict[str, int]


def _grow(
    bench: Bench, kind: type[Peer], versions: Mapping[str, Path]
) -> tuple[Growth, float, str]:
    """New bytes per version, seconds of all puts, and what did not come back as it was."""
    with bench.fresh(kind) as peer:
        growth, seconds, size = {}, 0.0, size_on_disk(peer.store)
        for label, source in versions.items():
            seconds += bench.fill(peer, source, label).seconds
            after = size_on_disk(peer.store)
            growth[label], size = after - size, after
        return growth, seconds, _not_kept(bench, peer, versions)


def _not_kept(bench: Bench, peer: Peer, versions: Mapping[str, Path]) -> str:
    """The labels whose version did not come back byte for byte; empty when all did."""
    lost = []
    for label, source in versions.items():
        try:
            bench.fetch(peer, source, label)
        except (CommandFailedError, DifferentError) as error:
            if peer.name == Mstore.name:
                raise
            how = "other bytes" if isinstance(error, DifferentError) else "failed"
            lost.append(f"{label} ({how})")
    return ", ".join(lost)


def _table(bench: Bench, versions: Mapping[str, Path]) -> tuple[Table, dict[str, Growth]]:
    lines = [["tool", *versions, "all", "seconds", "came back byte for byte"]]
    found: dict[str, Growth] = {}
    for kind in bench.everyone():
        growth, seconds, lost = _grow(bench, kind, versions)
        cells = [f"{size / MB:.1f}" for size in growth.values()]
        total = f"{sum(growth.values()) / MB:.1f}"
        kept = f"all but {lost}" if lost else "yes"
        lines.append([kind.name, *cells, total, f"{seconds:.1f}", kept])
        found[kind.name] = growth
    return Table(lines), found


def _smallest(found: Mapping[str, Growth], goal: str) -> Verdict:
    """Whether mstore's sum is the smallest."""
    totals = {name: sum(growth.values()) for name, growth in found.items() if name != Cp.name}
    ours = totals.pop(Mstore.name)
    best = min(totals, key=lambda name: totals[name], default="")
    if not best:
        return Verdict(goal, "no peer was there", met=False)
    words = f"{ours / MB:.1f} MB; {best}, the smallest of the peers, {totals[best] / MB:.1f} MB"
    bound = "this version stores weights as they are: no codec for floats, no deltas"
    return Verdict(goal, words, met=ours <= totals[best], bound=bound)


def _cheap_changes(bench: Bench, growth: Growth) -> Verdict:
    """Whether renaming, re-sharding and repeating cost less than 1 % of the model."""
    worst = max(growth[label] for label in "DEG")
    limit = size_on_disk(bench.files.variants()["A"]) / 100
    goal = "renamed (D), re-sharded (E) and repeated (G) cost about nothing (below 1 %)"
    return Verdict(goal, f"at most {worst / MB:.2f} MB", met=worst < limit)


def variants(bench: Bench) -> Result:
    """New bytes per tool for what commonly happens to a model."""
    versions = bench.files.variants()
    table, found = _table(bench, versions)
    letters = "; ".join(f"{label}: {words}" for label, words in VARIANTS.items())
    size = size_on_disk(versions["A"]) / MB
    return Result(
        "New bytes of the variants A to H",
        f"A model of {size:.0f} MB of bf16, numbers like weights, put A to H in turn into one "
        f"store; MB by which the store grew. {letters}.",
        [table],
        [
            _cheap_changes(bench, found[Mstore.name]),
            _smallest(found, "no more bytes than the smallest peer, all together"),
        ],
        {"growth": {name: [size / MB for size in g.values()] for name, g in found.items()}},
    )


def series(bench: Bench) -> Result:
    """New bytes per tool for a real model and three checkpoints of its fine-tune."""
    tables, verdicts, chart = [], [], {}
    for kind in ("bf16", "fp32"):
        folders = {folder.name: folder for folder in bench.files.series(kind)}
        table, found = _table(bench, folders)
        table.lines[0][0] = f"tool, {kind}"
        tables.append(table)
        verdicts.append(_smallest(found, f"{kind}: no more bytes than the smallest peer"))
        chart[kind] = {name: sum(growth.values()) / MB for name, growth in found.items()}
    return Result(
        "A real fine-tune series",
        "all-MiniLM-L6-v2 and its checkpoints after 20, 40 and 60 steps of AdamW at 2e-5, put in "
        "turn into one store; MB by which the store grew.",
        tables,
        verdicts,
        chart,
    )

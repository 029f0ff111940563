"""Rows on what versions cost: the variants A to H, and real fine-tunes of a real model."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.files import TUNES, VARIANTS
from bench.measure import CommandFailedError
from bench.peers import (
    OURS,
    Borg,
    BorgFine,
    BorgQuick,
    Cp,
    Mstore,
    MstoreRaw,
    MstoreSmall,
    Peer,
)
from bench.rows.base import Bench, Result, Table, Verdict, at_most
from bench.verify import DifferentError, size_on_disk

MB = 10**6
Growth = dict[str, int]
# What the variants of 168 MB may add at most, in MB.
VARIANT_LIMITS = {"A": 113, "B": 12, "C": 17, "H": 1.5, "D": 0.3, "E": 0.3, "F": 0.3, "G": 0}
SERIES_LIMITS = {"bf16": 0.220, "fp32": 0.435}
# A version that is there already leaves a line in the log of its name, and a description.
NOTHING = 20_000


def _grow(
    bench: Bench, kind: type[Peer], versions: Mapping[str, Path]
) -> tuple[Growth, float, str]:
    """New bytes per version, seconds of all puts, and what did not come back as it was."""
    with bench.fresh(kind) as peer:
        growth, seconds, size = {}, 0.0, peer.stored()
        for label, source in versions.items():
            seconds += bench.fill(peer, source, label).seconds
            after = peer.stored()
            growth[label], size = after - size, after
        return growth, seconds, _not_kept(bench, peer, versions)


def _not_kept(bench: Bench, peer: Peer, versions: Mapping[str, Path]) -> str:
    """The labels whose version did not come back byte for byte; empty when all did."""
    lost = []
    for label, source in versions.items():
        try:
            bench.fetch(peer, source, label)
        except (CommandFailedError, DifferentError) as error:
            if isinstance(peer, Mstore):
                raise
            how = "other bytes" if isinstance(error, DifferentError) else "failed"
            lost.append(f"{label} ({how})")
    return ", ".join(lost)


def _table(
    bench: Bench, kinds: Iterable[type[Peer]], versions: Mapping[str, Path]
) -> tuple[Table, dict[str, Growth]]:
    original = sum(map(size_on_disk, versions.values()))
    last = ["all", "of the originals", "seconds", "came back byte for byte"]
    lines = [["tool", *versions, *last]]
    found: dict[str, Growth] = {}
    for kind in kinds:
        growth, seconds, lost = _grow(bench, kind, versions)
        cells = [f"{size / MB:.2f}" for size in growth.values()]
        total = sum(growth.values())
        kept = f"all but {lost}" if lost else "yes"
        sums = [f"{total / MB:.1f}", f"{total / original:.3f}", f"{seconds:.1f}"]
        lines.append([kind.name, *cells, *sums, kept])
        found[kind.name] = growth
    return Table(lines), found


def _smallest(found: Mapping[str, Growth], goal: str) -> Verdict:
    """Whether mstore's sum is the smallest."""
    left_out = {kind.name for kind in OURS} | {Cp.name}
    totals = {n: sum(growth.values()) for n, growth in found.items() if n not in left_out}
    ours = sum(found[Mstore.name].values())
    best = min(totals, key=lambda name: totals[name], default="")
    if not best:
        return Verdict(goal, "no peer was there", met=False)
    words = f"{ours / MB:.1f} MB; {best}, the smallest of the peers, {totals[best] / MB:.1f} MB"
    return Verdict(goal, words, met=ours <= totals[best])


def _variant_verdicts(growth: Growth, size: int) -> list[Verdict]:
    """Each letter against its limit, which is for the model of full size."""
    verdicts = []
    for label, limit in VARIANT_LIMITS.items():
        wanted = limit * MB if limit else NOTHING
        words = f"at most {limit} MB" if limit else "nothing but its description"
        verdicts.append(
            Verdict(
                f"{label} ({VARIANTS[label]}): {words}",
                f"{growth[label] / MB:.2f} MB",
                met=growth[label] <= wanted,
                bound=f"{growth[label] / size:.4f} of the model",
            )
        )
    return verdicts


def variants(bench: Bench) -> Result:
    """New bytes per tool for what commonly happens to a model."""
    versions = bench.files.variants()
    table, found = _table(bench, (Mstore, MstoreSmall, *bench.peers), versions)
    letters = "; ".join(f"{label}: {words}" for label, words in VARIANTS.items())
    size = size_on_disk(versions["A"])
    return Result(
        "New bytes of the variants A to H",
        f"A model of {size / MB:.0f} MB of bf16, numbers like weights, put A to H in turn into one "
        f"store; MB by which the store grew (mstore: without `cache/`). {letters}.",
        [table],
        [
            *_variant_verdicts(found[Mstore.name], size),
            _smallest(found, "no more bytes than the smallest peer, all together"),
        ],
        {"growth": {name: [size / MB for size in g.values()] for name, g in found.items()}},
    )


def _series_tables(
    bench: Bench, kinds: Sequence[type[Peer]], kind: str
) -> tuple[Table, list[Verdict], dict[str, float]]:
    folders = {folder.name: folder for folder in bench.files.series(kind)}
    original = sum(map(size_on_disk, folders.values()))
    table, found = _table(bench, kinds, folders)
    table.lines[0][0] = f"tool, {kind}"
    limit = SERIES_LIMITS[kind]
    goal = f"{kind}: four versions at most {limit:.3f} of the originals"
    ours, small = (sum(found[k.name].values()) / original for k in (Mstore, MstoreSmall))
    bound = f"{small:.3f} with `--codec small`"
    verdicts = [
        at_most(goal, ours, limit, "", bound),
        _smallest(found, f"{kind}: no more bytes than the smallest peer"),
    ]
    return table, verdicts, {name: sum(g.values()) / MB for name, g in found.items()}


def tunes(bench: Bench) -> Result:
    """New bytes per tool for a real model and its fine-tunes."""
    quick = (BorgQuick,) if Borg in bench.peers else ()
    kinds = (Mstore, MstoreSmall, MstoreRaw, *bench.peers, *quick)
    tables, verdicts, chart = [], [], {}
    for kind in ("bf16", "fp32"):
        table, found, chart[kind] = _series_tables(bench, kinds, kind)
        tables.append(table)
        verdicts += found
    for table, found in (_others(bench), _seeds(bench)):
        tables.append(table)
        verdicts += found
    words = "; ".join(f"{label}: {what}" for label, what in TUNES.items())
    return Result(
        "Real fine-tunes",
        "First two tables: all-MiniLM-L6-v2 and its checkpoints after 20, 40 and 60 steps of AdamW "
        "at 2e-5, put in turn into one store; MB by which the store grew (mstore: without "
        "`cache/`). Third table: other fine-tunes of the same model, each put under a name of its "
        f"own into a store that holds the model, no base named; MB. {words}. Last table: a small "
        "CNN trained from two seeds, the second put where the first is, and alone; bytes.",
        tables,
        verdicts,
        chart,
    )


def _others(bench: Bench) -> tuple[Table, list[Verdict]]:
    """Fine-tunes that nobody told the store the base of."""
    lines = [["fine-tune", "size", "mstore", "of its size", "alone", "borg, zstd"]]
    found = 0
    asked = {kind: bench.files.tunes(kind) for kind in ("bf16", "fp32", "fp16")}
    for kind, versions in asked.items():
        base = versions.pop("base")
        for label, source in versions.items():
            size = size_on_disk(source)
            alone, ours = _added(bench, Mstore, None, source), _added(bench, Mstore, base, source)
            found += ours < 0.95 * alone
            theirs = _added(bench, BorgFine, base, source) if BorgFine in bench.peers else None
            cells = [f"{value / MB:.2f}" for value in (size, ours)]
            cells += [f"{ours / size:.3f}", f"{alone / MB:.2f}"]
            cells.append("" if theirs is None else f"{theirs / MB:.2f}")
            lines.append([f"{label}, {kind}", *cells])
    count = len(lines) - 1
    goal = "every fine-tune finds its base by itself"
    return Table(lines), [Verdict(goal, f"{found} of {count}", met=found == count)]


def _added(bench: Bench, kind: type[Peer], base: Path | None, source: Path) -> int:
    """Bytes that `source` adds to a store with `base`, under a name of its own; checked."""
    with bench.fresh(kind) as peer:
        if base is not None:
            bench.fill(peer, base, "base")
        before = peer.stored()
        if isinstance(peer, Mstore):
            peer.model = "other"
        bench.fill(peer, source, "A")
        grown = peer.stored() - before
        bench.fetch(peer, source, "A")
        return grown


def _seeds(bench: Bench) -> tuple[Table, list[Verdict]]:
    """A model of the same shapes from another seed."""
    one, two = bench.files.seeds()
    together, alone = _added(bench, Mstore, one, two), _added(bench, Mstore, None, two)
    lines = [["from the second seed", "size", "where the first is", "alone"]]
    cells = [f"{value:,}" for value in (size_on_disk(two), together, alone)]
    lines.append(["mstore", *cells])
    goal = "a model from another seed is no larger than alone (300 bytes of description aside)"
    met = together <= alone + 300
    return Table(lines), [Verdict(goal, f"{together:,} bytes, alone {alone:,}", met=met)]

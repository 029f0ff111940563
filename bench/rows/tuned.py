"""Rows on the fine-tune of a large model: put as a difference, got and loaded through it."""

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import Run, clear, in_turns, median_seconds
from bench.peers import HfXet, Mstore, Peer
from bench.rows.base import (
    Bench,
    Contestants,
    Result,
    Table,
    at_least,
    compare,
    faster_than_all,
    scale_words,
)

SECOND = ("borg", "restic")
MB = 10**6
LOAD_LIMITS = {
    ("bf16", "fine-tune"): 0.8,
    ("fp32", "fine-tune"): 1.4,
    ("bf16", "first version"): 1.4,
    ("fp32", "first version"): 2.5,
}


def _kinds(bench: Bench) -> list[type[Peer]]:
    """mstore, and the tools that keep what two versions have in common."""
    wanted = (HfXet.name, *SECOND)
    return [Mstore, *(kind for kind in bench.peers if kind.name.startswith(wanted))]


def tune_put(bench: Bench) -> Result:
    """Put and get of a fine-tune of 1 GiB, its base being there."""
    base, tuned = bench.files.model(), bench.files.tuned()
    gets: dict[str, list[Run]] = {kind.name: [] for kind in _kinds(bench)}
    grown: dict[str, int] = {}

    def once(kind: type[Peer], _: int) -> Run:
        with bench.fresh(kind) as peer:
            bench.fill(peer, base, "A")
            before = peer.stored()
            source = _in_place_of(bench, base, tuned)
            peer.stage(source, "B")
            run = bench.run(peer.durable_put(source, "B"))
            grown[kind.name] = peer.stored() - before
            gets[kind.name].append(bench.fetch(peer, source, "B"))
            return run

    contestants: Contestants = {k.name: partial(once, k) for k in _kinds(bench)}
    puts = in_turns(contestants, bench.few)
    notes = {kind.name: kind.durable for kind in _kinds(bench)}
    return _tune_result(bench, tuned.stat().st_size, (puts, gets), notes, grown)


def _in_place_of(bench: Bench, base: Path, tuned: Path) -> Path:
    """The fine-tune under the file name of its base, as backups expect it."""
    place = bench.places.work / "tuned" / base.name
    clear(place.parent)
    place.parent.mkdir()
    place.hardlink_to(tuned)
    return place


def _tune_result(
    bench: Bench,
    size: int,
    taken: tuple[dict[str, list[Run]], dict[str, list[Run]]],
    notes: dict[str, str],
    grown: dict[str, int],
) -> Result:
    puts, gets = taken
    put_table, get_table = compare(puts, size, notes), compare(gets, size)
    put_table.lines[0][0], get_table.lines[0][0] = "put", "get"
    sizes = Table([["new bytes", "MB"], *([n, f"{v / MB:.0f}"] for n, v in grown.items())])
    speeds = bench.speeds()
    speed = size / (1 << 30) / median_seconds(puts[Mstore.name])
    bound = "pco's encoder, on two threads"
    goal = "put: at least 300 MiB/s on two threads, the whole command"
    return Result(
        "Put and get of a fine-tune of 1 GiB of bf16",
        "The model of 1 GiB is in the store; then a version of it in which a fifth of the values "
        "changed is put, on the disk at the end, and got. Each time into a new store. "
        f"{scale_words(speeds)}.",
        [put_table, sizes, get_table],
        [
            at_least(goal, speed, 300 / 1024, speeds, bound),
            faster_than_all(puts, "put: faster than borg and restic", bound, among=SECOND),
            faster_than_all(gets, "get: faster than borg, restic and hf-xet"),
        ],
        {
            "put": {name: median_seconds(runs) for name, runs in puts.items()},
            "get": {name: median_seconds(runs) for name, runs in gets.items()},
        },
    )


def tune_load(bench: Bench) -> Result:
    """First versions and fine-tunes of 1 GiB loaded into memory."""
    files = bench.files
    given = {
        "bf16": {"first version": files.model(), "fine-tune": files.tuned()},
        "fp32": {"first version": files.model32(), "fine-tune": files.tuned32()},
    }
    lines = [["model", "GiB/s", "slowest", "fastest", "this machine"]]
    verdicts = []
    for kind, versions in given.items():
        with bench.fresh(Mstore) as peer:
            for label, source in versions.items():
                bench.fill(peer, source, label)
            for label, source in versions.items():
                found = _loads(bench, peer, label, source)
                gib = [source.stat().st_size / (1 << 30) / s for s in found["seconds"]]
                middle = statistics.median(gib)
                cells = [f"{value:.2f}" for value in (middle, min(gib), max(gib))]
                lines.append([f"{kind}, {label}", *cells, scale_words(found["speeds"])])
                limit = LOAD_LIMITS[kind, label]
                verdicts.append(
                    at_least(
                        f"{kind}, {label}: at least {limit} GiB/s on two threads",
                        middle,
                        limit,
                        found["speeds"],
                        "decoding and hashing on two threads, and new memory for the result",
                    )
                )
    return Result(
        "Load of encoded models of 1 GiB into memory",
        "`store.load` into new torch tensors on two processors, every chunk verified; a fine-tune "
        "is a difference of depth 1 from a first version that is encoded too. Opening the store is "
        "counted, imports are not. Five loads in one interpreter, each compared with the file.",
        [Table(lines)],
        verdicts,
    )


def _loads(bench: Bench, peer: Mstore, label: str, source: Path) -> dict[str, Any]:
    revision = peer.revision(label)
    command = bench.task("load_coded.py", peer.store, revision, source, 5)
    found: dict[str, Any] = json.loads(bench.run(command).output.splitlines()[-1])
    return found

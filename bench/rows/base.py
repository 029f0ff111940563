"""What a row is given and what it gives: plain values that the report prints."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench import measure
from bench.files import Files
from bench.measure import Command, Run, clear, settle
from bench.peers import OURS, Mstore, Peer
from bench.places import TASKS, Places
from bench.verify import check_same

GIB = 1 << 30
MIB = 1 << 20
Contestants = dict[str, Callable[[int], Run]]
Speeds = Mapping[str, float]
AnyPeer = TypeVar("AnyPeer", bound=Peer)

# Absolute speeds in the requirements are for a machine with these, in GiB/s.
NOMINAL = {"memcpy": 10.7, "BLAKE3": 4.7}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal, what was measured, and whether it was met; `bound` says what stands in the way."""

    goal: str
    measured: str
    met: bool
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; the first line is the heading."""

    lines: list[list[str]]


@dataclass(slots=True)
class Result:
    """One row of the requirements: how it was measured, what came out, and the verdicts.

    `chart` holds the numbers a plot needs, by name of the tool.
    """

    title: str
    how: str
    tables: list[Table] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    chart: dict[str, Any] = field(default_factory=dict)
    date: str = ""
    runs: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the results folder."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Result":
        """The value that `to_json` gave."""
        tables = [Table(**table) for table in value.pop("tables")]
        verdicts = [Verdict(**verdict) for verdict in value.pop("verdicts")]
        return cls(tables=tables, verdicts=verdicts, **value)


@dataclass(slots=True)
class Bench:
    """What every row measures with."""

    places: Places
    files: Files
    peers: tuple[type[Peer], ...]
    runs: int
    made: int = 0

    @property
    def few(self) -> int:
        """Rounds of rows in which slow tools take part."""
        return min(self.runs, 3)

    @contextmanager
    def fresh(self, kind: type[AnyPeer]) -> Iterator[AnyPeer]:
        """A tool with an empty store, removed afterwards."""
        self.made += 1
        root = self.places.work / f"{self.made:03}-{kind.__name__}"
        clear(root)
        peer = kind(self.places, root)
        try:
            peer.prepare()
            yield peer
        finally:
            clear(root)

    def run(self, command: Command, *, watch: bool = False) -> Run:
        """Runs one command after everything before it has been written out."""
        settle()
        return measure.run(command, self.places, watch=watch)

    def task(self, script: str, *words: object) -> Command:
        """A command that runs one of the benchmark's own scripts in the environment."""
        argv = (str(self.places.python), str(TASKS / script), *map(str, words))
        return Command(argv, self.places.work)

    def fill(self, peer: Peer, source: Path, label: str) -> Run:
        """Stages and puts; gives the run of the put."""
        peer.stage(source, label)
        return self.run(peer.put(source, label))

    def fetch(self, peer: Peer, source: Path, label: str, *, durable: bool = False) -> Run:
        """Gets what was put from `source`, checks it byte for byte and removes it again.

        With `durable`, the file system of the result is synced within the time.
        """
        target = self.places.work / "fetched" / source.name
        peer.clear_before_get(target)
        command = peer.get(label, target)
        run = self.run(command.then_sync(self.places.work) if durable else command)
        check_same(source, peer.found(source, target))
        clear(target.parent)
        return run

    def fetching(
        self, peers: Mapping[str, Peer], source: Path, label: str, *, durable: bool = False
    ) -> Contestants:
        """One contestant per tool that already holds `source`."""

        def once(peer: Peer, _: int) -> Run:
            return self.fetch(peer, source, label, durable=durable)

        return {name: partial(once, peer) for name, peer in peers.items()}

    def speeds(self) -> Speeds:
        """GiB/s of copying and hashing on one thread, measured now."""
        found: Speeds = json.loads(self.run(self.task("speeds.py")).output)
        return found

    def everyone(self, *, any_file: bool = False) -> tuple[type[Peer], ...]:
        """All tools, mstore first; with `any_file` only those that store any kind of file."""
        kinds: tuple[type[Peer], ...] = (Mstore, *self.peers)
        return tuple(kind for kind in kinds if kind.takes_any_file or not any_file)


def mib_per_second(size: int, seconds: float) -> str:
    """A speed in words."""
    return f"{size / MIB / seconds:,.0f}"


def compare(
    runs: Mapping[str, list[Run]],
    size: int,
    notes: Mapping[str, str] | None = None,
    ours: str = Mstore.name,
) -> Table:
    """A table of seconds, speed and peak per tool, and of the time of `ours` over the tool's."""
    heading = ["tool", "seconds", "MiB/s", f"{ours}'s time / its time", "peak MiB"]
    lines = [heading + (["made durable by"] if notes else [])]
    for name, taken in runs.items():
        seconds = measure.median_seconds(taken)
        ratio = "" if name == ours else measure.spread(measure.ratios(runs[ours], taken))
        peak = max(run.peak for run in taken) / MIB
        line = [name, f"{seconds:.3f}", mib_per_second(size, seconds), ratio, f"{peak:,.0f}"]
        lines.append(line + ([notes[name]] if notes else []))
    return Table(lines)


def middle_ratio(runs: Mapping[str, list[Run]], ours: str, theirs: str) -> float:
    """The median over the rounds of our time over theirs."""
    return statistics.median(measure.ratios(runs[ours], runs[theirs]))


def faster_than_all(
    runs: Mapping[str, list[Run]],
    goal: str,
    bound: str = "",
    *,
    ours: str = Mstore.name,
    among: tuple[str, ...] = (),
) -> Verdict:
    """Whether the median ratio of `ours` to every other tool but cp is below 1.

    With `among`, only to the tools whose names begin with one of these.
    """
    left_out = {kind.name for kind in OURS} | {"cp"}
    others = [name for name in runs if name not in left_out and name.startswith(among or "")]
    found = {name: middle_ratio(runs, ours, name) for name in others}
    if not found:
        return Verdict(goal, "no peer was there", met=False)
    worst = max(found, key=lambda name: found[name])
    words = f"{found[worst]:.2f} x the time of {worst}, the nearest"
    return Verdict(goal, words, met=found[worst] < 1, bound=bound)


def at_most(goal: str, value: float, limit: float, unit: str = "x", bound: str = "") -> Verdict:
    """A verdict on a number that must not exceed a limit."""
    digits = 3 if limit < 1 else 2
    return Verdict(goal, f"{value:.{digits}f} {unit}".strip(), met=value <= limit, bound=bound)


def scaled(speeds: Speeds) -> float:
    """How much faster this machine is than the one the requirements speak of.

    The geometric mean of the two ratios, of copying and of hashing.
    """
    ratios = [speeds[name] / nominal for name, nominal in NOMINAL.items()]
    return float((ratios[0] * ratios[1]) ** 0.5)


def scale_words(speeds: Speeds) -> str:
    """What `scaled` is made of, in words."""
    parts = [f"{name} {speeds[name]:.1f} GiB/s of {NOMINAL[name]}" for name in NOMINAL]
    return f"{' and '.join(parts)} in the same run: figures x {scaled(speeds):.2f}"


def at_least(goal: str, gib: float, limit: float, speeds: Speeds, bound: str = "") -> Verdict:
    """A verdict on a speed in GiB/s, the limit scaled to this machine."""
    wanted = limit * scaled(speeds)
    words = f"{gib:.2f} GiB/s; {wanted:.2f} wanted of this machine"
    return Verdict(goal, words, met=gib >= wanted, bound=bound)


def failed(key: str, reason: str) -> Result:
    """What stands in the report for a row that could not be measured."""
    return Result(
        f"Not measured: {key}",
        "The row ended with an error.",
        verdicts=[Verdict("the row runs", reason, met=False)],
    )

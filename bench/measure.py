"""Runs one command at a time and says how long it took and how much memory it held.

This module and everything the benchmark's own interpreter imports stay in the standard library:
the kernel counts the memory of the parent at the moment of the fork into the child's peak.
"""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.places import Places

MIB = 1 << 20


class CommandFailedError(Exception):
    """A measured command ended with another code than 0; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is run: arguments, folder, and variables beside those every command gets."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def then_sync(self, store: Path) -> "Command":
        """The same command followed by `sync -f` of the file system that `store` is on."""
        line = 'store=$1; shift; "$@" && sync -f "$store"'
        return Command(("sh", "-c", line, "sh", str(store), *self.argv), self.cwd, self.env)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: wall seconds of the whole command, and peaks in bytes (children counted).

    `anonymous` is the peak of memory that is not pages of mapped files; 0 unless it was watched.
    """

    seconds: float
    peak: int
    output: str = ""
    anonymous: int = 0


def environment(places: Places) -> dict[str, str]:
    """The variables of every measured command: a home of its own, the venv first on the path."""
    home = str(places.home)
    return {
        "PATH": f"{places.venv / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "HOME": home,
        "LC_ALL": "C.UTF-8",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": f"{home}/dvc",
        "GIT_AUTHOR_NAME": "bench",
        "GIT_AUTHOR_EMAIL": "bench@localhost",
        "GIT_COMMITTER_NAME": "bench",
        "GIT_COMMITTER_EMAIL": "bench@localhost",
        "RESTIC_PASSWORD": "bench",
    }


def _watch_anonymous(pid: int, stop: threading.Event, peak: list[int]) -> None:
    """Reads the anonymous memory of `pid` every 5 ms until `stop`."""
    status = Path(f"/proc/{pid}/status")
    while not stop.wait(0.005):
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return
        for line in lines:
            if line.startswith("RssAnon:"):
                peak[0] = max(peak[0], int(line.split()[1]) * 1024)


def run(command: Command, places: Places, *, watch: bool = False) -> Run:
    """Runs `command` to its end; CommandFailedError when it fails."""
    log_path = places.work / "last-command.log"
    env = {**environment(places), **command.env}
    stop, peak = threading.Event(), [0]
    with log_path.open("w+b") as log:
        start = time.perf_counter()
        child = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        watcher = threading.Thread(target=_watch_anonymous, args=(child.pid, stop, peak))
        if watch:
            watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    stop.set()
    if watch:
        watcher.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    output = log_path.read_text(errors="replace")
    if child.returncode != 0:
        words = " ".join(command.argv)
        raise CommandFailedError(f"'{words}' ended with {child.returncode}: {output[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024, output, peak[0])


def settle() -> None:
    """Writes out what earlier commands left in memory, so that none of it is timed."""
    os.sync()


def clear(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def in_turns(contestants: Mapping[str, Callable[[int], Run]], runs: int) -> dict[str, list[Run]]:
    """Runs every contestant once per round, A B A B; each is given the number of the round."""
    taken: dict[str, list[Run]] = {key: [] for key in contestants}
    for number in range(runs):
        for key, contestant in contestants.items():
            settle()
            taken[key].append(contestant(number))
            last = taken[key][-1]
            print(f"    {key}: {last.seconds:.3f} s, {last.peak / MIB:.0f} MiB", file=sys.stderr)
    return taken


def median_seconds(runs: Sequence[Run]) -> float:
    """The middle wall time of `runs`."""
    return statistics.median(run.seconds for run in runs)


def ratios(ours: Sequence[Run], theirs: Sequence[Run]) -> list[float]:
    """Our time over theirs, one ratio per round."""
    return [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median with the smallest and largest value."""
    low, middle, high = min(values), statistics.median(values), max(values)
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

"""What every tool is asked to do: the same few steps, so that all rows treat all tools alike."""

import json
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from bench.measure import Command, clear, environment
from bench.places import TASKS, Places
from bench.verify import size_on_disk


class Peer(ABC):
    """One tool with one store of its own below `root`.

    `put` and `get` are what is timed; `prepare`, `stage` and `clear_before_get` lay things out
    as the tool wants them and are not timed.
    """

    name: ClassVar[str]
    tool: ClassVar[str]
    note: ClassVar[str]
    durable: ClassVar[str] = "its run, then `sync -f` of its store"
    takes_any_file: ClassVar[bool] = True

    def __init__(self, places: Places, root: Path) -> None:
        self.places = places
        self.root = root

    @property
    @abstractmethod
    def store(self) -> Path:
        """The folder whose growth is what a version costs."""

    @abstractmethod
    def version(self) -> str:
        """The version of the tool, in words."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes an empty store."""

    @abstractmethod
    def put(self, source: Path, label: str) -> Command:
        """Stores a file or folder under a label."""

    @abstractmethod
    def get(self, label: str, target: Path) -> Command:
        """Brings the version `label` back, as far as possible at `target`."""

    def durable_put(self, source: Path, label: str) -> Command:
        """`put`, and everything it wrote forced to the disk."""
        return self.put(source, label).then_sync(self.store)

    def stage(self, source: Path, label: str) -> None:  # noqa: B027  most tools take any path
        """Lays `source` where the tool can take it."""

    def stored(self) -> int:
        """Bytes of the whole store on the disk."""
        return size_on_disk(self.store)

    def clear_before_get(self, target: Path) -> None:
        """Removes what an earlier get left, so that all bytes are written again."""
        clear(target)
        target.parent.mkdir(parents=True, exist_ok=True)

    def found(self, source: Path, target: Path) -> Path:
        """Where `get` put what was stored from `source`."""
        del source
        return target

    def words(self, *argv: str, cwd: Path | None = None) -> Command:
        """A command that runs in the tool's folder."""
        return Command(argv, cwd or self.root)

    def task(self, script: str, *argv: str) -> Command:
        """A command that runs one of the benchmark's own scripts."""
        return self.words(str(self.places.python), str(TASKS / script), *argv)

    def quietly(self, *argv: str, cwd: Path | None = None) -> str:
        """Runs a command that is not timed and gives what it printed."""
        done = subprocess.run(
            argv,
            cwd=cwd or (self.root if self.root.exists() else None),
            env=environment(self.places),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def package_version(self, package: str) -> str:
        """The version of an installed Python package."""
        line = f"from importlib.metadata import version; print(version({json.dumps(package)}))"
        return f"{package} {self.quietly(str(self.places.python), '-c', line)}"

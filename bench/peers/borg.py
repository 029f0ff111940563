"""borg: deduplicating, compressing backups."""

from pathlib import Path

from bench.measure import Command
from bench.peers.base import Peer


class Borg(Peer):
    """One archive per version, borg's own defaults."""

    name = "borg"
    tool = "borg"
    note = "its defaults: lz4, chunks of about 2 MiB, no encryption"
    options: tuple[str, ...] = ()

    @property
    def store(self) -> Path:
        """The folder of segments."""
        return self.root / "store"

    def version(self) -> str:
        """The version of the tool."""
        return self.quietly("borg", "--version")

    def prepare(self) -> None:
        """Makes an empty store."""
        self.root.mkdir(parents=True)
        self.quietly("borg", "init", "--encryption=none", str(self.store))

    def put(self, source: Path, label: str) -> Command:
        """Archives the source by its relative path."""
        name = source.name if source.is_file() else "."
        cwd = source.parent if source.is_file() else source
        return self.words("borg", "create", *self.options, f"{self.store}::{label}", name, cwd=cwd)

    def clear_before_get(self, target: Path) -> None:
        """Makes the folder that is extracted into."""
        super().clear_before_get(target)
        target.mkdir()

    def get(self, label: str, target: Path) -> Command:
        """Extracts the archive."""
        return self.words("borg", "extract", f"{self.store}::{label}", cwd=target)

    def found(self, source: Path, target: Path) -> Path:
        """The file's name below the target."""
        return target / source.name if source.is_file() else target


class BorgFine(Borg):
    """Smaller chunks and zstd, as one would set it up for models."""

    name = "borg, zstd"
    note = "`--compression zstd,3 --chunker-params buzhash,14,18,16,4095`: chunks of 64 KiB"
    options = ("--compression", "zstd,3", "--chunker-params", "buzhash,14,18,16,4095")


class BorgQuick(Borg):
    """Its default chunks and the fastest zstd."""

    name = "borg, zstd,1"
    note = "`--compression zstd,1`, chunks of about 2 MiB"
    options = ("--compression", "zstd,1")

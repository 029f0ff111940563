"""restic: encrypted backups of content-defined chunks."""

from pathlib import Path

from bench.measure import Command
from bench.peers.base import Peer


class Restic(Peer):
    """One tagged backup per version."""

    name = "restic"
    tool = "restic"
    note = "`--compression auto` (zstd), encrypted, 1 MiB chunks"

    @property
    def store(self) -> Path:
        """The backup's folder."""
        return self.root / "store"

    def version(self) -> str:
        """The version of the tool."""
        return " ".join(self.quietly("restic", "version").split(" ")[:2])

    def prepare(self) -> None:
        """Makes an empty store."""
        self.root.mkdir(parents=True)
        self.quietly(*self._argv("init"))

    def _argv(self, *argv: str) -> tuple[str, ...]:
        cache = str(self.root / "cache")
        return ("restic", "--quiet", "--cache-dir", cache, "--repo", str(self.store), *argv)

    def put(self, source: Path, label: str) -> Command:
        """Backs the source up by its absolute path."""
        return self.words(*self._argv("backup", "--tag", label, str(source)))

    def clear_before_get(self, target: Path) -> None:
        """Makes the folder that the paths are restored under."""
        super().clear_before_get(target)
        target.mkdir()

    def get(self, label: str, target: Path) -> Command:
        """Restores the newest backup of that tag."""
        return self.words(*self._argv("restore", "latest", "--tag", label, "--target", str(target)))

    def found(self, source: Path, target: Path) -> Path:
        """The absolute path again, below the target."""
        return target / source.relative_to("/")

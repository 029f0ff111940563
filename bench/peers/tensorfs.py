"""tensorfs: content-addressed tensors, the nearest in aim."""

from pathlib import Path

from bench.measure import Command
from bench.peers.base import Peer


class Tensorfs(Peer):
    """Imports safetensors files; gives back one safetensors file per version."""

    name = "tensorfs"
    tool = "tensorfs"
    note = "raw, chunks of tensors"
    takes_any_file = False

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.root / "store"

    def version(self) -> str:
        """The version of the package."""
        return self.package_version("tensorfs")

    def prepare(self) -> None:
        """Makes the folder; the first import makes the store."""
        self.store.mkdir(parents=True)

    def _tfs(self, *argv: str) -> Command:
        return self.words("tfs", "--store", str(self.store), *argv)

    def put(self, source: Path, label: str) -> Command:
        """Imports the safetensors files below `source`."""
        files = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
        return self._tfs("import", *map(str, files), "--name", f"local/{label.lower()}")

    def get(self, label: str, target: Path) -> Command:
        """Exports a folder with the model."""
        return self._tfs("export", f"local/{label.lower()}", str(target), "--safetensors")

    def found(self, source: Path, target: Path) -> Path:
        """The one file of the folder, for a version that came from a file."""
        return target / "model.safetensors" if source.is_file() else target

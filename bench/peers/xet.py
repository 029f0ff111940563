"""hf-xet: the deduplicating store of the Hugging Face Hub, in its local form."""

from pathlib import Path

from bench.measure import Command
from bench.peers.base import Peer


class HfXet(Peer):
    """64 KiB content-defined chunks; a list of file ids per label stands for a version."""

    name = "hf-xet"
    tool = "hf-xet"
    note = "`local://` endpoint, its own choice of codec (lz4, byte groups), 64 KiB chunks"

    @property
    def store(self) -> Path:
        """The folder of xorbs and shards."""
        return self.root / "cas"

    def version(self) -> str:
        """The version of the package."""
        return self.package_version("hf-xet")

    def prepare(self) -> None:
        """Makes the folder of the endpoint."""
        self.store.mkdir(parents=True)

    def _labelled(self, label: str) -> str:
        return str(self.root / f"{label}.json")

    def put(self, source: Path, label: str) -> Command:
        """Uploads every file in one commit."""
        return self.task("xet.py", "put", str(self.store), self._labelled(label), str(source))

    def get(self, label: str, target: Path) -> Command:
        """Downloads every file in one group."""
        return self.task("xet.py", "get", str(self.store), self._labelled(label), str(target))

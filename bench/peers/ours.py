"""mstore, through its installed command."""

from pathlib import Path

from bench.measure import Command
from bench.peers.base import Peer
from bench.places import Places


class Mstore(Peer):
    """Versions of one model named `model`, numbered in the order in which they were put."""

    name = "mstore"
    tool = "mstore"
    note = "raw chunks, BLAKE3 checked at every read"
    durable = "by itself"

    def __init__(self, places: Places, root: Path) -> None:
        super().__init__(places, root)
        self.labels: list[str] = []

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.root / "store"

    def version(self) -> str:
        """The version of the installed package."""
        return self.package_version("mstore")

    def prepare(self) -> None:
        """Makes an empty store."""
        self.root.mkdir(parents=True)
        self.labels.clear()
        self.quietly("mstore", "init", str(self.store))

    def _mstore(self, *argv: str) -> Command:
        return Command(("mstore", *argv), self.root, {"MSTORE_STORE": str(self.store)})

    def put(self, source: Path, label: str) -> Command:
        """Puts the next version; a repeated label means an unchanged model."""
        if label not in self.labels:
            self.labels.append(label)
        return self._mstore("put", str(source), "--name", "model")

    def durable_put(self, source: Path, label: str) -> Command:
        """The same: a put has reached the disk when it returns."""
        return self.put(source, label)

    def get(self, label: str, target: Path) -> Command:
        """Gets the version by its number."""
        number = self.labels.index(label) + 1
        return self._mstore("get", f"model@{number}", str(target))

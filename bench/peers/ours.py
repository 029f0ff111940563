"""mstore, through its installed command."""

from pathlib import Path
from typing import ClassVar

from bench.measure import Command
from bench.peers.base import Peer
from bench.places import Places
from bench.verify import size_on_disk


class Mstore(Peer):
    """Versions of the model named `model`, numbered in the order in which they were put."""

    name = "mstore"
    tool = "mstore"
    note = "its defaults: floats encoded, deltas found by itself, BLAKE3 checked at every read"
    durable = "by itself"
    codec: ClassVar[str] = ""

    def __init__(self, places: Places, root: Path) -> None:
        super().__init__(places, root)
        self.names: dict[str, str] = {}
        self.model = "model"

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
        self.names.clear()
        self.quietly("mstore", "init", str(self.store))

    def _mstore(self, *argv: str) -> Command:
        return Command(("mstore", *argv), self.root, {"MSTORE_STORE": str(self.store)})

    def put(self, source: Path, label: str) -> Command:
        """Puts the next version; a repeated label means an unchanged model."""
        self.names.setdefault(label, self.model)
        codec = ("--codec", self.codec) if self.codec else ()
        return self._mstore("put", str(source), "--name", self.model, *codec)

    def stored(self) -> int:
        """Everything but what may be deleted at any time."""
        return size_on_disk(self.store) - size_on_disk(self.store / "cache")

    def durable_put(self, source: Path, label: str) -> Command:
        """The same: a put has reached the disk when it returns."""
        return self.put(source, label)

    def get(self, label: str, target: Path) -> Command:
        """Gets the version by its number."""
        return self._mstore("get", self.revision(label), str(target))

    def revision(self, label: str) -> str:
        """What mstore calls the version of a label."""
        name = self.names[label]
        return f"{name}@{[n for n in self.names if self.names[n] == name].index(label) + 1}"


class MstoreRaw(Mstore):
    """Weights as they are, so that they can be mapped."""

    name = "mstore --codec raw"
    note = "weights as they are, BLAKE3 checked at every read"
    codec = "raw"


class MstoreSmall(Mstore):
    """The fewest bytes that a put offers."""

    name = "mstore --codec small"
    note = "slower to write, fewer bytes"
    codec = "small"

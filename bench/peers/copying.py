"""cp: what the file system itself costs."""

from pathlib import Path

from bench.measure import Command
from bench.peers.base import Peer


class Cp(Peer):
    """Plain copies in a folder."""

    name = "cp"
    tool = "cp"
    note = "no store: whole copies, no check"
    durable = "`cp`, then `sync` of the files it wrote"

    @property
    def store(self) -> Path:
        """The folder of copies."""
        return self.root / "copies"

    def version(self) -> str:
        """The version of coreutils."""
        return self.quietly("cp", "--version").splitlines()[0]

    def prepare(self) -> None:
        """Makes the folder."""
        self.store.mkdir(parents=True)

    def put(self, source: Path, label: str) -> Command:
        """Copies."""
        return self.words("cp", "-r", str(source), str(self.store / label))

    def durable_put(self, source: Path, label: str) -> Command:
        """Copies, then forces just the copy to the disk."""
        line = 'cp -r "$1" "$2" && find "$2" -type f -exec sync {} +'
        if source.is_file():
            line = 'cp "$1" "$2" && sync "$2"'
        return self.words("sh", "-c", line, "sh", str(source), str(self.store / label))

    def get(self, label: str, target: Path) -> Command:
        """Copies back."""
        return self.words("cp", "-r", str(self.store / label), str(target))

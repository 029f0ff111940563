"""DVC: whole files in a cache, named by MD5."""

import shutil
from pathlib import Path

from bench.measure import Command, clear
from bench.peers.base import Peer


class Dvc(Peer):
    """`dvc add` into the local cache, without git; the pointer file of each label is kept."""

    name = "DVC"
    tool = "dvc"
    note = "whole files, `dvc add` into its local cache, no remote, no git"

    @property
    def store(self) -> Path:
        """The cache."""
        return self.root / ".dvc" / "cache"

    @property
    def _tree(self) -> Path:
        return self.root / "m"

    def version(self) -> str:
        """The version of the package."""
        return self.package_version("dvc")

    def prepare(self) -> None:
        """Makes an empty workspace."""
        (self.root / "labels").mkdir(parents=True)
        self.quietly("dvc", "init", "--quiet", "--no-scm")
        self.store.mkdir(exist_ok=True)

    def stage(self, source: Path, label: str) -> None:
        """Copies the source into the workspace, which DVC takes over."""
        del label
        clear(self._tree)
        if source.is_file():
            shutil.copyfile(source, self._tree)
        else:
            shutil.copytree(source, self._tree, copy_function=shutil.copyfile)

    def put(self, source: Path, label: str) -> Command:
        """Adds the workspace to the cache."""
        del source
        return self.words("sh", "-c", f"dvc add --quiet m && cp m.dvc labels/{label}.pointer")

    def clear_before_get(self, target: Path) -> None:
        """Empties the workspace."""
        del target
        clear(self._tree)

    def get(self, label: str, target: Path) -> Command:
        """Checks the label's pointer out of the cache into the workspace."""
        del target
        return self.words(
            "sh", "-c", f"cp labels/{label}.pointer m.dvc && dvc checkout --quiet -f m.dvc"
        )

    def found(self, source: Path, target: Path) -> Path:
        """The workspace."""
        del source, target
        return self._tree

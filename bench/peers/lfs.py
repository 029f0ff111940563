"""git-lfs: pointers in git, whole files beside it."""

import shutil
from pathlib import Path

from bench.measure import Command, clear
from bench.peers.base import Peer


class GitLfs(Peer):
    """One commit and tag per version, everything below `m/` kept by LFS."""

    name = "git-lfs"
    tool = "git-lfs"
    note = "whole files, SHA-256; `git add`, `commit`, `tag`"

    @property
    def store(self) -> Path:
        """The git folder with the LFS objects."""
        return self.root / ".git"

    @property
    def _tree(self) -> Path:
        return self.root / "m"

    def version(self) -> str:
        """The version of the tool."""
        return self.quietly("git", "lfs", "version").split(" ")[0]

    def prepare(self) -> None:
        """Makes an empty clone that filters everything below `m/`."""
        self.root.mkdir(parents=True)
        self.quietly("git", "init", "--quiet")
        self.quietly("git", "lfs", "install", "--local")
        self.quietly("git", "config", "gc.auto", "0")
        rule = "m/** filter=lfs diff=lfs merge=lfs -text\n"
        (self.root / ".gitattributes").write_text(rule)

    def stage(self, source: Path, label: str) -> None:
        """Copies the source into the working tree."""
        del label
        clear(self._tree)
        if source.is_file():
            self._tree.mkdir()
            shutil.copyfile(source, self._tree / source.name)
        else:
            shutil.copytree(source, self._tree, copy_function=shutil.copyfile)

    def put(self, source: Path, label: str) -> Command:
        """Adds and commits the working tree."""
        del source
        line = f"git add -A . && git commit -q --allow-empty -m {label} && git tag -f {label}"
        return self.words("sh", "-c", line)

    def clear_before_get(self, target: Path) -> None:
        """Empties the working tree."""
        del target
        clear(self._tree)

    def get(self, label: str, target: Path) -> Command:
        """Checks the tag out into the working tree."""
        del target
        return self.words("git", "checkout", "-q", "-f", label, "--", "m")

    def found(self, source: Path, target: Path) -> Path:
        """The file or folder in the working tree."""
        del target
        return self._tree / source.name if source.is_file() else self._tree

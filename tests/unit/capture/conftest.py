"""Real work trees of real git, with nothing of the user's configuration."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mstore.backends.scratch import scratch_folder
from mstore.capture import git as capture
from mstore.capture.git import capture_code
from mstore.capture.work_tree import CapturedCode


@dataclass(frozen=True)
class WorkTree:
    """A folder under git."""

    path: Path

    def git(self, *words: str) -> str:
        """What ``git WORDS`` says there."""
        done = subprocess.run(
            ["git", *words], cwd=self.path, capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    def write(self, **files: str | bytes) -> None:
        """Write files; two underscores are a slash, one before the last word is a dot."""
        for name, content in files.items():
            stem, _, ending = name.replace("__", "/").rpartition("_")
            path = self.path / f"{stem}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str = "state") -> str:
        """Commit everything; the id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def tree(self) -> str:
        """The id of the tree that ``git add -A`` makes, found by git itself in a copy."""
        self.git("add", "-A")
        return self.git("write-tree")

    def capture(self, *without: Path, folder: Path | None = None) -> CapturedCode:
        """What is captured of it."""
        return capture_code(folder or self.path, scratch_folder, without)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but that of the test; nothing remembered from another one."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.com")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(_made(tmp_path / "tmp")))
    capture._known.clear()


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def work(tmp_path: Path) -> Iterator[WorkTree]:
    """A work tree with one commit on the branch ``main``; afterwards nothing is left in TMPDIR."""
    made = WorkTree(_made(tmp_path / "work"))
    made.git("init", "-q", "-b", "main")
    made.write(train_py="print('train')\n", src__net_py="LAYERS = 3\n", _gitignore="*.ckpt\n")
    made.commit()
    yield made
    assert list((tmp_path / "tmp").iterdir()) == []

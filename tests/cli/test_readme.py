"""README.md and the guide say what is true: what they show runs, and their links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.frameworks import guide

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of one section of README.md."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def code_blocks(text: str) -> list[tuple[str, str]]:
    """The languages and texts of the code blocks that can be run, in their order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place like a fresh checkout, as far as the pages look."""
    shutil.copytree(ROOT / "examples/checkpoints", tmp_path / "examples/checkpoints")
    return tmp_path


def run_blocks(text: str, folder: Path) -> None:
    """Run every block of a page, with the ``mstore`` of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    for name in ("MSTORE_STORE", "MSTORE_CAPTURE"):
        environment.pop(name, None)
    shells = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    for language, code in code_blocks(text):
        done = subprocess.run(
            [*shells[language], code],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_the_tour_runs(folder: Path) -> None:
    """Every line of the five minutes works as printed, the commands and then the Python."""
    run_blocks(section("Five minutes"), folder)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/guide").glob("*.md")), ids=lambda p: p.name)
def test_the_guide_runs(page: Path, folder: Path) -> None:
    """Every line of a page of the guide works as printed, one after another."""
    text = page.read_text(encoding="utf-8")
    for package in frameworks() if page in guide.PAGES else ():
        for block in guide.blocks_of(package):
            text = text.replace(block, "")
    run_blocks(text, folder)


def frameworks() -> list[str]:
    """The frameworks that have environments of their own, where tests run their blocks."""
    folder = ROOT / "tests/frameworks/requirements"
    return [requirements.stem for requirements in folder.glob("*.txt")]


def test_the_two_commands_are_targets() -> None:
    """``make demo`` and ``make test`` are what README offers, and the Makefile has both."""
    ((_, block),) = code_blocks(section("Try it"))
    targets = re.findall(r"^make (\w+)", block, re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page points at exists."""
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []

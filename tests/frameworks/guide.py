"""The blocks of docs/guide/frameworks.md that need a framework, run where it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "guide" / "frameworks.md"


def blocks_of(package: str) -> list[str]:
    """The blocks that import a package."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    wanted = re.compile(rf"^(?:import|from) {package}\b", re.MULTILINE)
    return [block for block in blocks if wanted.search(block)]


def run_blocks(package: str, folder: Path) -> None:
    """Run each block that imports a package as a program of its own; there is one at least."""
    blocks = blocks_of(package)
    assert blocks
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=folder, env=dict(os.environ),
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

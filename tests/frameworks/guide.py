"""The blocks of the guide that need a framework, run where it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide"
PAGES = (GUIDE / "frameworks.md", GUIDE / "integrations.md")


def blocks_of(package: str) -> list[str]:
    """The blocks that import a package."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
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

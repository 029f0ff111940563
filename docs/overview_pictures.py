"""Make the pictures of docs/guide/overviews.md: ``python docs/overview_pictures.py``.

Needs Chromium and playwright, as ``make test-browser`` installs them. The versions are the really
trained checkpoints of the demo with the results that were measured then.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
CHECKPOINTS = DOCS.parent / "examples" / "checkpoints"
EPOCHS = (1, 2, 4, 8)
WIDTH = 1000


def mstore(folder: Path, *words: object) -> None:
    """Run a command in a folder; it must succeed."""
    line = [sys.executable, "-m", "mstore_cli", *map(str, words)]
    subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def fill(folder: Path) -> None:
    """Make a store of the checkpoints."""
    mstore(folder, "init")
    for epoch in EPOCHS:
        source = CHECKPOINTS / "digits" / f"epoch-{epoch}"
        results = json.loads((source / "metrics.json").read_text(encoding="utf-8"))
        words = ["--name", "digits", "--param", f"epoch={epoch}"]
        for name, value in results.items():
            words += [] if name == "epoch" else ["--metric", f"{name}={value}"]
        mstore(folder, "put", source, *words)


def shoot(page: Any, path: Path, selector: str) -> None:
    """Take a picture of one part of a page."""
    page.locator(selector).first.screenshot(path=path)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


def main() -> None:
    """Make both pictures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        fill(folder)
        versions = [f"digits@{number}" for number in range(1, len(EPOCHS) + 1)]
        mstore(folder, "curves", "digits", "--html", "curves.html")
        mstore(folder, "compare", *versions, "--html", "compare.html")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto((folder / "curves.html").as_uri())
        shoot(page, DOCS / "overviews-curves.png", "main")
        page.goto((folder / "compare.html").as_uri())
        shoot(page, DOCS / "overviews-compare.png", "main")
        browser.close()


if __name__ == "__main__":
    main()

"""Make the pictures of the README and of docs/guide/overviews.md: ``python docs/pictures.py``.

Needs Chromium and playwright, as ``make test-browser`` installs them. The versions are the really
trained checkpoints of the demo with the results that were measured then; the terminal's picture is
what the commands print on one.
"""

import contextlib
import io
import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

DOCS = Path(__file__).parent
CHECKPOINTS = DOCS.parent / "examples" / "checkpoints"
EPOCHS = (1, 2, 4, 8)
WIDTH = 1000
COLUMNS = 100
PIECE = 1 << 16
SESSION = (
    'mstore put checkpoints/parity --name parity --parent digits --relation fine-tuned -m "odd?"',
    "mstore log digits",
    "mstore compare digits@3 digits@4",
    "mstore identify checkpoints/sharded",
    "mstore lineage parity --up --graph",
    'mstore search "val/loss < 0.5 and epoch > 2 order by val/accuracy desc"',
)
"""What the README shows of a store that holds the four epochs."""
SCREEN = (
    '<pre style="margin:0;padding:18px 22px;background:{background};color:{foreground};'
    'font:15px/1.45 monospace;display:inline-block"><code style="font-family:inherit">'
    "{code}</code></pre>"
)


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
        words = ["--name", "digits", "--message", f"epoch {epoch}", "--param", f"epoch={epoch}"]
        for name, value in results.items():
            words += [] if name == "epoch" else ["--metric", f"{name}={value}"]
        mstore(folder, "put", source, *words)


def printed(folder: Path, line: str) -> str:
    """What a command prints on a terminal, with its colours; it must succeed."""
    here, there = pty.openpty()
    words = [sys.executable, "-m", "mstore_cli", *shlex.split(line)[1:]]
    env = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with subprocess.Popen(
        words, cwd=folder, env=env, stdout=there, stderr=subprocess.DEVNULL
    ) as run:
        os.close(there)
        pieces = []
        # Linux ends what a closed terminal still held with EIO.
        with contextlib.suppress(OSError):
            while piece := os.read(here, PIECE):
                pieces.append(piece)
    os.close(here)
    if run.returncode:
        message = f"'{line}' left with {run.returncode}"
        raise RuntimeError(message)
    return b"".join(pieces).decode().replace("\r\n", "\n").rstrip()


def screen(folder: Path) -> str:
    """The session as HTML."""
    (folder / "checkpoints").symlink_to(CHECKPOINTS)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for number, line in enumerate(SESSION):
        console.print(Text.assemble("\n" if number else "", ("$ ", "bold green"), (line, "bold")))
        console.print(Text.from_ansi(printed(folder, line)))
    return console.export_html(theme=DIMMED_MONOKAI, code_format=SCREEN, inline_styles=True)


def shoot(page: Any, path: Path, selector: str) -> None:
    """Take a picture of one part of a page."""
    page.locator(selector).first.screenshot(path=path)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


def main() -> None:
    """Make the pictures."""
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
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.set_content(screen(folder))
        shoot(page, DOCS / "terminal.png", "pre")
        browser.close()


if __name__ == "__main__":
    main()

"""Real pages in a real Chromium. Without one, or without playwright, this folder is left out.

`make test-browser` installs both where it can.
"""

import importlib.util
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import mstore as library
from mstore.objects import Code, Environment, Log, Series
from mstore.ops.put import Description, put
from mstore.ops.sources import scan_paths

ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

if CHROMIUM is None or importlib.util.find_spec("playwright") is None:
    collect_ignore_glob = ["test_*.py"]

KEY = "</script><script>pwned()</script></td>\u202e\x1b[31m"
NAMED = "<script>pwned()<b>\u202e\x1b[31m"
"""As hostile as may be without what makes a data set a path."""
HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\u202e\x1b[31m"


@dataclass
class Seen:
    """An open page, and what it asked for and complained of since it was opened."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a store with five versions, one of them hostile, written by the command line."""
    folder = tmp_path_factory.mktemp("pages")
    checkpoints = ROOT / "examples/checkpoints"
    mstore(folder, "init")
    for epoch, accuracy, loss in (
        (1, 0.73, 1.6),
        (2, 0.88, 0.47),
        (4, 0.94, 0.18),
        (8, 0.97, 0.09),
    ):
        words = ["-m", f"epoch {epoch}", "--param", f"epoch={epoch}", "--param", "batch=64"]
        words += ["--metric", f"val/accuracy={accuracy}", "--metric", f"val/loss={loss}"]
        words += ["--metric", f"train/loss={loss * 0.8}"]
        mstore(folder, "put", checkpoints / f"digits/epoch-{epoch}", "--name", "digits", *words)
    words = ["-m", HOSTILE, "--param", f"{KEY}={HOSTILE}", "--dataset", NAMED]
    words += ["--task", HOSTILE, "--metric", f"{KEY}=nan", "--metric", f"{KEY}2=3"]
    (folder / "meta.json").write_text(json.dumps({HOSTILE: HOSTILE}), encoding="utf-8")
    words += ["--meta", "meta.json"]
    mstore(folder, "put", checkpoints / "parity", "--name", "hostile", "--parent", "digits", *words)
    put_trained(folder)
    put_family(folder)
    words = [
        "--metric",
        "accuracy=0.91",
        "--split",
        "test",
        "-m",
        "measured again",
        "--tag",
        "good",
    ]
    mstore(folder, "note", "trained", *words, "--dataset", "digits-2027")
    mstore(folder, "note", "hostile", "-m", HOSTILE, "--metric", f"{KEY}=1", "--dataset", HOSTILE)
    made = {
        "show": ("show", "trained"),
        "hostile": ("show", "hostile"),
        "compare": ("compare", "digits@1", "digits@2", "digits@3", "digits@4", "hostile"),
        "curves": ("curves", "digits"),
        "runs": ("curves", "trained", "digits", "--metric", "loss"),
        "list": ("list", "--name", "digits"),
        "diff": ("diff", "digits@1", "digits@4", "parity", checkpoints / "sharded"),
        "lineage": ("lineage", "digits@2"),
        "guesses": ("lineage", "--infer"),
    }
    for name, line in made.items():
        mstore(folder, *line, "--html", f"{name}.html")
    return {name: folder / f"{name}.html" for name in made}


def put_trained(folder: Path) -> None:
    """Store a version that knows its code, its environment and its training logs."""
    store = library.open(folder / ".mstore")
    logs = [series("train/loss", 2000, 1.6), series("val/loss", 40, 1.7), series("lr", 40, 3e-4)]
    description = Description(
        message="the last epoch of a training that was watched",
        task="which digit",
        datasets=("digits-2026",),
        parameters={"batch": 64, "learning_rate": 1e-3, "optimizer": "adam"},
        metrics={"val/accuracy": 0.9722, "val/loss": 0.0891},
        code=Code(commit="5f" * 20, branch="main", remote="git@host:team/digits.git", patch=b"x"),
        environment=Environment(
            python="3.12.1",
            platform="Linux-6.1-x86_64",
            packages={"torch": "2.13.0", "numpy": "2.2.0"},
            hardware={"gpu": "H200", "cores": 16},
            command=("python", "train.py", "--epochs", "8"),
            seeds={"torch": 7},
        ),
        logs=(Log("tensorboard", tuple(logs)),),
    )
    source = scan_paths([ROOT / "examples/checkpoints/digits/epoch-8"])
    put(store.parts, source, "trained", description)


def put_family(folder: Path) -> None:
    """Store fine-tunes of the digits: two branches, and what was merged of them."""
    parity = ROOT / "examples/checkpoints/parity"
    for name, parents, relation in (
        ("parity", ("digits@4",), "fine-tuned"),
        ("parity", ("parity@1",), "trained"),
        ("mobile", ("parity@2",), "quantised"),
        ("merged", ("parity@2", "digits@2"), "merged"),
        ("sealed", ("merged@1",), "converted"),
    ):
        words = [word for parent in parents for word in ("--parent", parent)]
        words += ["--relation", relation, "--always", "-m", f"{name}, {relation}"]
        mstore(folder, "put", parity, "--name", name, *words)
    mstore(
        folder, "put", ROOT / "examples/checkpoints/renamed", "--name", "found", "--tag", "stray"
    )


def series(name: str, count: int, start: float) -> Series:
    """A series that falls, quickly at first, and trembles."""
    values = [start / (1 + at * 20 / count) * (1 + 0.05 * math.sin(at * 7)) for at in range(count)]
    steps = [at * (20000 // count) for at in range(count)]
    return Series(name, struct.pack(f"<{count}q", *steps), struct.pack(f"<{count}d", *values))


def mstore(folder: Path, *words: object) -> None:
    """Run a command in a folder; it must succeed."""
    line = [sys.executable, "-m", "mstore_cli", *map(str, words)]
    environment = {**os.environ, "MSTORE_AUTHOR": "Tester"}
    environment.pop("MSTORE_STORE", None)
    subprocess.run(line, cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not there in every environment

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Seen]]:
    """Opens a page: in a window of some width, in light or dark, with its script or without."""
    opened = []

    def open_page(
        name: str, *, width: int = 1280, scheme: str = "light", script: bool = True
    ) -> Seen:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        opened.append(context)
        seen = Seen(context.new_page())
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.goto(pages[name].as_uri())
        return seen

    yield open_page
    for context in opened:
        context.close()

"""The demo and what it shows."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_demo_runs_to_its_end(tmp_path: Path) -> None:
    """The script of ``make demo`` succeeds, and torch is not what makes it work."""
    program = [sys.executable, "-X", "importtime", ROOT / "examples/demo.py", tmp_path / "demo"]
    done = subprocess.run(program, capture_output=True, check=False, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0, done.stdout[-2000:]
    assert "identical" in done.stdout
    assert {"torch", "safetensors"}.isdisjoint(loaded)


def test_the_checkpoints_are_small() -> None:
    """What the project ships of trained checkpoints stays under 5 MB."""
    files = [path for path in (ROOT / "examples/checkpoints").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000

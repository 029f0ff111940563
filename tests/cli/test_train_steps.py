"""The example that stores every step of a training run."""

import re
import subprocess
import sys
from pathlib import Path

import mstore

PROGRAM = Path(__file__).parent.parent.parent / "examples/train_steps.py"


def test_the_example_resumes_bit_for_bit(tmp_path: Path) -> None:
    """A PyTorch run of 20 stored steps, resumed from the 10th, reaches the same weights."""
    line = [sys.executable, str(PROGRAM), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"^step .*held [0-9.]+ ms", done.stdout, re.MULTILINE)) == 20
    assert "from step 10 again: identical" in done.stdout
    store = mstore.open(tmp_path / ".mstore")
    assert store.resume("teacher-student").step == 20
    assert {row.state for row in store.log("teacher-student")} == {"kept", "stripped"}
    assert store.fsck(full=True).clean

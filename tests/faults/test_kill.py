"""A command that is killed at any of its steps leaves a store that needs no repair."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.killer import KILLED

KILLER = Path(__file__).with_name("killer.py")


@pytest.mark.parametrize("name", KILLED)
def test_killed_at_every_step(name: str) -> None:
    """After a SIGKILL before any call all is readable, and the same command works again."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(KILLER), name, "1"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    report = json.loads(done.stdout)
    print(f"{name}: {report['kills']} kills")  # noqa: T201 - the count
    assert report["violations"] == []
    assert report["kills"] >= 10

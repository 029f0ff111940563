"""A plain copy of a store's folder, taken while others write to it, is a store."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from mstore.backends.local import LocalBackend
from mstore.ops.check import check
from mstore.ops.findings import FsckReport
from mstore.parts import open_parts
from mstore.store import Store

SECONDS = 3.0
RSYNC = shutil.which("rsync")
PARTS = ("config", "objects", "condemned", "refs")


def copy(source: Path, target: Path) -> None:
    """What rsync -a does, or cp -a where there is no rsync; files may vanish meanwhile."""
    target.mkdir(exist_ok=True)
    line = [RSYNC, "-a"] if RSYNC else ["cp", "-a"]
    for name in PARTS:
        done = subprocess.run([*line, source / name, target], capture_output=True, check=False)
        assert done.returncode in {0, 1, 23, 24}, done.stderr


def fsck(folder: Path) -> FsckReport:
    """A full check of a copy."""
    return check(open_parts(LocalBackend(folder)), full=True)


@pytest.mark.parametrize("whole", [True, False], ids=["the whole folder", "in the order of SPEC"])
def test_copies_of_a_busy_store(
    store: Store, tmp_path: Path, start: Callable[..., "Popen[str]"], *, whole: bool
) -> None:
    """Fsck of a copy is clean, or names only what is missing; a second pass makes it complete."""
    source = Path(store.path)
    programs = [start("write", source, index, SECONDS) for index in range(2)]
    programs.append(start("collect", source, 9, SECONDS))
    copies, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        target = tmp_path / f"copy{len(copies)}"
        if whole:
            subprocess.run(["cp", "-a", source, target], capture_output=True, check=False)
        else:
            copy(source, target)
        copies.append(target)
    for program in programs:
        output, errors = program.communicate()
        assert program.returncode == 0, errors
        assert json.loads(output)
    for target in copies:
        assert {finding.kind for finding in fsck(target).errors} <= {"missing"}
    copy(source, copies[0])
    assert fsck(copies[0]).clean
